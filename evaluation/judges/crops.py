"""The squares and boxes that other people's face networks look at, cut by landmarks: no second
detector runs.

Boxes are ``(left, top, width, height)`` in pixels of the picture, the first pixel covering 0..1.
"""

from __future__ import annotations

import cv2
import numpy as np

Box = tuple[float, float, float, float]


def outline(points: np.ndarray) -> Box:
    """The smallest upright box around points ``(P, 2 or more)``."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def grow(box: Box, width: float, height: float, rise: float = 0.0) -> Box:
    """A box scaled about its centre, which moves up by ``rise`` of the old height."""
    left, top, w, h = box
    return left + w * (1 - width) / 2, top + h * (1 - height) / 2 - rise * h, w * width, h * height


def square(box: Box, side: float) -> Box:
    """The upright square of that side about a box's centre."""
    left, top, width, height = box
    return left + (width - side) / 2, top + (height - side) / 2, side, side


def cut(picture: np.ndarray, box: Box, width: int, height: int) -> np.ndarray:
    """What a box shows, stretched to ``(height, width, 3)``; black beyond the picture ``(H, W,
    3)``."""
    left, top, w, h = box
    x, y = w / width, h / height
    # OpenCV counts from the middle of a pixel.
    matrix = np.array([[x, 0.0, left + x / 2 - 0.5], [0.0, y, top + y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        picture, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT
    )


def letterbox(picture: np.ndarray, box: Box, side: int) -> np.ndarray:
    """What a box shows, in the middle of a black square ``(side, side, 3)``, its proportions
    kept."""
    scale = side / max(box[2:])
    width, height = (min(max(round(length * scale), 1), side) for length in box[2:])
    out = np.zeros((side, side, 3), np.uint8)
    x, y = (side - width) // 2, (side - height) // 2
    out[y : y + height, x : x + width] = cut(picture, box, width, height)
    return out
