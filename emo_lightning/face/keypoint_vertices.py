"""Vertices of the built-in model to which the learned renderer's keypoints are attached.

They are dense at lips, lids and brows, sparse elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.regions import BROWS, EYE_LEFT, EYE_RIGHT, EYELIDS, LIP_INNER, LIPS

MOUTH_WEIGHT, EYE_WEIGHT = 4.0, 2.0
"""Loss weight at the lips and at the lids, over that elsewhere. Ours."""


@dataclass(frozen=True)
class AnchorTable:
    """Keypoints on the face model.

    Attributes:
        mean: ``(A, 3)`` in model units.
        basis: ``(C, A, 3)`` for every coefficient of the layout.
        radius: ``(A,)`` mean distance of the nearest three.
        weight: ``(A,)`` in the loss.
        pairs: ``(P, 2)`` of upper and lower rims, which may meet but not cross.
    """

    mean: np.ndarray
    basis: np.ndarray
    radius: np.ndarray
    weight: np.ndarray
    pairs: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        """All of them, in this order."""
        return self.mean, self.basis, self.radius, self.weight, self.pairs


def anchor_table(count: int) -> AnchorTable:
    """The ``count`` vertices, their bases in the built-in layout's joined order.

    Raises:
        ValueError: fewer than the mouth, lids and brows have, or more than the model has.
    """
    model = BuiltinFaceModel.load()
    chosen = _spread(model.mean, np.unique(np.concatenate([LIPS, EYELIDS, BROWS])), count)
    basis = np.zeros((model.layout.size, count, 3), np.float32)
    basis[model.layout.slice("id")] = model.id_basis[:, chosen]
    basis[model.layout.slice("exp")] = model.exp_basis[:, chosen]
    mean = model.mean[chosen]
    gaps = np.sort(np.linalg.norm(mean[:, None] - mean[None], axis=-1), axis=1)[:, 1:4]
    weight = MOUTH_WEIGHT * np.isin(chosen, LIPS) + EYE_WEIGHT * np.isin(chosen, EYELIDS)
    place = {int(vertex): i for i, vertex in enumerate(chosen)}
    rims = np.concatenate(
        [
            np.stack([upper[1:-1], lower[1:-1]], axis=1)
            for upper, lower in (EYE_LEFT, EYE_RIGHT, LIP_INNER)
        ]
    )
    pairs = np.array([[place[int(u)], place[int(v)]] for u, v in rims])
    return AnchorTable(
        mean, basis, gaps.mean(axis=1).astype(np.float32), weight.astype(np.float32), pairs
    )


def _spread(mean: np.ndarray, first: np.ndarray, count: int) -> np.ndarray:
    """Farthest-point sampling after ``first``."""
    if not len(first) <= count <= len(mean):
        raise ValueError(f"{count} anchors, expected {len(first)} to {len(mean)}")
    chosen = list(first)
    nearest = np.linalg.norm(mean[:, None] - mean[first][None], axis=-1).min(axis=1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(mean - mean[chosen[-1]], axis=-1))
    return np.array(chosen)
