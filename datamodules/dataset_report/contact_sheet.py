"""Contact sheet of a shard set: clips with landmarks, action units and waveform.

A set of audio alone gets mel spectrograms in place of the faces; a panel that no clip of it
has is omitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules.dataset_report.card import ClipEntry, duration
from datamodules.shards.index import LIGHT, ShardIndex
from datamodules.shards.reader import decode_shard
from datamodules.shards.schema import Sample
from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.face.coefficients import AU_NAMES
from emo_lightning.face.landmarks import to_68
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.motion.emotions import EMOTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

COLUMNS, DPI, CELL = 4, 100, 2.7
"""Cells in a row; resolution; width of a cell in inches."""
HEIGHTS = {"face": CELL, "spectrogram": 1.2, "units": 0.9, "waveform": 0.6}
"""Inches of each panel."""
LABEL = 0.5
"""Inches of the text above a cell's panels."""
BLUE, RED, GREEN, FAINT = "#3c80b8", "#dc4040", "#8ceb78", "#8c9096"
CHAINS = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
"""(first, end) of each line through the 68 points; from the eyes on they are closed."""


def contact_sheet(
    folder: str | Path,
    index: ShardIndex,
    entries: Sequence[ClipEntry],
    clips: int = 16,
    seed: int = 0,
) -> np.ndarray:
    """Picture of clips chosen so that emotions take turns and speakers differ.

    Args:
        folder: the set.
        index: of the set.
        entries: the clips to choose from.
        clips: how many to show.
        seed: of the choice.

    Returns:
        ``(H, W, 3)`` uint8 BGR.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = choose_clips(entries, clips, seed)
    samples = [s for entry in chosen if (s := _decoded(Path(folder), index, entry)) is not None]
    panels = _panels(samples)
    columns, rows = min(COLUMNS, max(len(samples), 1)), -(-len(samples) // COLUMNS) or 1
    cell_height = LABEL + sum(HEIGHTS[name] for name in panels)
    figure = Figure((columns * CELL, 0.4 + rows * cell_height), DPI, facecolor="#e8eaec")
    canvas = FigureCanvasAgg(figure)
    people = f"{len(index.speakers)} speaker{'s' * (len(index.speakers) != 1)}"
    title = f"{len(samples)} of {index.samples} clips, {duration(index.hours)}, {people}"
    title = title if samples else "no clip could be read"
    height = figure.get_figheight()
    figure.text(0.01, 1 - 0.12 / height, title, va="top", fontsize=9)
    _, body = figure.subfigures(2, 1, height_ratios=(0.4, rows * cell_height))
    cells = body.subfigures(rows, columns, squeeze=False, wspace=0.0, hspace=0.0)
    for sample, cell in zip(samples, cells.flat, strict=False):
        _draw_cell(cell, sample, panels)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., 2::-1])


def choose_clips(entries: Sequence[ClipEntry], clips: int, seed: int) -> list[ClipEntry]:
    """Clips by the least shown emotion, then speaker, then level; ties are drawn at random."""
    shown: Counter[object] = Counter()
    left = [entries[i] for i in np.random.default_rng(seed).permutation(len(entries))]
    chosen: list[ClipEntry] = []

    def labels(entry: ClipEntry) -> list[tuple[str, object]]:
        return [(name, getattr(entry, name)) for name in ("emotion", "speaker", "level")]

    while left and len(chosen) < clips:
        entry = min(left, key=lambda one: [shown[label] for label in labels(one)])
        left.remove(entry)
        chosen.append(entry)
        shown.update(labels(entry))
    order = {name: i for i, name in enumerate(EMOTIONS)}
    return sorted(chosen, key=lambda s: (order.get(s.emotion, len(order)), s.level or 0.0, s.key))


def _decoded(folder: Path, index: ShardIndex, entry: ClipEntry) -> Sample | None:
    """The clip, with its video where there is any."""
    bad: Counter[str] = Counter()
    shard = entry.shard
    without = shard.parts - {"video"}
    for parts in (without | {"video"}, without) if shard.set == LIGHT else (shard.parts,):
        for sample in decode_shard(folder, shard, index, parts, bad):
            if sample.key == entry.key:
                return sample
    return None


def _panels(samples: Sequence[Sample]) -> list[str]:
    """Names of the panels that at least one sample has."""
    panels = []
    if any(sample.video is not None or sample.landmarks is not None for sample in samples):
        panels.append("face")
    elif any(sample.wave is not None for sample in samples):
        panels.append("spectrogram")
    panels += ["units"] * any(sample.au is not None for sample in samples)
    return panels + ["waveform"] * any(sample.wave is not None for sample in samples)


def _draw_cell(cell: SubFigure, sample: Sample, panels: Sequence[str]) -> None:
    """Labels over the panels; the frame shown is the one with the strongest action units."""
    meta, frame = sample.meta, 0 if sample.au is None else int(sample.au[:, :-1].sum(1).argmax())
    has_face = sample.video is not None or sample.landmarks is not None
    level = f", level {meta.level:g}" if meta.level is not None else ""
    level = f", intensity {meta.intensity}" if meta.intensity and not level else level
    place = f"frame {frame} of {meta.frames}" if has_face else f"{meta.frames / meta.fps:.1f} s"
    flags = meta.extra.get("flags")
    words = f"  {', '.join(map(str, flags))}" if isinstance(flags, list) else ""
    text = (
        f"{(meta.emotion or 'no emotion') + level}\n"
        f"{meta.speaker[:20]} {meta.split}, {place}\n{sample.key[-36:]}{words}"
    )
    heights = [LABEL, *(HEIGHTS[name] for name in panels)]
    cell.text(0.04, 0.99, text, va="top", fontsize=7, parse_math=False)
    if panels:
        grid = cell.add_gridspec(len(heights), 1, height_ratios=heights, hspace=0.12)
        grid.update(left=0.1, right=0.97, top=1.0, bottom=0.05)
        for row, name in enumerate(panels):
            axes = cell.add_subplot(grid[row + 1])
            axes.tick_params(labelsize=5, length=1, pad=1)
            DRAW[name](axes, sample, frame if has_face else None)


def _draw_face(axes: Axes, sample: Sample, frame: int | None) -> None:
    axes.set_axis_off()
    if frame is None:
        _draw_spectrogram(axes, sample, frame)
        return
    picture = np.full((2, 2, 3), 55, np.uint8)
    if sample.video is not None:
        try:
            picture = decode_mp4_bytes(sample.video, [frame])[0]
        except ValueError:
            axes.text(0, 0, "video cannot be decoded", color=RED, fontsize=7, ha="center")
    axes.imshow(picture, extent=(-1, 1, 1, -1), interpolation="antialiased")
    if sample.landmarks is not None:
        points = sample.landmarks[frame, :, :2]
        axes.plot(*points.T, ",", color=GREEN)
        for number, (first, end) in enumerate(CHAINS):
            chain = to_68(points)[first:end]
            chain = np.concatenate([chain, chain[: int(number >= 5)]])
            axes.plot(*chain.T, color=GREEN, linewidth=0.6, alpha=0.6)
    axes.set(xlim=(-1, 1), ylim=(1, -1))


def _draw_spectrogram(axes: Axes, sample: Sample, frame: int | None) -> None:
    """Log mel of 80 dB below its maximum."""
    axes.set_axis_off()
    if sample.wave is not None and len(sample.wave):
        decibels = log_mel(sample.wave).T * 20.0 / np.log(10.0)
        top = decibels.max()
        axes.imshow(decibels, "magma", origin="lower", aspect="auto", vmin=top - 80, vmax=top)


def _draw_units(axes: Axes, sample: Sample, frame: int | None) -> None:
    """Bars of the clip's mean action units, with a mark at those of the frame shown."""
    places = np.arange(len(AU_NAMES))
    if sample.au is not None:
        axes.bar(places, sample.au.mean(0), color=BLUE)
        if frame is not None:
            axes.plot(places, sample.au[frame], "_", color=RED, markersize=6)
    axes.set(ylim=(0, 1), yticks=(0.5, 1.0), xlim=(-0.7, len(places) - 0.3))
    axes.set_xticks(places, [name.removeprefix("AU") for name in AU_NAMES])


def _draw_waveform(axes: Axes, sample: Sample, frame: int | None) -> None:
    """Envelope, shaded where speech was detected, with a line at the frame shown."""
    if sample.wave is None or not len(sample.wave):
        axes.set_axis_off()
        return
    seconds, wave = sample.meta.frames / sample.meta.fps, sample.wave
    quality = sample.meta.extra.get("quality")
    speech = quality.get("speech") if isinstance(quality, dict) else None
    for part in speech if isinstance(speech, list) else ():
        if isinstance(part, list) and len(part) == 2:
            axes.axvspan(float(part[0]), float(part[1]), color="#e0ecf6")
    parts = [part for part in np.array_split(wave, 256) if len(part)]
    times = np.linspace(0, len(wave) / SAMPLE_RATE, len(parts))
    axes.fill_between(times, [p.min() for p in parts], [p.max() for p in parts], color=BLUE)
    if frame is not None:
        axes.axvline(frame / sample.meta.fps, color=RED, linewidth=0.8)
    peak = round(20 * float(np.log10(max(float(np.abs(wave).max()), 1e-6))))
    axes.set(xlim=(0, seconds), yticks=())
    axes.set_ylabel(f"peak {peak} dB", fontsize=5, labelpad=1, color=FAINT)


DRAW: dict[str, Callable[[Axes, Sample, int | None], None]] = {
    "face": _draw_face,
    "spectrogram": _draw_spectrogram,
    "units": _draw_units,
    "waveform": _draw_waveform,
}
