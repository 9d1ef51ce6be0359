"""Frames of one sample, kept until its crop is known: decoding large video twice costs more than anything else here."""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.face.crop import MARGIN, CropBox, crop_image

HOLD_BYTES = 400 << 20
"""Whole frames are kept up to this."""
ROAM = 1.5
"""Side of what is kept of a larger frame, over the side of the crop that its first face asks for."""
FINER = 1.25
"""Resolution that is kept, over the crop's."""
WAIT = 5
"""Frames kept whole until there is a face."""


class HeldFrames:
    """The frames of one sample, or of larger ones the part around the head, shrunk to little more than the crop needs.

    Args:
        shape: (height, width) of the frames.
        count: how many there can be.
        size: side of the crop that will be asked for.
    """

    def __init__(self, shape: tuple[int, int], count: int, size: int) -> None:
        self.size, self.frames = size, 0
        self._kept: list[np.ndarray] = []
        self._whole = 3 * shape[0] * shape[1] * count <= HOLD_BYTES
        self._window: tuple[int, int, int, int] | None = None
        self._shape = shape

    def add(self, frame: np.ndarray, points: np.ndarray | None) -> None:
        """Take the next frame and the landmarks in it, if there are any."""
        self.frames += 1
        if self._whole:
            self._kept.append(frame)
            return
        if self._window is None and points is not None:
            self._window = self._around(points)
            self._kept = [self._part(held) for held in self._kept]
        if self._window is not None:
            self._kept.append(self._part(frame))
        elif len(self._kept) < WAIT:
            self._kept.append(frame)

    def crops(self, box: CropBox) -> list[np.ndarray] | None:
        """Each frame's ``(size, size, 3)`` crop, or None when that needs more than was kept."""
        if len(self._kept) < self.frames:
            return None
        if self._whole or self._window is None:
            return [crop_image(frame, box, self.size) for frame in self._kept]
        left, top, right, bottom = self._window
        sides = (box.cx - box.half - left, box.cy - box.half - top, right - box.cx - box.half, bottom - box.cy - box.half)
        edges = (left == 0, top == 0, right == self._shape[1], bottom == self._shape[0])
        if any(side < 0 and not edge for side, edge in zip(sides, edges, strict=True)):
            return None
        scale = self._kept[0].shape[1] / (right - left)
        place = CropBox((box.cx - left) * scale, (box.cy - top) * scale, box.half * scale)
        return [crop_image(part, place, self.size) for part in self._kept]

    def _around(self, points: np.ndarray) -> tuple[int, int, int, int]:
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        half = 0.5 * ROAM * MARGIN * float((high - low).max())
        left, top = np.floor(np.maximum((low + high) / 2 - half, 0)).astype(int)
        right, bottom = np.ceil(np.minimum((low + high) / 2 + half, self._shape[::-1])).astype(int)
        self._scale = min(1.0, FINER * ROAM * self.size / (2 * half))
        left, right = _in_steps(int(left), int(right), self._shape[1])
        top, bottom = _in_steps(int(top), int(bottom), self._shape[0])
        return left, top, right, bottom

    def _part(self, frame: np.ndarray) -> np.ndarray:
        assert self._window is not None
        left, top, right, bottom = self._window
        part = frame[top:bottom, left:right]
        width, height = round((right - left) * self._scale), round((bottom - top) * self._scale)
        if self._scale == 1.0:
            return part.copy()
        # Means of two by two are many times as fast as of any other area.
        while part.shape[1] >= 2 * width and part.shape[0] >= 2 * height and not (part.shape[0] % 2 or part.shape[1] % 2):
            part = cv2.resize(part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_AREA)
        return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)


def _in_steps(low: int, high: int, end: int) -> tuple[int, int]:
    """A range whose length halves three times, where it does not reach from edge to edge."""
    extra = (high - low) % 8
    if high < end:
        return low, high - extra
    return (low + extra, high) if low > 0 else (low, high)
