"""Shape of the mouth without the head's movement: the visual input of the lip-sync judge.

The head's pose is a similarity fitted to bony landmarks alone (eye corners, nose bridge), so
neither jaw nor lips move it. Rotated upright by it, anyone's lips and chin are points around one
place in units of the eye-corner distance (IOD).
"""

from __future__ import annotations

import numpy as np

from emo_lightning.face.builtin import RIGID, VERTICES, BuiltinFaceModel
from emo_lightning.face.pose import weighted_umeyama
from emo_lightning.face.regions import CHIN, LIP_INNER, LIP_OUTER

CHIN_LINE = (CHIN, 148, 377, 176, 400)
POINTS = np.array([*np.unique(np.concatenate([*LIP_INNER, *LIP_OUTER])), *CHIN_LINE])
"""The vertices used: 40 of the lips, 5 of the chin."""


def mouth_shape(points: np.ndarray) -> np.ndarray:
    """Lips and chin of a clip without the head's movement.

    Args:
        points: ``(T, 468 or more, 3)`` in any unit with x right, y down and z into the scene.

    Returns:
        ``(T, 45, 3)`` float32, upright, IOD, origin at the nasion.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    fits = points.ndim == 3 and points.shape[1] >= VERTICES and points.shape[2] == 3
    if not fits or not np.isfinite(points).all():
        raise ValueError(f"landmarks must be finite and (T, 468 or more, 3), not {points.shape}")
    rows, weights = np.array(list(RIGID)), np.array(list(RIGID.values()))
    mean, placed = BuiltinFaceModel.load().mean.astype(np.float64), points.astype(np.float64)
    scale, turn, shift = weighted_umeyama(mean[rows], placed[:, rows], weights)
    upright = np.einsum("tji,tvj->tvi", turn, placed[:, POINTS] - shift[:, None])
    return (upright / scale[:, None, None]).astype(np.float32)
