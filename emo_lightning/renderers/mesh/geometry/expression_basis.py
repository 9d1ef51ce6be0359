"""The face model's expression basis, adapted to what a photograph can show.

A photograph has no skin under a raised brow and none inside a fold. So beyond its first part a unit
is shown less, evenly, and the skin below a brow goes up with it.
"""

from __future__ import annotations

import numpy as np

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.renderers.mesh.geometry import topology

KNEE = 0.08
"""Intensity up to which a unit is shown as it is: what brows do in speech."""
BEYOND = {"AU1": 0.75, "AU2": 0.25, "AU9": 0.75, "AU14": 0.7}
"""Slopes beyond: brows, nostrils and the lower lip's edge are stretched first."""
UNDER_BROW = 0.7
"""How far the row of vertices below a brow takes part in its raise beyond its own share."""
_SLOPES = np.array([BEYOND.get(name.partition("_")[0], 1.0) for name in EXP_NAMES])


def shown_intensities(exp: np.ndarray) -> np.ndarray:
    """Expression coefficients ``(E,)`` as far as a photograph can show them."""
    return exp - (1.0 - _SLOPES) * np.maximum(exp - KNEE, 0.0)


def photographic_basis(model: BuiltinFaceModel) -> np.ndarray:
    """Displacements ``(E, 468, 3)`` float64 of each expression coefficient, model space."""
    basis = model.exp_basis.astype(np.float64).reshape(len(EXP_NAMES), -1, 3)
    for field, name in zip(basis, EXP_NAMES, strict=True):
        if name.startswith(("AU1_", "AU2_")):
            for under, brow in zip(topology.UNDER_BROWS, topology.BROWS, strict=True):
                field[under] += UNDER_BROW * (field[brow] - field[under])
    return basis
