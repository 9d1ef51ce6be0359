"""Poses, and conversions between model space, crop units and pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.pose import rotation


@dataclass(frozen=True)
class Pose:
    """Weak perspective ``p = scale * turn @ v + shift``: model space (IOD) to crop units."""

    turn: np.ndarray
    scale: float
    shift: np.ndarray

    @staticmethod
    def of(coefficients: Coefficients, frame: int) -> Pose:
        """The pose of one frame."""
        tx, ty, log_scale = coefficients["trans"][frame].astype(np.float64)
        turn = rotation(coefficients["angle"][frame].astype(np.float64))
        return Pose(turn, float(np.exp(log_scale)), np.array([tx, ty, 0.0]))

    def apply(self, vertices: np.ndarray) -> np.ndarray:
        """Model space ``(V, 3)`` to crop units ``(V, 3)``."""
        return self.scale * vertices @ self.turn.T + self.shift

    def undo(self, points: np.ndarray) -> np.ndarray:
        """Crop units ``(V, 3)`` to model space ``(V, 3)``."""
        return (points - self.shift) @ self.turn / self.scale

    def camera(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """``A (2, 3), b (2,)`` with ``pixel = A @ v + b`` in a frame of ``size`` pixels."""
        return self.scale * size / 2.0 * self.turn[:2], (self.shift[:2] + 1.0) * size / 2.0


@dataclass(frozen=True)
class FaceView:
    """A face's vertices as a square frame shows them.

    Attributes:
        vertices: ``(468, 3)`` model space (IOD).
        pose: of the head.
        size: side of the frame in pixels.
    """

    vertices: np.ndarray
    pose: Pose
    size: int

    @property
    def unit(self) -> float:
        """Pixels per IOD."""
        return self.pose.scale * self.size / 2.0

    def pixels(self, rows: object = slice(None)) -> np.ndarray:
        """Pixel positions ``(V, 2)`` of the vertices with these indices."""
        return pixels(self.pose.apply(self.vertices[rows]), self.size)

    def sampling_map(self, places: np.ndarray) -> np.ndarray:
        """``cv2.remap`` coordinates ``(H, W, 2)`` float32 of model-space places ``(H, W, 3)``."""
        at = pixels(self.pose.apply(places.reshape(-1, 3)), self.size) - 0.5
        return at.astype(np.float32).reshape(*places.shape[:2], 2)


def pixels(points: np.ndarray, size: int) -> np.ndarray:
    """Crop units ``(V, 2+)`` to pixel positions ``(V, 2)``."""
    return (points[:, :2] + 1.0) * (size / 2.0)


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a cubic between."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def fill_outline(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Antialiased coverage ``(H, W)`` uint8 of a polygon ``(N, 2)`` in pixels."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.round((outline - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
    return mask
