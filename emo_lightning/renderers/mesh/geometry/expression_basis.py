"""The face model's expression basis, adapted to what a photograph can show.

A photograph has no skin under a raised brow and none inside a fold. So units that would stretch or
fold it are shown less, each in proportion, and the skin below a brow goes up with it.
"""

from __future__ import annotations

import numpy as np

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.renderers.mesh.geometry import topology

SHARES = {"AU1": 0.5, "AU2": 0.42, "AU9": 0.8, "AU14": 0.75}
"""Shares of units that are shown: brows, nostrils and the lower lip's edge give way first."""
UNDER_BROW = 0.7
"""How far the row of vertices below a brow takes part in its raise beyond its own share."""


def photographic_basis(model: BuiltinFaceModel) -> np.ndarray:
    """Displacements ``(E, 468, 3)`` float64 of each expression coefficient, model space."""
    basis = model.exp_basis.astype(np.float64).reshape(len(EXP_NAMES), -1, 3)
    for field, name in zip(basis, EXP_NAMES, strict=True):
        if name.startswith(("AU1_", "AU2_")):
            for under, brow in zip(topology.UNDER_BROWS, topology.BROWS, strict=True):
                field[under] += UNDER_BROW * (field[brow] - field[under])
        field *= SHARES.get(name.partition("_")[0], 1.0)
    return basis
