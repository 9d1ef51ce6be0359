"""Frames of one sample, kept until its crop is known: decoding large video twice costs more than anything else here."""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.face.crop import MARGIN, CropBox, crop_image
from emo_lightning.media.lazy_frame import HALVINGS, SMALL, Picture, halvings

HOLD_BYTES = 400 << 20
"""Frames of small video are kept whole up to this; of larger ones a part, finer than needed up to this."""
ROAM = 1.5
"""Side of what is kept of a larger frame, over the side of the crop that its first face asks for."""
FINER = 1.25
"""Resolution that is kept at least, over the crop's."""
FREE = 1.6
"""What is this much finer than needed is kept as it is: to shrink it costs time and takes from the picture."""
WAIT = 5
"""Frames kept whole until there is a face."""
STEP = 2**HALVINGS
"""The part that is kept begins and ends between pixels of halved pictures too."""


class FrameBuffer:
    """The frames of one sample, or of larger ones the part around the head, shrunk to little more than the crop needs.

    Args:
        shape: (height, width) of the frames.
        count: how many there can be.
        size: side of the crop that will be asked for.
    """

    def __init__(self, shape: tuple[int, int], count: int, size: int) -> None:
        self.size, self.frames, self._count = size, 0, count
        self._kept: list[np.ndarray] = []
        self._waiting: list[Picture] = []
        self._whole = shape[0] * shape[1] <= SMALL and 3 * shape[0] * shape[1] * count <= HOLD_BYTES
        self._window: tuple[int, int, int, int] | None = None
        self._shape = shape

    def add(self, frame: Picture, points: np.ndarray | None) -> None:
        """Take the next frame and the landmarks in it, if there are any."""
        self.frames += 1
        if self._whole:
            self._kept.append(frame.rgb())
            return
        if self._window is None and points is not None:
            self._window = self._around(points)
            self._kept, self._waiting = [self._part(held) for held in self._waiting], []
        if self._window is not None:
            self._kept.append(self._part(frame))
        elif len(self._waiting) < WAIT:
            self._waiting.append(frame)

    def crops(self, box: CropBox) -> list[np.ndarray] | None:
        """Each frame's ``(size, size, 3)`` crop, or None when that needs more than was kept."""
        if len(self._kept) < self.frames:
            return None
        if self._window is None:
            return [crop_image(frame, box, self.size) for frame in self._kept]
        left, top, right, bottom = self._window
        sides = (
            box.cx - box.half - left,
            box.cy - box.half - top,
            right - box.cx - box.half,
            bottom - box.cy - box.half,
        )
        edges = (left == 0, top == 0, right == self._shape[1], bottom == self._shape[0])
        if any(side < 0 and not edge for side, edge in zip(sides, edges, strict=True)):
            return None
        scale = self._kept[0].shape[1] / (right - left)
        place = CropBox((box.cx - left) * scale, (box.cy - top) * scale, box.half * scale)
        return [crop_image(part, place, self.size) for part in self._kept]

    def _around(self, points: np.ndarray) -> tuple[int, int, int, int]:
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        half = 0.5 * ROAM * MARGIN * float((high - low).max())
        left, top = (np.floor(np.maximum((low + high) / 2 - half, 0) / STEP) * STEP).astype(int)
        right, bottom = np.minimum(
            np.ceil(((low + high) / 2 + half) / STEP) * STEP, self._shape[::-1]
        ).astype(int)
        least = min(1.0, FINER * ROAM * self.size / (2 * half))
        self._level = level_for(1 / least, self._shape)
        finest = 0.5**self._level
        fits = 3 * finest**2 * (right - left) * (bottom - top) * self._count <= HOLD_BYTES
        self._scale = finest if fits and finest <= FREE * least else least
        return int(left), int(top), int(right), int(bottom)

    def _part(self, frame: Picture) -> np.ndarray:
        assert self._window is not None
        left, top, right, bottom = self._window
        part = frame.rgb(self._level)[
            top >> self._level : bottom >> self._level, left >> self._level : right >> self._level
        ]
        size = (
            max(1, round((right - left) * self._scale)),
            max(1, round((bottom - top) * self._scale)),
        )
        if size == part.shape[1::-1]:
            return part.copy()
        return cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)


def level_for(shrink: float, shape: tuple[int, ...]) -> int:
    """How often a picture may be halved when it will be shrunk by a factor anyway."""
    return min(int(np.log2(max(shrink, 1.0))), halvings(shape))
