"""Poses and the ways between model space, crop units and pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.pose import rotation


@dataclass(frozen=True)
class Pose:
    """Weak perspective ``p = scale * turn @ v + shift``: model space (IOD) to crop units; z is kept."""

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


def pixels(points: np.ndarray, size: int) -> np.ndarray:
    """Crop units ``(V, 2+)`` to pixel positions ``(V, 2)``."""
    return (points[:, :2] + 1.0) * (size / 2.0)


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a cubic between."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
