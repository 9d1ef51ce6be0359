"""The contact sheet: a picture of clips from all over a shard set, each with landmarks, action units and waveform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datamodules.card import Seen, read_shard
from datamodules.schema import Sample
from datamodules.shards import LIGHT, VIDEO, ShardIndex
from emo_lightning.coefficients import AU_NAMES
from emo_lightning.emotions import EMOTIONS
from emo_lightning.video import decode_mp4_bytes

SIDE, BARS, WAVE, BAR, GAP, COLUMNS = 256, 84, 44, 18, 8, 4
"""Pixels: the face's side, heights of action units, waveform and a caption's line, between cells; cells in a row."""
PAPER, INK, BLUE, RED, GREEN = (250, 250, 250), (40, 40, 40), (168, 120, 76), (60, 60, 200), (90, 220, 120)
"""Colours, blue first."""


def contact_sheet(folder: str | Path, index: ShardIndex, seen: Sequence[Seen], clips: int = 16, seed: int = 0) -> np.ndarray:
    """Draw clips chosen so that emotions take turns and speakers differ.

    Args:
        folder: the set.
        index: of the set.
        seen: the clips to choose from.
        clips: how many to draw.
        seed: of the choice.

    Returns:
        ``(H, W, 3)`` uint8 BGR.
    """
    cells = []
    for one in choose(seen, clips, seed):
        sample = _read(Path(folder), index, one)
        if sample is not None:
            cells.append(_cell(sample))
    if not cells:
        cells = [_captioned(np.full((SIDE, SIDE, 3), PAPER, np.uint8), ["no clip could be read"])]
    height, width = cells[0].shape[:2]
    columns = min(COLUMNS, len(cells))
    sheet = np.full((-(-len(cells) // columns) * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 225, np.uint8)
    for number, cell in enumerate(cells):
        y, x = GAP + number // columns * (height + GAP), GAP + number % columns * (width + GAP)
        sheet[y : y + height, x : x + width] = cell
    return sheet


def choose(seen: Sequence[Seen], clips: int, seed: int) -> list[Seen]:
    """Clips for the sheet: emotions in turn, each time the speaker shown least, then the level shown least, then by lot."""
    shown: Counter[object] = Counter()
    left = [seen[i] for i in np.random.default_rng(seed).permutation(len(seen))]
    chosen: list[Seen] = []
    while left and len(chosen) < clips:
        one = min(left, key=lambda s: (shown["emotion", s.emotion], shown["speaker", s.speaker], shown["level", s.level]))
        left.remove(one)
        chosen.append(one)
        shown.update([("emotion", one.emotion), ("speaker", one.speaker), ("level", one.level)])
    order = {name: i for i, name in enumerate(EMOTIONS)}
    return sorted(chosen, key=lambda s: (order.get(s.emotion, len(order)), s.level or 0.0, s.key))


def _read(folder: Path, index: ShardIndex, one: Seen) -> Sample | None:
    """The clip, with its video where there is any."""
    bad: Counter[str] = Counter()
    sample = next(read_shard(folder / one.shard.name, one.shard, index, bad, one.key), None)
    twin = one.shard.name.replace(f"{LIGHT}-{one.shard.split}", f"{VIDEO}-{one.shard.split}")
    for shard in index.shards:
        if sample is not None and shard.set == VIDEO and shard.name == twin:
            other = next(read_shard(folder / twin, shard, index, bad, one.key), None)
            sample.video = None if other is None else other.video
    return sample


def _cell(sample: Sample) -> np.ndarray:
    """Face with landmarks over units over waveform; the frame is the one that shows most."""
    frame = 0 if sample.au is None else int(sample.au[:, :-1].sum(1).argmax())
    face = _face(sample, frame)
    meta = sample.meta
    level = "" if meta.level is None else f" level {meta.level:g}"
    intensity = "" if meta.intensity is None else f" ({meta.intensity})"
    words = [
        f"{meta.emotion or 'no emotion'}{intensity}{level}",
        f"{meta.speaker[:18]} {meta.split}, frame {frame} of {meta.frames}",
        sample.key[:38],
    ]
    return np.vstack([_captioned(face, words), _units(sample.au, frame), _waveform(sample.wave, frame / meta.frames)])


def _face(sample: Sample, frame: int) -> np.ndarray:
    picture = np.full((SIDE, SIDE, 3), 60, np.uint8)
    if sample.video is not None:
        try:
            rgb = decode_mp4_bytes(sample.video, [frame])[0]
            picture = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[:, :, ::-1].copy()
        except ValueError:
            cv2.putText(picture, "video cannot be decoded", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.45, RED, 1, cv2.LINE_AA)
    if sample.landmarks is not None:
        for x, y in (sample.landmarks[frame, :, :2] + 1.0) * SIDE / 2.0:
            if 0 <= x < SIDE and 0 <= y < SIDE:
                picture[int(y), int(x)] = GREEN
    return picture


def _units(au: np.ndarray | None, frame: int) -> np.ndarray:
    """A bar a unit: the clip's mean, with a line at the frame shown."""
    canvas = np.full((BARS, SIDE, 3), PAPER, np.uint8)
    if au is None:
        return canvas
    step, room = SIDE / len(AU_NAMES), BARS - 18
    for i, name in enumerate(AU_NAMES):
        left, right = int(i * step) + 2, int((i + 1) * step) - 2
        top, now = (int(BARS - 14 - room * min(float(value), 1.0)) for value in (au[:, i].mean(), au[frame, i]))
        cv2.rectangle(canvas, (left, top), (right, BARS - 14), BLUE, -1)
        cv2.line(canvas, (left, now), (right, now), RED, 1)
        cv2.putText(canvas, name.removeprefix("AU"), (left - 1, BARS - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.3, INK, 1, cv2.LINE_AA)
    return canvas


def _waveform(wave: np.ndarray | None, place: float) -> np.ndarray:
    """Extremes of each column; the line is the frame shown."""
    canvas = np.full((WAVE, SIDE, 3), PAPER, np.uint8)
    if wave is None or not len(wave):
        return canvas
    loudest = max(float(np.abs(wave).max()), 1e-6)
    for x, part in enumerate(np.array_split(wave, SIDE)):
        if len(part):
            low, high = (int(WAVE / 2 - WAVE / 2 * 0.95 * value / loudest) for value in (part.min(), part.max()))
            cv2.line(canvas, (x, high), (x, low), BLUE, 1)
    cv2.line(canvas, (int(place * SIDE), 0), (int(place * SIDE), WAVE), RED, 1)
    return canvas


def _captioned(picture: np.ndarray, words: Sequence[str]) -> np.ndarray:
    bar = np.full((BAR * len(words), picture.shape[1], 3), PAPER, np.uint8)
    for line, text in enumerate(words):
        plain = text.encode("ascii", "replace").decode()
        cv2.putText(bar, plain, (4, BAR * (line + 1) - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    return np.vstack([bar, picture])
