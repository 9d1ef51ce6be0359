"""The mean face: the canonical face at rest.

The canonical face has parted lips and narrow eyes, and its eyes, nose and brows differ a little from what the landmarker
sees on people at rest. A few lengths are set by hand and spread over the skin around.
"""

from __future__ import annotations

import numpy as np

from emo_lightning.face import regions
from emo_lightning.face.build_builtin.spread import Spread, both_sides

LID_LIFT, LID_DROP = 0.034, -0.009
"""How much higher and lower the middle of the lids is than in the canonical face."""
LIP_MEETS = 0.3
"""Where between the upper and the lower inner row lips meet."""
# fmt: off
SHIFTS: tuple[tuple[dict[int, tuple[float, float, float]], float], ...] = (
    # Eyes and the skin between lid and brow: wider, rounder, the crease higher.
    ({33: (0, 0, 0), 133: (0.012, 0, 0), 168: (0, 0, 0), 9: (0, 0, 0),
      247: (-0.036, -0.026, 0), 30: (-0.053, -0.050, 0), 29: (-0.056, -0.068, 0), 27: (-0.045, -0.076, 0),
      28: (-0.021, -0.072, 0), 56: (-0.002, -0.052, 0), 190: (0.008, -0.021, 0),
      225: (-0.042, -0.026, 0), 224: (-0.050, -0.042, 0), 223: (-0.045, -0.056, 0), 222: (-0.027, -0.050, 0), 221: (-0.008, -0.025, 0),
      46: (-0.026, -0.010, -0.015), 53: (-0.036, -0.022, -0.010), 52: (-0.036, -0.030, -0.008), 65: (-0.027, -0.025, -0.006),
      70: (-0.020, -0.014, -0.010), 63: (-0.028, -0.014, -0.006), 105: (-0.034, -0.020, -0.003), 66: (-0.028, -0.020, -0.008),
      107: (-0.010, -0.008, 0)}, 0.08),
    # Nose: wider, its tip further forward, its base higher.
    ({129: (-0.026, 0, 0.004), 98: (-0.042, -0.010, -0.008), 48: (-0.046, 0, -0.02), 218: (-0.04, 0, -0.025), 75: (-0.03, 0, 0), 97: (-0.022, -0.022, 0),
      2: (0, -0.026, 0), 4: (0, 0, -0.030), 1: (0, -0.005, -0.028), 168: (0, 0, 0)}, 0.15),
    # Outline: narrower at temples and cheekbones, the angle of the jaw higher and nearer.
    ({10: (0, 0.035, 0), 103: (0.025, 0.045, 0), 54: (0.04, 0.050, 0), 21: (0.055, 0.050, -0.02), 162: (0.065, 0.042, 0), 127: (0.065, 0.026, 0),
      234: (0.055, 0.01, 0), 93: (0.050, -0.01, -0.015), 132: (0.045, -0.030, -0.030), 58: (0.035, -0.048, -0.050), 172: (0.02, -0.055, -0.045),
      136: (0.006, -0.055, -0.020), 150: (0, -0.050, 0.010), 149: (-0.003, -0.042, 0.022), 176: (-0.005, -0.032, 0.026), 152: (0, -0.028, 0.028),
      205: (-0.028, -0.01, -0.030), 50: (-0.026, -0.012, -0.032), 187: (-0.024, -0.014, -0.036), 118: (-0.012, -0.012, -0.02),
      61: (-0.018, -0.012, 0.010), 33: (0, 0, 0), 168: (0, 0, 0)}, 0.30),
    # Lips: fuller and a little higher.
    ({0: (0, -0.006, -0.030), 17: (0, 0, -0.016), 61: (-0.008, -0.012, 0)}, 0.15),
)
# fmt: on
"""Displacements of vertices on the subject's right and in the middle, and how far each group reaches, in IOD."""


def mean_face(canonical: np.ndarray, spread: Spread, mirror: np.ndarray) -> np.ndarray:
    """The face at rest, ``(468, 3)``, unit and origin as :mod:`emo_lightning.face.builtin` says."""
    face = canonical.copy()
    for fixed, reach in SHIFTS:
        face += spread(both_sides(fixed, mirror), reach)
    face += spread(_open_lids(), 0.08)
    face += spread(_closed_lips(face), 0.05)
    upper, lower = regions.LIP_INNER
    face[upper] = face[lower] = (face[upper] + face[lower]) / 2
    face /= np.linalg.norm(np.subtract(*face[list(regions.EYE_CORNERS)]))
    return face - face[regions.NASION]


def _open_lids() -> dict[int, tuple[float, float, float]]:
    fixed: dict[int, tuple[float, float, float]] = {int(v): (0.0, 0.0, 0.0) for rows in (*regions.LIDS_RIGHT, *regions.LIDS_LEFT) for v in rows}
    bow = np.sin(np.linspace(0.0, np.pi, 9)) ** 0.7
    for upper, lower in (regions.EYE_RIGHT, regions.EYE_LEFT):
        fixed |= {int(u): (0.0, -LID_LIFT * b, 0.0) for u, b in zip(upper, bow, strict=True)}
        fixed |= {int(v): (0.0, LID_DROP * b, 0.0) for v, b in zip(lower[1:-1], bow[1:-1], strict=True)}
    return fixed


def _closed_lips(face: np.ndarray) -> dict[int, np.ndarray]:
    """Inner rows meet, nearer to the upper one; the outer contour stays."""
    upper, lower = regions.LIP_INNER
    middle = (1.0 - LIP_MEETS) * face[upper] + LIP_MEETS * face[lower]
    fixed = {int(v): np.zeros(3) for rows in regions.LIP_OUTER for v in rows}
    fixed |= {int(v): m - face[v] for row in (upper, lower) for v, m in zip(row, middle, strict=True)}
    return fixed
