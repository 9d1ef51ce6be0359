"""The mean face: the canonical face at rest.
 The canonical face has parted lips and narrow eyes, and its eyes, nose and brows differ a little
from what the landmarker sees on people at rest. A few lengths are set by hand and spread over the
skin around.
"""

from __future__ import annotations

import numpy as np

from emo_lightning.face import regions
from tools.face_model.spread import Spread, both_sides

LID_LIFT, LID_DROP = 0.034, -0.009
"""How much higher and lower the middle of the lids is than in the canonical face."""
LIP_MEETS = 0.25
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
    # The temple beside the eye and the forehead above it: further out and up.
    ({113: (-0.022, -0.013, -0.007), 124: (-0.016, -0.012, -0.015), 156: (-0.016, -0.012, -0.014), 71: (-0.013, -0.017, 0),
      68: (-0.014, -0.016, 0), 69: (-0.015, -0.014, 0), 104: (-0.013, -0.012, 0), 108: (-0.006, -0.014, 0), 151: (0, -0.016, 0),
      33: (0, 0, 0), 133: (0, 0, 0), 168: (0, 0, 0)}, 0.10),
    # Nose: wider, its tip further forward, its base higher.
    ({129: (-0.026, 0, 0.004), 98: (-0.026, -0.004, -0.004), 48: (-0.028, 0, -0.02), 218: (-0.024, 0, -0.028), 75: (-0.022, 0, -0.006),
      97: (-0.020, -0.020, 0), 134: (-0.014, -0.006, -0.026), 238: (-0.020, -0.002, -0.036), 220: (-0.012, -0.005, -0.022),
      2: (0, -0.026, 0), 4: (0, 0, -0.030), 1: (0, -0.005, -0.028), 168: (0, 0, 0)}, 0.15),
    # Outline: narrower, the angle of the jaw higher and nearer, the face a little shorter.
    ({10: (0, 0.035, 0), 103: (0.025, 0.045, 0), 54: (0.04, 0.050, 0), 21: (0.055, 0.050, -0.02), 162: (0.065, 0.045, 0),
      127: (0.066, 0.028, 0), 234: (0.062, 0.01, -0.01), 93: (0.060, -0.01, -0.02), 132: (0.056, -0.030, -0.034),
      58: (0.045, -0.048, -0.052), 172: (0.030, -0.058, -0.048), 136: (0.014, -0.058, -0.025), 150: (0.004, -0.056, 0.004),
      149: (-0.001, -0.052, 0.016),
      176: (-0.006, -0.046, 0.020), 152: (0, -0.043, 0.020), 205: (-0.02, -0.01, -0.028), 50: (-0.019, -0.010, -0.028),
      187: (-0.010, -0.014, -0.036), 118: (-0.012, -0.012, -0.02), 61: (-0.006, -0.012, 0.010), 33: (0, 0, 0), 168: (0, 0, 0)}, 0.30),
    # Lips: forward and a little higher, and with them the dent of the chin.
    ({0: (0, -0.006, -0.016), 37: (0, -0.008, -0.024), 40: (0, -0.010, -0.030), 17: (0, -0.008, -0.016), 84: (0, -0.010, -0.022),
      91: (0, -0.010, -0.025), 61: (0.010, -0.006, 0.003),
      200: (0, -0.022, -0.006), 199: (0, -0.020, 0), 152: (0, 0, 0), 2: (0, 0, 0)}, 0.15),
)
# fmt: on
"""Displacements of vertices on the subject's right and in the middle, and how far each group
reaches, in IOD.
"""


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
    rows = np.concatenate([*regions.LIDS_RIGHT, *regions.LIDS_LEFT])
    fixed: dict[int, tuple[float, float, float]] = {int(v): (0.0, 0.0, 0.0) for v in rows}
    bow = np.sin(np.linspace(0.0, np.pi, 9)) ** 0.7
    for upper, lower in (regions.EYE_RIGHT, regions.EYE_LEFT):
        fixed |= {int(u): (0.0, -LID_LIFT * b, 0.0) for u, b in zip(upper, bow, strict=True)}
        fixed |= {
            int(v): (0.0, LID_DROP * b, 0.0) for v, b in zip(lower[1:-1], bow[1:-1], strict=True)
        }
    return fixed


def _closed_lips(face: np.ndarray) -> dict[int, np.ndarray]:
    """Inner rows meet, nearer to the upper one; the outer contour stays, the rows between follow as
    far as is seen.
    """
    upper, lower = regions.LIP_INNER
    middle = (1.0 - LIP_MEETS) * face[upper] + LIP_MEETS * face[lower] + [0.0, 0.0, -0.022]
    fixed = {int(v): np.zeros(3) for rows in regions.LIP_OUTER for v in rows}
    fixed |= {
        int(v): m - face[v] for row in (upper, lower) for v, m in zip(row, middle, strict=True)
    }
    for rows, shares in ((regions.LIP_MIDDLE, (0.60, 0.80)), (regions.LIP_RED, (0.30, 0.45))):
        for row, edge, share in zip(rows, (upper, lower), shares, strict=True):
            fixed |= {
                int(v): share * (m - face[e])
                for v, e, m in zip(row[1:-1], edge[1:-1], middle[1:-1], strict=True)
            }
    return fixed
