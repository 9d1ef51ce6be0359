"""The histogram page: what a shard set holds, as one HTML file that needs nothing else, its pictures drawn as SVG."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from datamodules.dataset_report.card import UNKNOWN, Measures, duration
from datamodules.shards.tar_io import ShardIndex
from emo_lightning.face.coefficients import AU_NAMES
from emo_lightning.motion.emotions import EMOTIONS

BINS, WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 30, 340, 170, 40, 20, 8, 22
"""Most bars; pixels of a histogram, and around its bars."""
MOST = 24
"""Speakers that are listed."""
_STYLE = """
:root{--ink:#26282b;--soft:#6d7278;--line:#e3e5e8;--blue:#3c80b8;--pale:#eaf1f7;--red:#d0413e}
*{box-sizing:border-box}
body{font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;margin:0;background:#f4f5f6;color:var(--ink)}
main{max-width:1140px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:24px;margin:0;overflow-wrap:anywhere}h2{font-size:16px;margin:0 0 10px}p{margin:2px 0 10px;color:var(--soft)}
section{background:#fff;border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin-top:14px}
.tiles,.two,.charts{display:grid;gap:14px;margin-top:14px}.two section{margin:0}
.tiles{grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}.two{grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr))}
.charts{grid-template-columns:repeat(auto-fit,minmax(min(330px,100%),1fr));gap:18px}
.tile{background:#fff;border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.tile b{display:block;font-size:24px;line-height:1.2;font-weight:600}.tile span{color:var(--soft);font-size:12px}
.scroll{overflow-x:auto}table{border-collapse:separate;border-spacing:2px;font-variant-numeric:tabular-nums}
td,th{padding:3px 8px;text-align:right;font-size:12.5px;font-weight:400;white-space:nowrap;border-radius:3px}
th{color:var(--soft)}th:first-child{text-align:left;color:var(--ink)}td.sum{font-weight:600}td.none{color:#c3c7cb}
.bar{display:grid;grid-template-columns:minmax(80px,170px) 1fr 130px;gap:10px;align-items:center;font-size:13px;margin:3px 0}
.bar span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bar i{display:block;height:11px;border-radius:2px;background:var(--blue);min-width:1px}.bar.bad i{background:var(--red)}
.bar b{font-weight:400;color:var(--soft);text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
figure{margin:0}figcaption{font-weight:600;font-size:13px}figcaption small{font-weight:400;color:var(--soft)}
svg{display:block;width:100%;height:auto}svg rect{fill:var(--blue)}svg text{font-size:11px;fill:var(--soft)}
svg line{stroke:var(--line)}svg line.mean{stroke:var(--red);stroke-dasharray:3 3}
ul{margin:0;padding-left:18px}"""


def histogram_page(index: ShardIndex, measures: Measures, name: str) -> str:
    """The page.

    Args:
        index: of the set.
        measures: of the set.
        name: what to call the set.
    """
    title, clips = html.escape(name), len(measures.seen)
    kinds: Counter[str] = Counter()
    for shard in index.shards:
        kinds[shard.set] += shard.samples
    sets = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>{title}</title><style>{_STYLE}</style><main><h1>{title}</h1>",
        f"<p>coefficients {html.escape(index.layout.describe())}; clips by set: {html.escape(sets)}</p>",
        _tiles(index),
        _section("Emotions", _emotions(index, measures)),
        f"<div class=two>{_section('Splits', _splits(index))}{_section('Speakers', _speakers(index))}",
        _section(
            "Left out", _counted(index.failures, "Nothing: every clip became a sample.", bad=True)
        ),
        _section(
            "Quality flags",
            _counted(measures.flags, f"None, on {clips} clips.") if clips else _nothing(),
        )
        + "</div>",
        _section("Clips that cannot be read", _counted(measures.bad, "", bad=True))
        if measures.bad
        else "",
        _section(
            "Notes", "<ul>" + "".join(f"<li>{html.escape(note)}" for note in index.notes) + "</ul>"
        )
        if index.notes
        else "",
    ]
    charts = "".join(
        histogram(values, label) for label, values in measures.values.items() if values
    )
    words = f"Of {clips} clips; a bar counts clips, the red line is their mean."
    parts.append(
        _section(
            "Histograms",
            f"<p>{words}</p><div class=charts>{charts}</div>" if charts else _nothing(),
        )
    )
    if measures.aus:
        table = _unit_table(
            {emotion: np.mean(rows, axis=0) for emotion, rows in measures.aus.items()}
        )
        parts.append(
            _section(
                "Action units",
                f"<p>Mean over the clips of each emotion, 0 to 1.</p><div class=scroll>{table}</div>",
            )
        )
    return "\n".join(part for part in parts if part) + "</main>\n"


def histogram(values: Sequence[float], label: str) -> str:
    """A figure of counts: whole numbers of a small range get a bar each, all else bars of one round width."""
    array = np.asarray(values, np.float64)
    low, high, mean = float(array.min()), float(array.max()), float(array.mean())
    if high - low <= BINS and np.array_equal(array, np.round(array)):
        edges = np.arange(low - 0.5, high + 1.0)
    else:
        step = _round_step(
            (high - low or 1.0) / min(BINS, max(6, math.ceil(2 * math.sqrt(len(array)))))
        )
        edges = np.arange(math.floor(low / step), math.floor(high / step) + 2) * step
    counts, _ = np.histogram(array, edges)
    return _figure(edges, counts, mean, len(array), label)


def _figure(edges: np.ndarray, counts: np.ndarray, mean: float, clips: int, label: str) -> str:
    most, floor, room = max(int(counts.max()), 1), HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    wide = (WIDTH - LEFT - RIGHT) / len(counts)
    lines = []
    for tick in sorted({0, most} | ({most // 2} if most > 3 else set())):
        y = floor - room * tick / most
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    bars = [
        f'<rect x="{LEFT + i * wide:.1f}" y="{floor - room * n / most:.1f}" width="{max(wide - 1, 0.5):.1f}" '
        f'height="{room * n / most:.1f}"><title>{_short(edges[i])} to {_short(edges[i + 1])}: {n}</title></rect>'
        for i, n in enumerate(counts.tolist())
        if n
    ]
    whole = bool(np.allclose(np.diff(edges), 1.0) and edges[0] % 1 == 0.5)
    width, marks = float(edges[1] - edges[0]), range(len(counts) + (not whole))
    stride = next(n for n in (1, 2, 4, 5, 10, 20) if len(marks) / n <= 7)
    places = [i for i in marks if round((edges[i] + 0.5 * whole) / width) % stride == 0]
    words = [
        f'<text x="{LEFT + (i + 0.5 * whole) * wide:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{_short(edges[i] + 0.5 * whole)}</text>'
        for i in places
    ]
    x = LEFT + (mean - edges[0]) / (edges[-1] - edges[0]) * (WIDTH - LEFT - RIGHT)
    line = f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{floor}"/>'
    caption = f"{html.escape(label)} <small>mean {_short(mean)}, n {clips}</small>"
    drawn = "".join([*lines, *bars, *words, line])
    return f'<figure><figcaption>{caption}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{drawn}</svg></figure>'


def _tiles(index: ShardIndex) -> str:
    lost, size = sum(index.failures.values()), sum(shard.bytes for shard in index.shards)
    hours = duration(index.hours).split()
    tiles = (
        (f"{index.samples:,}", "clips"),
        (hours[0], {"h": "hours", "min": "minutes"}[hours[1]]),
        (f"{len(index.speakers):,}", "speaker" if len(index.speakers) == 1 else "speakers"),
        (f"{len(index.shards):,}", f"archives, {size / 1e6:,.1f} MB"),
        (f"{lost:,}", "left out"),
    )
    return (
        "<div class=tiles>"
        + "".join(
            f"<div class=tile><b>{number}</b><span>{what}</span></div>" for number, what in tiles
        )
        + "</div>"
    )


def _emotions(index: ShardIndex, measures: Measures) -> str:
    """Clips by emotion and level; by annotated intensity as well where the clips looked at have one."""
    if set(index.emotions) == {UNKNOWN} and set(index.emotions[UNKNOWN]) == {UNKNOWN}:
        return "<p>No clip has an emotion.</p>"
    met = {level for row in index.emotions.values() for level in row}
    levels = [str(n) for n in range(1, 16) if str(n) in met] + [UNKNOWN] * (UNKNOWN in met)
    out = ""
    if levels != [UNKNOWN]:
        out += "<p>Clips by fine level.</p>" + _count_table(
            index.emotions, levels, {UNKNOWN: "no level"}
        )
    rows: dict[str, Counter[str]] = {}
    for one in measures.seen:
        rows.setdefault(one.emotion, Counter())[
            UNKNOWN if one.intensity is None else str(one.intensity)
        ] += 1
    columns = [str(n) for n in (1, 2, 3) if any(str(n) in row for row in rows.values())]
    if columns or not out:
        columns += [UNKNOWN] * any(UNKNOWN in row for row in rows.values())
        out += f"<p>{len(measures.seen)} clips by annotated intensity.</p>" + _count_table(
            rows, columns, {UNKNOWN: "none"}
        )
    return out


def _count_table(
    rows: Mapping[str, Mapping[str, int]], columns: Sequence[str], names: Mapping[str, str]
) -> str:
    """Counts on a blue that grows with them, and their sums."""
    # What has no level is shaded as if it were no more than the fullest level, or it would pale all others.
    labelled = [
        count for row in rows.values() for column, count in row.items() if column != UNKNOWN
    ]
    most = max(labelled or [count for row in rows.values() for count in row.values()] or [1])
    lines = [
        "<tr><th>" + "".join(f"<th>{names.get(column, column)}" for column in columns) + "<th>all"
    ]
    for emotion in (*EMOTIONS, UNKNOWN):
        if row := rows.get(emotion):
            cells = "".join(
                _shaded(str(row[c]), 0.75 * min(row[c] / most, 1.0))
                if row.get(c)
                else "<td class=none>-"
                for c in columns
            )
            lines.append(f"<tr><th>{emotion}{cells}<td class=sum>{sum(row.values())}")
    return f"<div class=scroll><table>{''.join(lines)}</table></div>"


def _splits(index: ShardIndex) -> str:
    rows = [
        f"<tr><th>{html.escape(split)}<td>{row['samples']:,}<td>{row['seconds'] / 60:,.1f}<td>{len(row['speakers']):,}"
        for split, row in index.splits.items()
    ]
    return "<table><tr><th><th>clips<th>minutes<th>speakers" + "".join(rows) + "</table>"


def _speakers(index: ShardIndex) -> str:
    """The speakers with the most speech."""
    ordered = sorted(index.speakers.items(), key=lambda item: (-item[1]["seconds"], item[0]))
    most = max((row["seconds"] for _, row in ordered), default=1.0) or 1.0
    bars = [
        _bar(name, row["seconds"] / most, f"{row['seconds'] / 60:.1f} min, {row['split']}")
        for name, row in ordered[:MOST]
    ]
    more = f"<p>and {len(ordered) - MOST} more</p>" if len(ordered) > MOST else ""
    return "".join(bars) + more


def _counted(counts: Mapping[str, int], empty: str, bad: bool = False) -> str:
    if not counts:
        return f"<p>{empty}</p>"
    most = max(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "".join(_bar(what, count / most, f"{count:,}", bad) for what, count in ordered)


def _bar(name: str, share: float, words: str, bad: bool = False) -> str:
    kind, plain = "bar bad" if bad else "bar", html.escape(name)
    cells = f'<span title="{plain}">{plain}</span><i style="width:{100 * share:.1f}%"></i><b>{html.escape(words)}</b>'
    return f'<div class="{kind}">{cells}</div>'


def _unit_table(means: Mapping[str, np.ndarray]) -> str:
    rows = ["<tr><th>" + "".join(f"<th>{name}" for name in AU_NAMES)]
    for emotion in (*EMOTIONS, *sorted(set(means) - set(EMOTIONS))):
        if emotion in means:
            cells = "".join(_shaded(f"{v:.2f}", min(float(v), 1.0)) for v in means[emotion])
            rows.append(f"<tr><th>{html.escape(emotion)}{cells}")
    return "<table>" + "".join(rows) + "</table>"


def _shaded(text: str, share: float) -> str:
    white = ";color:#fff" if share > 0.55 else ""
    return f'<td style="background:rgba(60,128,184,{max(share, 0.0):.2f}){white}">{text}'


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{heading}</h2>{content}</section>"


def _nothing() -> str:
    return "<p>No clip could be read.</p>"


def _round_step(step: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(
        power * part for part in (1.0, 2.0, 2.5, 5.0, 10.0) if power * part >= step * (1 - 1e-9)
    )


def _short(value: float) -> str:
    return f"{round(float(value), 10) + 0.0:.3g}"
