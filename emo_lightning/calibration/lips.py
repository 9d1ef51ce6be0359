"""Opening and width of the mouth, and how alike two courses of them are.

Opening is the gap of the inner lips (vertices 13, 14), width the distance of the mouth's corners (61, 291), upright, in outer
eye-corner distances.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.pose import rotation

NAMES = ("opening", "width")
UPPER, LOWER, RIGHT, LEFT = VERTICES = [13, 14, 61, 291]


def lips_of_points(points: np.ndarray, coefficients: Coefficients) -> np.ndarray:
    """``(T, 2)`` of tracked landmarks ``(T, N, 3)``, turned upright and scaled by the fitted pose."""
    turned = np.einsum(
        "tji,tnj->tni", rotation(coefficients["angle"]), points[:, VERTICES].astype(np.float64)
    )
    return _measure(turned / np.exp(coefficients["trans"][:, 2])[:, None, None])


def lips_of_shape(coefficients: Coefficients) -> np.ndarray:
    """``(T, 2)`` of the built-in model's shape."""
    return lips_of_expression(coefficients["id"], coefficients["exp"])


def lips_of_expression(identity: np.ndarray, exp: np.ndarray) -> np.ndarray:
    """``(T, 2)`` of expressions ``(T, 28)`` on an identity ``(1 or T, 40)``."""
    mean, by_identity, by_expression = _corner()
    return _measure(
        (mean + np.atleast_2d(identity) @ by_identity + exp @ by_expression).reshape(
            len(exp), -1, 3
        )
    )


@lru_cache(maxsize=1)
def _corner() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The face model at the four vertices: mean ``(12,)``, identity ``(40, 12)``, expression ``(28, 12)``."""
    model = BuiltinFaceModel.load()
    parts = (model.mean[None], model.id_basis, model.exp_basis)
    mean, by_identity, by_expression = (
        part[:, VERTICES].reshape(len(part), -1).astype(np.float64) for part in parts
    )
    return mean[0], by_identity, by_expression


def _measure(places: np.ndarray) -> np.ndarray:
    upper, lower, right, left = np.moveaxis(places, 1, 0)
    return np.stack([lower[:, 1] - upper[:, 1], np.linalg.norm(left - right, axis=-1)], axis=1)


def correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Pearson's r; 0 where one of them does not move."""
    if len(ours) < 2 or min(ours.std(), theirs.std()) < 1e-9:
        return 0.0
    return float(np.corrcoef(ours, theirs)[0, 1])
