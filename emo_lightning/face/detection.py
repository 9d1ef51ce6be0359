"""All faces of a picture, the small ones included.

The detector sees the whole picture at 128 x 128 pixels and misses faces below a tenth of its side.
So the picture is also searched in overlapping squares: of half the longer side always, of smaller
ones while no face was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from emo_lightning.face.landmarks import Face, LandmarkBackend

SMALLEST_FIRST, SMALLEST = 256, 500
"""Sides in pixels below which no squares are searched, halves of the picture and later ones:
smaller faces are too small to animate anyway, and the detector starts to see faces in fur and
leaves."""
SAME = 0.3
"""Two boxes that share this much of their union are one face."""


def find_faces(picture: np.ndarray, landmarker: LandmarkBackend) -> list[Face]:
    """Every face found, largest first, in pixels of the picture.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        landmarker: looks at one square at a time.
    """
    faces = landmarker.detect(picture)
    side, smallest = max(picture.shape[:2]) // 2, SMALLEST_FIRST
    while side >= smallest:
        for x, y in _corners(picture.shape[1], picture.shape[0], side):
            square = np.ascontiguousarray(picture[y : y + side, x : x + side])
            for face in landmarker.detect(square):
                moved = replace(
                    face,
                    points=face.points + np.float32([x, y, 0]),
                    box=face.box + np.float32([x, y, x, y]),
                )
                if not _is_cut(moved.box, x, y, side, picture) and all(
                    _overlap(moved.box, other.box) < SAME for other in faces
                ):
                    faces.append(moved)
        if faces:
            break
        side, smallest = side // 2, SMALLEST
    return sorted(faces, key=lambda face: -extent(face.points))


def extent(points: np.ndarray) -> float:
    """The larger side of the box around landmarks ``(N, 2|3)``, in their unit."""
    return float(np.ptp(points[:, :2], axis=0).max())


def _corners(width: int, height: int, side: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of squares that overlap by half and cover the picture."""
    for y in range(0, max(height - side, 0) + side // 2, side // 2):
        for x in range(0, max(width - side, 0) + side // 2, side // 2):
            yield min(x, max(width - side, 0)), min(y, max(height - side, 0))


def _is_cut(box: np.ndarray, x: int, y: int, side: int, picture: np.ndarray) -> bool:
    """Whether a face reaches over an edge of its square that is not the picture's own; a neighbour sees it whole."""
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    before = (x > 0 and left < x) or (y > 0 and top < y)
    return bool(
        before
        or (x + side < width and right > x + side)
        or (y + side < height and bottom > y + side)
    )


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared, 1e-6)
