"""Contact sheets of the comparison: the same moments side by side, the mouth enlarged beneath each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks._compare_scores import Film
from emo_lightning.face.builtin import LIPS
from emo_lightning.face.crop import CropBox, crop_image
from evaluation.judges.geometry import FEATURES
from evaluation.report.contact_sheet import captioned
from evaluation.suite.motion import head_angles

MOUTH = 0.55
"""Half of the enlarged square's side in distances between the eyes; its middle half is shown."""


@dataclass
class Strip:
    """One moment: pictures by caption, in order, each with the place of its mouth."""

    cells: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, caption: str, frame: np.ndarray, mouth: CropBox) -> None:
        """A frame ``(S, S, 3)`` and where to look closer."""
        size = frame.shape[0]
        near = crop_image(frame, mouth, size)[size // 4 : size - size // 4]
        self.cells[caption] = np.vstack([frame, near])


def mouth_of(film: Film, frame: int) -> CropBox:
    """Where the mouth is in a frame; where it was last seen, if no face is."""
    seen = np.flatnonzero(film.seen)
    if not len(seen):
        half = film.frames.shape[1] / 2
        return CropBox(half, 1.4 * half, 0.4 * half)
    nearest = seen[np.abs(seen - frame).argmin()]
    unit = film.track.interocular * film.frames.shape[1] / 2
    x, y = film.track.points[nearest, list(LIPS), :2].mean(axis=0)
    return CropBox(float(x), float(y), MOUTH * unit)


def moments(film: Film) -> list[int]:
    """Two frames worth a look: the mouth at its widest, and the head farthest from where it was at first."""
    seen = np.flatnonzero(film.seen)
    if len(seen) < 3:
        return [0, len(film.frames) - 1]
    opening = film.track.geometry[seen, list(FEATURES).index("lip_open")]
    angles = head_angles(film.track)
    return [int(seen[opening.argmax()]), int(seen[np.abs(angles - angles[0]).max(axis=1).argmax()])]


def write_sheet(path: Path, strips: Sequence[Strip]) -> None:
    """One row a moment, one column a caption; a cell that is missing stays empty."""
    captions = list(dict.fromkeys(name for strip in strips for name in strip.cells))
    empty = np.full(next(iter(strips[0].cells.values())).shape, 245, np.uint8)
    rows = [
        np.hstack([captioned(strip.cells.get(name, empty), name) for name in captions])
        for strip in strips
    ]
    cv2.imwrite(str(path), np.vstack(rows)[:, :, ::-1])
