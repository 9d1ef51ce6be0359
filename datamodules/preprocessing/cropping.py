"""Square crops of a clip's frames.

The square is known only after the last frame. Decoding large video twice costs more than anything
else here, so the part around the head is kept, shrunk to little more than the crop needs.
"""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.face.crop import MARGIN, ROOM, CropBox, crop_box, crop_image
from emo_lightning.face.portrait import MIN_MARGIN, inside

HOLD_BYTES = 400 << 20
"""Small video is kept whole up to this; of large video a part."""
SMALL = 640 * 640
"""Pixels of a frame that counts as small."""
ROAM = 1.5
"""Side of the kept part, over the side of the crop at the first face."""
FINER = 1.5
"""Least resolution that is kept, over the crop's."""
MAX_WAIT = 5
"""Frames kept whole until there is a face."""


class FrameBuffer:
    """Frames of one sample, or of large video the part around the head.

    Args:
        shape: (height, width) of the frames.
        count: most frames.
        size: side of the crop in pixels.
    """

    def __init__(self, shape: tuple[int, int], count: int, size: int) -> None:
        self.size, self.frames, self._count, self._shape = size, 0, count, shape
        self._kept: list[np.ndarray] = []
        self._waiting: list[np.ndarray] = []
        self._whole = shape[0] * shape[1] <= SMALL and 3 * shape[0] * shape[1] * count <= HOLD_BYTES
        self._window: tuple[int, int, int, int] | None = None
        self._scale = 1.0

    def add(self, frame: np.ndarray, points: np.ndarray | None) -> None:
        """Add the next frame ``(H, W, 3)`` and its landmarks, if any."""
        self.frames += 1
        if self._whole:
            self._kept.append(frame)
            return
        if self._window is None and points is not None:
            self._choose_window(points)
            self._kept, self._waiting = [self._part(held) for held in self._waiting], []
        if self._window is not None:
            self._kept.append(self._part(frame))
        elif len(self._waiting) < MAX_WAIT:
            self._waiting.append(frame)

    def crops(self, box: CropBox) -> list[np.ndarray] | None:
        """Each frame's ``(size, size, 3)`` crop, or None when more is needed than was kept."""
        if len(self._kept) < self.frames:
            return None
        if self._window is None:
            return [crop_image(frame, box, self.size) for frame in self._kept]
        left, top, right, bottom = self._window
        height, width = self._shape
        if (
            (left > 0 and box.cx - box.half < left)
            or (top > 0 and box.cy - box.half < top)
            or (right < width and box.cx + box.half > right)
            or (bottom < height and box.cy + box.half > bottom)
        ):
            return None
        scale = self._kept[0].shape[1] / (right - left)
        place = CropBox((box.cx - left) * scale, (box.cy - top) * scale, box.half * scale)
        return [crop_image(part, place, self.size) for part in self._kept]

    def _choose_window(self, points: np.ndarray) -> None:
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        half = 0.5 * ROAM * MARGIN * float((high - low).max())
        first = np.maximum((low + high) / 2 - half, 0).astype(int)
        end = np.ceil((low + high) / 2 + half).astype(int)
        end = np.minimum(end, (self._shape[1], self._shape[0]))
        least = min(1.0, FINER * ROAM * self.size / (2 * half))
        whole = int(1 / least)
        fits = 3 * np.prod(end - first) * self._count / whole**2 <= HOLD_BYTES
        self._scale = 1 / whole if fits else least
        # Averaging whole pixels is fast and sharp.
        first -= np.minimum(first, (first - end) % whole)
        self._window = int(first[0]), int(first[1]), int(end[0]), int(end[1])

    def _part(self, frame: np.ndarray) -> np.ndarray:
        assert self._window is not None
        left, top, right, bottom = self._window
        part = frame[top:bottom, left:right]
        if self._scale == 1.0:
            return part.copy()
        size = (round((right - left) * self._scale), round((bottom - top) * self._scale))
        return cv2.resize(part, (max(1, size[0]), max(1, size[1])), interpolation=cv2.INTER_AREA)


def clip_square(points: np.ndarray, width: int, height: int) -> CropBox:
    """A clip's fixed square, inside the picture as far as the face's movement allows.

    Args:
        points: ``(T, N, 3)`` landmarks in pixels.
        width: of the frames.
        height: of the frames.
    """
    plane = points[..., :2]
    low, high = np.percentile(plane.min(1), 2, axis=0), np.percentile(plane.max(1), 98, axis=0)
    sweep = float((high - low).max()) * ROOM / MIN_MARGIN
    face = max(float(np.median((plane.max(1) - plane.min(1)).max(1))), sweep)
    return inside(crop_box(points), face, width, height)
