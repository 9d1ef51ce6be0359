"""The 28 expression directions: ICT-FaceKit shapes mixed into FACS units and speech shapes, then
held to a few rules.
 1 is FACS grade E on an average adult; the weights are ours, set by looking at the shapes and by
how well fits follow real faces. Rules: units of a pair mirror each other, the others are symmetric;
lips that a unit does not part stay together; a lid that closes meets the other; what hardly moves
does not move at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emo_lightning.face import regions
from emo_lightning.face.coefficients import EXP_NAMES
from tools.face_model.spread import Displacement, Spread, both_sides

AXES: Mapping[str, tuple[float, float, float]] = {"AU4": (0.3, 1.0, 0.5), "AU12": (1.05, 0.85, 1.0)}
"""Factors along x, y and z where the landmarker sees a unit otherwise than ICT's shape has it."""
# ICT shape (a trailing * means both sides, % the unit's own side) -> weight.
MIXES: Mapping[str, Mapping[str, float]] = {
    "AU1": {"browInnerUp_%": 1.5},
    "AU2": {"browOuterUp_%": 1.15},
    "AU4": {"browDown_*": 1.1},
    "AU5": {"eyeWide_*": 1.05},
    "AU6": {"cheekSquint_*": 0.6, "cheekRaiser_*": 0.6},
    "AU7": {"eyeSquint_*": 1.1, "eyeBlink_*": 0.15},
    "AU9": {"noseSneer_*": 0.9},
    "AU10": {"mouthUpperUp_*": 0.9},
    "AU12": {"mouthSmile_%": 0.9},
    "AU14": {"mouthDimple_%": 1.0},
    "AU15": {"mouthFrown_*": 1.4},
    "AU16": {"mouthLowerDown_*": 1.1},
    "AU17": {"mouthShrugLower": 0.9, "mouthShrugUpper": 0.4},
    "AU20": {"mouthStretch_*": 0.9},
    "AU23": {"mouthPucker": 0.2},
    "AU25": {"mouthLowerDown_*": 0.7, "mouthUpperUp_*": 0.3},
    "AU26": {"jawOpen": 0.38, "mouthLowerDown_*": 0.7, "mouthUpperUp_*": 0.3},
    "AU45": {"eyeBlink_%": 1.0},
    "jaw": {"jawOpen": 0.5, "mouthClose": 0.5},
    "pucker": {"mouthPucker": 1.0},
    "funnel": {"mouthFunnel": 1.0},
    "press": {"mouthPress_*": 1.0},
    "tuck": {"mouthRollLower": 0.7},
}
GAPS: Mapping[str, float] = {
    "AU9": 0.2,
    "AU10": 1.0,
    "AU16": 1.0,
    "AU25": 1.0,
    "AU26": 1.0,
    "funnel": 0.8,
}
"""Share of the gap between the inner lips that a unit keeps; 0 for all others."""
UPPER_YIELDS: Mapping[str, float] = {"tuck": 0.15, "AU17": 0.8}
"""Where a unit's lips meet: 0 at the upper lip's place, 1 at the lower's; 0.5 for all others."""
THINNER: Mapping[str, tuple[float, float]] = {
    "AU23": (0.30, 0.30),
    "press": (0.25, 0.30),
    "tuck": (0.0, 0.25),
}
"""How far the outer contours of the upper and the lower lip come towards the seam."""
ROW_FALLOFF = (1.0, 0.75, 0.45, 0.15)
"""How much of the inner lips' correction the rows outwards take."""
EXTRAS: Mapping[str, tuple[Mapping[int, Displacement], float]] = {
    "AU4": (
        {107: (0, 0.02, 0), 55: (0, 0.02, 0), 105: (0, 0.014, 0), 52: (0, 0.014, 0), 70: (0, 0.026, 0), 46: (0, 0.026, 0),
         9: (0, 0.012, 0), 168: (0, 0, 0), 33: (0, 0, 0), 159: (0, 0, 0)},
        0.12,
    ),
    "AU9": (
        {61: (0, 0.035, 0), 185: (0, 0.038, 0), 40: (0, 0.040, 0), 39: (0, 0.040, 0), 37: (0, 0.032, 0),
         0: (0, 0.024, 0), 98: (0, 0, 0), 203: (0, 0, 0), 205: (0, 0, 0),
         17: (0, 0, 0), 200: (0, 0, 0)},
        0.10,
    ),
    "AU26": (
        {61: (-0.035, -0.014, 0), 78: (-0.032, -0.012, 0),
         95: (-0.028, 0.010, 0), 88: (-0.022, 0.022, 0), 178: (-0.016, 0.036, 0), 87: (-0.008, 0.048, 0), 14: (0, 0.055, 0),
         146: (-0.030, 0.004, 0), 91: (-0.022, 0.018, 0), 181: (-0.015, 0.032, 0), 84: (-0.008, 0.043, 0), 17: (0, 0.050, 0),
         191: (-0.027, 0, 0), 80: (-0.020, 0, 0), 81: (-0.013, 0, 0), 82: (-0.006, 0, 0), 13: (0, 0, 0),
         185: (-0.028, 0, 0), 40: (-0.022, 0, 0), 39: (-0.014, 0, 0), 37: (-0.006, 0, 0), 0: (0, 0, 0),
         152: (0, 0, 0), 199: (0, 0, 0), 205: (0, 0, 0)},
        0.12,
    ),
}  # fmt: skip
"""Added displacements on the subject's right and the middle, mirrored, and their reach: what ICT's
shape lacks.
"""
LID_MEETS = 0.82
"""Share of the aperture that the upper lid closes."""
STILL, MOVING = 0.003, 0.012
"""Displacements below the first are set to zero, above the second kept, smoothly between (IOD)."""


def expression_basis(
    mean: np.ndarray, shapes: Mapping[str, np.ndarray], spread: Spread, mirror: np.ndarray
) -> np.ndarray:
    """``(28, 468, 3)`` in the order of ``EXP_NAMES``.

    Args:
        mean: ``(468, 3)`` face at rest, lips together.
        shapes: ICT displacements on its vertices, ``(468, 3)`` by name.
        spread: interpolation on its mesh.
        mirror: the mirror image of each vertex.
    """
    return np.stack([_direction(name, mean, shapes, spread, mirror) for name in EXP_NAMES])


def _direction(
    name: str,
    mean: np.ndarray,
    shapes: Mapping[str, np.ndarray],
    spread: Spread,
    mirror: np.ndarray,
) -> np.ndarray:
    unit, _, side = name.partition("_")
    if side == "R":
        return _mirrored(_direction(f"{unit}_L", mean, shapes, spread, mirror), mirror)
    field = _mix(MIXES[unit], shapes) * AXES.get(unit, (1.0, 1.0, 1.0))
    if not side:
        field = (field + _mirrored(field, mirror)) / 2
    if unit in EXTRAS:
        fixed, reach = EXTRAS[unit]
        field = field + spread(both_sides(fixed, mirror), reach)
    if unit in THINNER:
        field = field + spread(_thinner_lips(mean, *THINNER[unit]), 0.06)
    field = lips_together(field, GAPS.get(unit, 0.0), UPPER_YIELDS.get(unit, 0.5))
    field = _still_where_small(field)
    return _closing_lid(field, mean) if unit == "AU45" else field


def _mix(mix: Mapping[str, float], shapes: Mapping[str, np.ndarray]) -> np.ndarray:
    out = np.zeros_like(next(iter(shapes.values())))
    for shape, weight in mix.items():
        sides = ("L", "R") if shape.endswith("*") else ("L",)
        names = [shape[:-1] + s for s in sides] if shape[-1] in "*%" else [shape]
        out = out + weight * sum(shapes[n] for n in names)
    return out


def _mirrored(field: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return field[mirror] * [-1.0, 1.0, 1.0]


def lips_together(field: np.ndarray, gap: float, yields: float) -> np.ndarray:
    """Reduce how far the inner lips part (or cross) to ``gap`` of it; rows outwards follow less and
    less.
    """
    out = field.copy()
    upper, lower = regions.LIP_INNER
    excess = (1.0 - gap) * (field[lower] - field[upper])
    for (up, low), share in zip(regions.LIP_ROWS, ROW_FALLOFF, strict=True):
        out[up[1:-1]] += share * yields * excess[1:-1]
        out[low[1:-1]] -= share * (1.0 - yields) * excess[1:-1]
    return out


def _thinner_lips(
    mean: np.ndarray, upper_share: float, lower_share: float
) -> dict[int, np.ndarray]:
    """The outer contour of each lip comes this share of the way to the seam, which stays."""
    fixed = {int(v): np.zeros(3) for row in regions.LIP_INNER for v in row}
    fixed |= {int(v): np.zeros(3) for v in (61, 291, 2, 200)}
    for outer, inner, share in zip(
        regions.LIP_OUTER, regions.LIP_INNER, (upper_share, lower_share), strict=True
    ):
        way = (mean[inner] - mean[outer]) * [0.3, 1.0, 0.0] * share
        fixed |= {int(v): d for v, d in zip(outer[1:-1], way[1:-1], strict=True)}
    return fixed


def _still_where_small(field: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(field, axis=1, keepdims=True)
    x = np.clip((size - STILL) / (MOVING - STILL), 0.0, 1.0)
    return field * (x * x * (3.0 - 2.0 * x))


def _closing_lid(field: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Upper and lower margin meet on one line, the skin around keeps its proportion to the margin."""
    out = field.copy()
    upper, lower = regions.EYE_LEFT
    aperture = mean[lower] - mean[upper]
    stretch = aperture[4, 1] * LID_MEETS / field[upper[4], 1]
    lid_rows = np.concatenate(regions.LIDS_LEFT)
    out[lid_rows] *= stretch
    over_the_ball = np.array([0.0, 0.0, -0.01])
    out[upper[1:-1]] = LID_MEETS * aperture[1:-1] + over_the_ball
    out[lower[1:-1]] = (LID_MEETS - 1.0) * aperture[1:-1] + over_the_ball
    out[upper[[0, -1]]] = 0.0
    return out
