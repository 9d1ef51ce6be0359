"""The histogram page: one HTML file that needs nothing else, drawn as SVG."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np

from datamodules.card import Measures
from emo_lightning.coefficients import AU_NAMES
from emo_lightning.emotions import EMOTIONS

BINS, WIDTH, HEIGHT, MARGIN = 30, 420, 130, 34
_STYLE = """body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1100px;color:#222}
figure{display:inline-block;margin:0 24px 20px 0;vertical-align:top}figcaption{font-weight:600}
rect{fill:#4c78a8}text{font-size:11px;fill:#555}pre{background:#f6f6f6;padding:1em;overflow-x:auto}
td,th{padding:2px 6px;text-align:right;font-size:12px}th:first-child{text-align:left}"""


def histogram_page(card: str, measures: Measures, name: str) -> str:
    """The page.

    Args:
        card: the data card's text.
        measures: of the set.
        name: what to call the set.
    """
    clips, title = len(measures.seen), html.escape(name)
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"]
    parts += [f"<h1>{title}</h1><pre>{html.escape(card)}</pre>", f"<h2>Histograms</h2><p>Of {clips} clips; a bar counts clips.</p>"]
    parts += [histogram(values, label) for label, values in measures.values.items() if values]
    if measures.aus:
        parts.append("<h2>Action units</h2><p>Mean over the clips of each emotion, 0 to 1; the darker the more.</p>")
        parts.append(_unit_table({emotion: np.mean(rows, axis=0) for emotion, rows in measures.aus.items()}))
    for heading, counts in (("Quality flags", measures.flags), ("Clips that cannot be read", measures.bad)):
        if counts:
            rows = "".join(f"<tr><th>{html.escape(what)}<td>{count}" for what, count in counts.most_common())
            parts.append(f"<h2>{heading}</h2><table>{rows}</table>")
    return "\n".join(parts) + "\n"


def histogram(values: Sequence[float], label: str) -> str:
    """A figure of counts; whole numbers of a small range get a bar each, all else :data:`BINS` bars of one width."""
    array = np.asarray(values, np.float64)
    low, high = float(array.min()), float(array.max())
    if high - low <= BINS and np.array_equal(array, np.round(array)):
        edges = np.arange(low - 0.5, high + 1.0)
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    counts, _ = np.histogram(array, edges)
    step, scale = (WIDTH - 2 * MARGIN) / len(counts), HEIGHT / max(int(counts.max()), 1)
    bars = "".join(
        f'<rect x="{MARGIN + i * step:.1f}" y="{HEIGHT + 12 - n * scale:.1f}" width="{max(step - 1, 0.5):.1f}" height="{n * scale:.1f}">'
        f"<title>{_short(edges[i])} to {_short(edges[i + 1])}: {n}</title></rect>"
        for i, n in enumerate(counts.tolist())
    )
    words = f'<text x="{MARGIN}" y="{HEIGHT + 28}">{_short(low)}</text>'
    words += f'<text x="{WIDTH - MARGIN}" y="{HEIGHT + 28}" text-anchor="end">{_short(high)}</text>'
    words += f'<text x="{MARGIN - 4}" y="22" text-anchor="end">{int(counts.max())}</text>'
    caption = f"{html.escape(label)} (mean {_short(array.mean())}, n {len(array)})"
    return f'<figure><figcaption>{caption}</figcaption><svg width="{WIDTH}" height="{HEIGHT + 34}">{bars}{words}</svg></figure>'


def _unit_table(means: Mapping[str, np.ndarray]) -> str:
    rows = ["<tr><th>emotion" + "".join(f"<th>{name}" for name in AU_NAMES)]
    for emotion in (*EMOTIONS, *sorted(set(means) - set(EMOTIONS))):
        if emotion in means:
            cells = "".join(f'<td style="background:rgba(76,120,168,{min(float(v), 1.0):.2f})">{v:.2f}' for v in means[emotion])
            rows.append(f"<tr><th>{html.escape(emotion)}{cells}")
    return "<table>" + "".join(rows) + "</table>"


def _short(value: float) -> str:
    return f"{value:.3g}"
