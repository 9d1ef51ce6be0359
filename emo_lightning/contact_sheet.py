"""One picture of many videos: rows of emotions, columns of levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from emo_lightning.emotions import EMOTIONS
from emo_lightning.video import iter_frames

BAR = 22
"""Height of a caption in pixels."""


def contact_sheet(folder: Path, out: Path, levels: Sequence[int], moments: Sequence[float] = (0.25, 0.55)) -> Path:
    """Lay out ``EMOTION-LEVEL.mp4`` files as a PNG, each with a frame at every moment.

    Args:
        folder: videos named ``happy-08.mp4``; a missing one leaves its place empty.
        out: the PNG.
        levels: the columns.
        moments: which frames, as shares of the video's length.
    """
    cells = {(e, n): _frames(folder / f"{e}-{n:02d}.mp4", moments) for e in EMOTIONS for n in levels}
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
    return np.hstack([frames[min(int(m * len(frames)), len(frames) - 1)] for m in moments])


def captioned(cell: np.ndarray, text: str) -> np.ndarray:
    """A picture ``(H, W, 3)`` uint8 with a caption above it."""
    bar = np.full((BAR, cell.shape[1], 3), 245, np.uint8)
    return np.vstack([cv2.putText(bar, text, (6, BAR - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA), cell])
