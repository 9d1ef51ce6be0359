"""The histogram page: content and statistics of a shard set as one self-contained HTML file."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from datamodules.dataset_report.card import UNKNOWN, ClipStatistics, duration, set_sizes
from datamodules.shards.index import ShardIndex
from emo_lightning.face.coefficients import AU_NAMES
from emo_lightning.motion.emotions import EMOTIONS

TEMPLATE = "histograms.html.j2"
MAX_BINS, MAX_SPEAKERS = 30, 24
BLUE, RED = "#3c80b8", "#d0413e"
Row = tuple[str, list[tuple[str, float]]]
"""Title of a table row and its cells, each a text and a shade of 0 to 1."""


def histogram_page(index: ShardIndex, statistics: ClipStatistics, name: str) -> str:
    """Self-contained HTML page of a shard set.

    Args:
        index: of the set.
        statistics: of its clips.
        name: of the set, for the title.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    hours, unit = duration(index.hours).split()
    size = sum(shard.bytes for shard in index.shards)
    ordered = sorted(index.speakers.items(), key=lambda item: (-item[1]["seconds"], item[0]))
    most = max((row["seconds"] for _, row in ordered), default=1.0) or 1.0
    return environment.get_template(TEMPLATE).render(
        name=name,
        layout=index.layout.describe(),
        sets=set_sizes(index),
        tiles=(
            (f"{index.samples:,}", "clips"),
            (hours, {"h": "hours", "min": "minutes"}[unit]),
            (f"{len(ordered):,}", "speaker" if len(ordered) == 1 else "speakers"),
            (f"{len(index.shards):,}", f"shards, {size / 1e6:,.1f} MB"),
            (f"{sum(index.failures.values()):,}", "failures"),
        ),
        emotions=_emotion_tables(index, statistics),
        splits=[_split_row(split, row) for split, row in index.splits.items()],
        speakers=[
            (name, row["seconds"] / most, f"{row['seconds'] / 60:.1f} min, {row['split']}")
            for name, row in ordered[:MAX_SPEAKERS]
        ],
        more=max(0, len(ordered) - MAX_SPEAKERS),
        failures=_bars(index.failures),
        flags=_bars(statistics.flags),
        bad=_bars(statistics.bad),
        notes=index.notes,
        clips=len(statistics.clips),
        charts=[Markup(histogram(v, label)) for label, v in statistics.values.items() if v],
        unit_names=AU_NAMES,
        units=_unit_rows({e: np.mean(rows, axis=0) for e, rows in statistics.aus.items()}),
    )


def histogram(values: Sequence[float], label: str) -> str:
    """SVG histogram with its mean; whole numbers of a small range get a bar each."""
    import matplotlib
    from matplotlib.figure import Figure

    array = np.asarray(values, np.float64)
    low, high, mean = float(array.min()), float(array.max()), float(array.mean())
    edges: np.ndarray | int = min(MAX_BINS, max(6, int(2 * np.sqrt(len(array)))))
    if high - low <= MAX_BINS and np.array_equal(array, np.round(array)):
        edges = np.arange(low - 0.5, high + 1.0)
    figure = Figure(figsize=(3.6, 2.0))
    figure.subplots_adjust(left=0.12, right=0.98, top=0.88, bottom=0.12)
    axes = figure.add_subplot()
    axes.hist(array, edges, color=BLUE, rwidth=0.94)
    axes.axvline(mean, color=RED, linestyle=":", linewidth=1)
    title = f"{label}: mean {mean:.3g}, n {len(array)}"
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    axes.tick_params(labelsize=8)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _emotion_tables(
    index: ShardIndex, statistics: ClipStatistics
) -> list[tuple[str, list[str], list[Row]]]:
    """Caption, head and rows of the clips by emotion and fine level, and by annotated intensity."""
    if set(index.emotions) == {UNKNOWN} and set(index.emotions[UNKNOWN]) == {UNKNOWN}:
        return []
    tables, known = [], {level for row in index.emotions.values() for level in row}
    if levels := [str(n) for n in range(1, 16) if str(n) in known]:
        levels += [UNKNOWN] * (UNKNOWN in known)
        head = ["no level" if level == UNKNOWN else level for level in levels]
        rows = _count_rows(index.emotions, levels)
        tables.append(("Clips by fine level.", [*head, "all"], rows))
    counts: dict[str, Counter[str]] = {}
    for clip in statistics.clips:
        intensity = UNKNOWN if clip.intensity is None else str(clip.intensity)
        counts.setdefault(clip.emotion, Counter())[intensity] += 1
    columns = [name for name in ("1", "2", "3") if any(name in row for row in counts.values())]
    if columns or not tables:
        columns += [UNKNOWN] * any(UNKNOWN in row for row in counts.values())
        head = ["none" if name == UNKNOWN else name for name in columns]
        caption = f"{len(statistics.clips)} clips by annotated intensity."
        tables.append((caption, [*head, "all"], _count_rows(counts, columns)))
    return tables


def _count_rows(counts: Mapping[str, Mapping[str, int]], columns: Sequence[str]) -> list[Row]:
    # Clips without a level are often the most, and would leave the other cells pale.
    labelled = [n for row in counts.values() for name, n in row.items() if name != UNKNOWN]
    most, rows = max(labelled, default=1), []
    for emotion in (*EMOTIONS, UNKNOWN):
        if row := counts.get(emotion):
            numbers = [row.get(name, 0) for name in columns]
            cells = [(f"{n:,}" if n else "-", 0.75 * min(n / most, 1.0)) for n in numbers]
            rows.append((emotion, [*cells, (f"{sum(row.values()):,}", 0.0)]))
    return rows


def _split_row(split: str, row: Mapping[str, int | float | list[str]]) -> Row:
    minutes = f"{row['seconds'] / 60:,.1f}"
    texts = (f"{row['samples']:,}", minutes, f"{len(row['speakers']):,}")
    return split, [(text, 0.0) for text in texts]


def _unit_rows(means: Mapping[str, np.ndarray]) -> list[Row]:
    names: Iterable[str] = (*EMOTIONS, *sorted(set(means) - set(EMOTIONS)))
    return [
        (name, [(f"{value:.2f}", float(np.clip(value, 0.0, 1.0))) for value in means[name]])
        for name in names
        if name in means
    ]


def _bars(counts: Mapping[str, int]) -> list[tuple[str, float, str]]:
    """Title, length of 0 to 1 and text of a bar for each count, the largest first."""
    most = max(counts.values(), default=1)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(name, count / most, f"{count:,}") for name, count in ordered]
