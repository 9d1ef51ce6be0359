"""The contact sheet: a picture of clips from all over a shard set, each with landmarks, action units and waveform.

A set of recordings alone gets mel spectrograms in place of the faces, and what no clip of the sheet has is not drawn at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datamodules.dataset_report.card import Seen, duration, read_shard
from datamodules.shards.schema import Sample
from datamodules.shards.tar_io import LIGHT, VIDEO, ShardIndex
from emo_lightning.face.coefficients import AU_NAMES
from emo_lightning.face.landmarks import to_68
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.motion.emotions import EMOTIONS

SIDE, MEL, BARS, WAVE, GAP, COLUMNS = 256, 120, 92, 60, 10, 4
"""Pixels: the face's side, heights of spectrogram, action units and waveform, between cells; cells in a row."""
TITLE, CHIP, LINE = 34, 24, 16
"""Pixels: heights of the sheet's title, of a cell's label and of a line below it."""
PAPER, CARD, INK, FAINT, DARK = (
    (236, 234, 232),
    (255, 255, 255),
    (45, 40, 38),
    (150, 144, 140),
    (58, 52, 50),
)
BLUE, PALE, RED, GREEN = (184, 128, 60), (246, 236, 224), (64, 64, 220), (120, 235, 140)
"""Colours, blue first."""
COLOUR_OF = {
    "neutral": (140, 135, 130),
    "angry": (60, 60, 205),
    "contempt": (150, 90, 130),
    "disgusted": (70, 130, 60),
    "fear": (160, 80, 70),
    "happy": (30, 150, 225),
    "sad": (175, 110, 60),
    "surprised": (150, 70, 190),
    None: (125, 105, 90),
}
"""Of an emotion's label, blue first; None for clips without one."""
CHAINS = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
"""(first, end) of each line through the 68 points; from the eyes on they are closed."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


def contact_sheet(
    folder: str | Path, index: ShardIndex, seen: Sequence[Seen], clips: int = 16, seed: int = 0
) -> np.ndarray:
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
    read = [_read(Path(folder), index, one) for one in choose(seen, clips, seed)]
    samples = [sample for sample in read if sample is not None]
    has_face = any(sample.video is not None or sample.landmarks is not None for sample in samples)
    has_units = any(sample.au is not None for sample in samples)
    has_sound = any(sample.wave is not None for sample in samples)
    cells = [_cell(sample, has_face, has_units, has_sound) for sample in samples]
    if not cells:
        cells = [_words_on(np.full((SIDE, SIDE, 3), CARD, np.uint8), "no clip could be read")]
    height, width = cells[0].shape[:2]
    columns = min(COLUMNS, len(cells))
    size = (
        TITLE + -(-len(cells) // columns) * (height + GAP) + GAP,
        columns * (width + GAP) + GAP,
        3,
    )
    sheet = np.full(size, PAPER, np.uint8)
    people = f"{len(index.speakers)} speaker{'s' * (len(index.speakers) != 1)}"
    title = f"{len(samples)} of {index.samples} clips" + (
        f", {duration(index.hours)}, {people}" if columns > 1 else ""
    )
    cv2.putText(sheet, title, (GAP + 2, TITLE - 8), FONT, 0.55, INK, 1, cv2.LINE_AA)
    if columns > 2 and has_units:
        legend = "bars: mean of the clip's action units; red: the frame shown"
        _right(sheet, legend, sheet.shape[1] - GAP - 2, TITLE - 9, 0.4, FAINT)
    for number, cell in enumerate(cells):
        y, x = (
            TITLE + GAP + number // columns * (height + GAP),
            GAP + number % columns * (width + GAP),
        )
        sheet[y : y + height, x : x + width] = cell
    return sheet


def choose(seen: Sequence[Seen], clips: int, seed: int) -> list[Seen]:
    """Clips for the sheet: emotions in turn, each time the speaker shown least, then the level shown least, then by lot."""
    shown: Counter[object] = Counter()
    left = [seen[i] for i in np.random.default_rng(seed).permutation(len(seen))]
    chosen: list[Seen] = []
    while left and len(chosen) < clips:
        one = min(
            left,
            key=lambda s: (
                shown["emotion", s.emotion],
                shown["speaker", s.speaker],
                shown["level", s.level],
            ),
        )
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


def _cell(sample: Sample, has_face: bool, has_units: bool, has_sound: bool) -> np.ndarray:
    """Face with landmarks over units over waveform; the frame is the one that shows most."""
    frame = 0 if sample.au is None else int(sample.au[:, :-1].sum(1).argmax())
    pictured = sample.video is not None or sample.landmarks is not None
    panels = [_label(sample, frame if pictured else None)]
    if has_face:
        panels.append(_face(sample, frame) if pictured else _spectrogram(sample.wave, SIDE))
    elif has_sound:
        panels.append(_spectrogram(sample.wave, MEL))
    panels += [_units(sample.au, frame)] if has_units else []
    panels += (
        [_waveform(sample, frame / sample.meta.frames if pictured else None)] if has_sound else []
    )
    return np.vstack(panels)


def _label(sample: Sample, frame: int | None) -> np.ndarray:
    """What the clip is labelled, on its emotion's colour, over who it is and where it comes from."""
    meta = sample.meta
    canvas = np.full((CHIP + 2 * LINE + 6, SIDE, 3), CARD, np.uint8)
    canvas[:CHIP] = COLOUR_OF[meta.emotion]
    cv2.putText(
        canvas, meta.emotion or "no emotion", (8, CHIP - 7), FONT, 0.5, CARD, 1, cv2.LINE_AA
    )
    degree = (
        f"level {meta.level:g}"
        if meta.level is not None
        else f"intensity {meta.intensity}"
        if meta.intensity
        else ""
    )
    _right(canvas, degree, SIDE - 8, CHIP - 7, 0.42, CARD)
    where = (
        f"{meta.frames / meta.fps:.1f} s" if frame is None else f"frame {frame} of {meta.frames}"
    )
    cv2.putText(
        canvas,
        _fitted(meta.speaker, 0.42, 130),
        (8, CHIP + LINE - 2),
        FONT,
        0.42,
        INK,
        1,
        cv2.LINE_AA,
    )
    _right(canvas, f"{meta.split}, {where}", SIDE - 8, CHIP + LINE - 2, 0.38, FAINT)
    flags = meta.extra.get("flags")
    words = ", ".join(str(flag) for flag in flags) if isinstance(flags, list) else ""
    room = SIDE - 16
    if words:
        words = _fitted(words, 0.38, 120)
        room -= _right(canvas, words, SIDE - 8, CHIP + 2 * LINE - 2, 0.38, RED) + 8
    cv2.putText(
        canvas,
        _fitted(sample.key, 0.38, room),
        (8, CHIP + 2 * LINE - 2),
        FONT,
        0.38,
        FAINT,
        1,
        cv2.LINE_AA,
    )
    return canvas


def _face(sample: Sample, frame: int) -> np.ndarray:
    picture = np.full((SIDE, SIDE, 3), DARK, np.uint8)
    if sample.video is not None:
        try:
            rgb = decode_mp4_bytes(sample.video, [frame])[0]
            picture = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[:, :, ::-1].copy()
        except ValueError:
            _words_on(picture, "video cannot be decoded")
    if sample.landmarks is not None:
        places = (sample.landmarks[frame, :, :2] + 1.0) * SIDE / 2.0
        _chains(picture, to_68(places))
        for x, y in places:
            if 0 <= x < SIDE and 0 <= y < SIDE:
                picture[int(y), int(x)] = GREEN
    return picture


def _chains(picture: np.ndarray, points: np.ndarray) -> None:
    """Half-clear lines along jaw, brows, nose, eyes and lips."""
    lines = picture.copy()
    shift = 4
    for first, end in CHAINS:
        chain = np.round(points[first:end] * 2**shift).astype(np.int32)
        cv2.polylines(lines, [chain], first >= 36, GREEN, 1, cv2.LINE_AA, shift)
    cv2.addWeighted(lines, 0.45, picture, 0.55, 0.0, dst=picture)


def _spectrogram(wave: np.ndarray | None, height: int) -> np.ndarray:
    """Log mel, low tones below, 80 dB from dark to light."""
    if wave is None or not len(wave):
        return _words_on(np.full((height, SIDE, 3), DARK, np.uint8), "no picture")
    mel = log_mel(wave).T[::-1]
    shades = np.clip((mel - mel.max()) * 20.0 / np.log(10.0) / 80.0 + 1.0, 0.0, 1.0)
    picture = cv2.resize(
        (255 * shades).astype(np.uint8), (SIDE, height), interpolation=cv2.INTER_AREA
    )
    return cv2.applyColorMap(picture, cv2.COLORMAP_MAGMA)


def _units(au: np.ndarray | None, frame: int) -> np.ndarray:
    """A bar a unit: the clip's mean, with a line at the frame shown; grey lines at a half and one."""
    canvas = np.full((BARS, SIDE, 3), CARD, np.uint8)
    if au is None:
        return _words_on(canvas, "no action units", FAINT)
    left, floor, room = 22, BARS - 17, BARS - 17 - 8
    for value in (0.5, 1.0):
        y = floor - int(room * value)
        cv2.line(canvas, (left, y), (SIDE - 6, y), PAPER, 1)
        _right(canvas, f"{value:g}", left - 3, y + 4, 0.3, FAINT)
    step = (SIDE - 6 - left) / len(AU_NAMES)
    for i, name in enumerate(AU_NAMES):
        begin, end = left + round(i * step) + 2, left + round((i + 1) * step) - 2
        top, now = (
            floor - int(room * min(float(value), 1.0)) for value in (au[:, i].mean(), au[frame, i])
        )
        cv2.rectangle(canvas, (begin, top), (end, floor), BLUE, -1)
        cv2.line(canvas, (begin - 1, now), (end + 1, now), RED, 2)
        text = name.removeprefix("AU")
        width = cv2.getTextSize(text, FONT, 0.32, 1)[0][0]
        cv2.putText(
            canvas,
            text,
            (round((begin + end - width) / 2), BARS - 5),
            FONT,
            0.32,
            INK,
            1,
            cv2.LINE_AA,
        )
    cv2.putText(canvas, "AU", (3, BARS - 5), FONT, 0.3, FAINT, 1, cv2.LINE_AA)
    return canvas


def _waveform(sample: Sample, place: float | None) -> np.ndarray:
    """Extremes of each column, full scale to the edges; shaded where somebody speaks, a line at the frame shown."""
    canvas = np.full((WAVE, SIDE, 3), CARD, np.uint8)
    wave, height = sample.wave, WAVE - 14
    if wave is None or not len(wave):
        return _words_on(canvas, "no sound", FAINT)
    seconds = sample.meta.frames / sample.meta.fps
    quality = sample.meta.extra.get("quality")
    spoken = quality.get("speech") if isinstance(quality, dict) else None
    for part in spoken if isinstance(spoken, list) else ():
        if isinstance(part, list) and len(part) == 2:
            begin, end = (int(np.clip(float(t) / seconds, 0, 1) * SIDE) for t in part)
            canvas[:height, begin:end] = PALE
    loudest = max(float(np.abs(wave).max()), 1e-6)
    for x, part in enumerate(np.array_split(wave, SIDE)):
        if len(part):
            low, high = (
                int(height / 2 - height / 2 * 0.95 * value / loudest)
                for value in (part.min(), part.max())
            )
            cv2.line(canvas, (x, high), (x, low), BLUE, 1)
    if place is not None:
        cv2.line(canvas, (int(place * SIDE), 0), (int(place * SIDE), height), RED, 1)
    cv2.putText(
        canvas,
        f"peak {round(20 * float(np.log10(loudest)))} dB",
        (6, WAVE - 4),
        FONT,
        0.32,
        FAINT,
        1,
        cv2.LINE_AA,
    )
    _right(canvas, f"{seconds:.1f} s", SIDE - 6, WAVE - 4, 0.32, FAINT)
    return canvas


def _words_on(canvas: np.ndarray, text: str, colour: tuple[int, int, int] = INK) -> np.ndarray:
    """Words in the middle of a panel that has nothing to show."""
    width, height = cv2.getTextSize(text, FONT, 0.42, 1)[0]
    colour = CARD if int(canvas.mean()) < 100 else colour
    cv2.putText(
        canvas,
        text,
        ((canvas.shape[1] - width) // 2, (canvas.shape[0] + height) // 2),
        FONT,
        0.42,
        colour,
        1,
        cv2.LINE_AA,
    )
    return canvas


def _right(
    canvas: np.ndarray, text: str, right: int, y: int, size: float, colour: tuple[int, int, int]
) -> int:
    """Text that ends at ``right``; returns its width."""
    width: int = cv2.getTextSize(_plain(text), FONT, size, 1)[0][0]
    cv2.putText(canvas, _plain(text), (right - width, y), FONT, size, colour, 1, cv2.LINE_AA)
    return width


def _fitted(text: str, size: float, room: int) -> str:
    """Text with its middle left out where it is too wide: names tell apart by both ends."""
    text, cut = _plain(text), 0
    shown = text
    while len(shown) > 5 and cv2.getTextSize(shown, FONT, size, 1)[0][0] > room:
        cut += 1
        half = (len(text) - cut) // 2
        shown = f"{text[:half]}..{text[len(text) - half :]}"
    return shown


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()
