"""One picture of many videos: rows of emotions, columns of levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.media.video_reader import iter_frames
from emo_lightning.motion.emotions import EMOTIONS

BAR = 22
"""Height of a caption in pixels."""
OPEN = 0.1
"""Closure of the lids below which a frame is fit to be shown."""


def contact_sheet(
    folder: Path, out: Path, levels: Sequence[int], moments: Sequence[float] = (0.25, 0.55)
) -> Path:
    """Lay out ``EMOTION-LEVEL.mp4`` files as a PNG, each with a frame at every moment.

    Args:
        folder: videos named ``happy-08.mp4``; a missing one leaves its place empty.
        out: the PNG.
        levels: the columns.
        moments: which frames, as shares of the video's length; the nearest between blinks, if
            ``EMOTION-LEVEL.npz`` says when.
    """
    cells = {
        (e, n): _frames(folder / f"{e}-{n:02d}.mp4", moments) for e in EMOTIONS for n in levels
    }
    size = next(cell.shape[0] for cell in cells.values() if cell is not None)
    empty = np.full((size, size * len(moments), 3), 245, np.uint8)
    rows = []
    for emotion in EMOTIONS:
        row = []
        for level in levels:
            cell = cells[emotion, level]
            label = "neutral" if emotion == EMOTIONS[0] else f"{emotion} {level}"
            row.append(captioned(empty, "") if cell is None else captioned(cell, label))
        rows.append(np.hstack(row))
    cv2.imwrite(str(out), np.vstack(rows)[:, :, ::-1])
    return out


def _frames(path: Path, moments: Sequence[float]) -> np.ndarray | None:
    if not path.exists():
        return None
    frames = list(iter_frames(path))
    seeing = _open_eyed(path.with_suffix(".npz"), len(frames))
    return np.hstack([frames[seeing[np.abs(seeing - m * len(frames)).argmin()]] for m in moments])


def _open_eyed(coefficients: Path, frames: int) -> np.ndarray:
    """Numbers of the frames between blinks, by the coefficients beside the video; of all frames
    where they do not say."""
    every = np.arange(frames)
    if not coefficients.exists():
        return every
    with np.load(coefficients, allow_pickle=False) as blocks:
        exp = blocks["exp"][:frames]
    if exp.shape != (frames, len(EXP_NAMES)):
        return every
    lids = exp[:, [EXP_NAMES.index(name) for name in ("AU45_L", "AU45_R")]].max(axis=1)
    return every[lids < OPEN] if (lids < OPEN).any() else every


def captioned(cell: np.ndarray, text: str) -> np.ndarray:
    """A picture ``(H, W, 3)`` uint8 with a caption above it."""
    bar = np.full((BAR, cell.shape[1], 3), 245, np.uint8)
    return np.vstack(
        [
            cv2.putText(
                bar, text, (6, BAR - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA
            ),
            cell,
        ]
    )
