"""Face crops by landmarks for other projects' emotion networks, and their answers by our names.

No second detector runs. Boxes are ``(left, top, width, height)`` in pixels of the image, the first
pixel covering 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from emo_lightning.face.landmarks import to_68
from emo_lightning.motion.emotions import EMOTIONS

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


def cut(image: np.ndarray, box: Box, width: int, height: int) -> np.ndarray:
    """A box's content, stretched to ``(height, width, 3)``; black beyond the image ``(H, W,
    3)``."""
    left, top, w, h = box
    x, y = w / width, h / height
    # OpenCV counts from the middle of a pixel.
    matrix = np.array([[x, 0.0, left + x / 2 - 0.5], [0.0, y, top + y / 2 - 0.5]])
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_CONSTANT
    return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=border)


def letterbox(image: np.ndarray, box: Box, side: int) -> np.ndarray:
    """A box's content in the middle of a black square ``(side, side, 3)``, its proportions kept."""
    scale = side / max(box[2:])
    width, height = (min(max(round(length * scale), 1), side) for length in box[2:])
    out = np.zeros((side, side, 3), np.uint8)
    x, y = (side - width) // 2, (side - height) // 2
    out[y : y + height, x : x + width] = cut(image, box, width, height)
    return out


class ExpressionJudge(Protocol):
    """A network that classifies the emotion in an image of a face."""

    classes: Sequence[str]

    def cut(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The network's input, uint8 RGB, from an image ``(H, W, 3)`` uint8 RGB and its 68
        points."""

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """``(B, len(classes))`` for faces ``(B, S, S, 3)``."""


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def frame_probabilities(
    judge: ExpressionJudge, images: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Probabilities ``(B, 8)`` float32 in the order of ``EMOTIONS``, 0 for a class unknown to the
    judge.

    Args:
        judge: the network.
        images: ``(B, H, W, 3)`` uint8 RGB.
        points: ``(B, 478, 2 or more)`` in their pixels; nan without a face, whose row is nan.
    """
    found = np.full((len(images), len(EMOTIONS)), np.nan, np.float32)
    seen = np.flatnonzero(np.isfinite(points[:, 0, 0]))
    if len(seen):
        faces = np.stack([judge.cut(images[i], to_68(points[i])) for i in seen])
        found[seen] = 0.0
        columns = [EMOTIONS.index(name) for name in judge.classes]
        found[np.ix_(seen, columns)] = judge.probabilities(faces)
    return found


def clip_probabilities(rows: np.ndarray) -> np.ndarray | None:
    """The mean ``(8,)`` over a clip's frames ``(B, 8)`` with a face; None if there is none."""
    seen = rows[np.isfinite(rows[:, 0])]
    return seen.mean(axis=0, dtype=np.float64) if len(seen) else None
