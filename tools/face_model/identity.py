"""Forty identity directions: measures of anatomy first, then smooth modes of the mesh. All numbers
are our own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emo_lightning.face import regions
from emo_lightning.face.pose import weighted_umeyama
from tools.face_model.spread import Displacement, Spread, both_sides
from tools.face_model.units import lips_together

COUNT = 40
MODE_SIZE = 0.012
"""Standard deviation of a vertex under the first smooth mode, IOD; later modes fall off with their
frequency.
"""


def measures() -> list[tuple[dict[int, Displacement], float]]:
    """(displacements of one standard deviation on the subject's right and the middle, reach in
    IOD), mirrored on use.
    """
    still = {33: (0, 0, 0), 133: (0, 0, 0), 168: (0, 0, 0)}

    def row(vertices: Sequence[int], *shift: float) -> dict[int, Displacement]:
        return {int(v): shift for v in vertices}

    bow = np.sin(np.linspace(0.0, np.pi, 9)) ** 0.7
    upper, lower = regions.EYE_RIGHT
    lids = {int(u): (0, -0.011 * b, 0) for u, b in zip(upper, bow, strict=True)}
    lids |= {int(v): (0, 0.006 * b, 0) for v, b in zip(lower[1:-1], bow[1:-1], strict=True)}
    upper_lip, lower_lip = (outer[1:6] for outer in regions.LIP_OUTER)
    brow = np.concatenate(regions.BROW_RIGHT)
    seam = row(np.concatenate(regions.LIP_INNER), 0.0, 0.0, 0.0)
    return [
        (still | row((234, 93, 127, 162, 132), -0.045, 0, 0), 0.5),  # face width
        (still | row((172, 136, 58), -0.045, 0, 0), 0.4),  # jaw width
        (still | row((152, 148, 176), 0, 0.05, 0) | row((2,), 0, 0, 0), 0.4),  # chin length
        (still | row((152, 175, 199), 0, 0, -0.04), 0.35),  # chin forward
        (still | row((149, 150, 176), -0.03, 0, 0), 0.25),  # chin width
        (still | row((10, 67, 109, 103), 0, -0.04, 0), 0.5),  # forehead height
        (still | row((10, 67, 109), 0, 0, -0.04), 0.5),  # forehead forward
        (still | row((234, 127, 93), 0, 0, 0.05), 0.5),  # depth of the face
        (still | row((50, 101, 116), -0.015, 0, -0.025), 0.3),  # cheekbones
        (still | row((205, 187, 207), 0, 0, -0.03), 0.3),  # fullness of the cheeks
        (still | row((4, 1, 2, 98), 0, 0.03, 0), 0.25),  # nose length
        (still | row((129, 98, 64), -0.025, 0, 0), 0.15),  # nose width
        (still | row((4, 1, 5), 0, 0, -0.035), 0.2),  # nose forward
        ({33: (0, 0, 0), 133: (0, 0, 0)} | row((6, 197, 195), 0, 0, -0.025), 0.2),  # bridge
        (lids, 0.06),  # eye opening
        ({133: (0.012, 0, 0), 33: (0, 0, 0), 168: (0, 0, 0)}, 0.15),  # eye width
        ({133: (0, 0.008, 0), 33: (0, -0.006, 0), 168: (0, 0, 0)}, 0.12),  # slant of the eyes
        ({33: (0, 0, 0), 133: (0, 0, 0)} | row(brow, 0, -0.025, 0), 0.2),  # brow height
        (
            row(regions.BROW_RIGHT[0][:2], 0, -0.02, 0) | row((107, 55), 0, 0.012, 0),
            0.15,
        ),  # brow slant
        (row((27, 29, 30, 28), 0, -0.012, 0) | row(upper, 0, 0, 0), 0.06),  # crease of the lid
        (
            row(np.concatenate([*regions.LIP_OUTER, *regions.LIP_INNER]), 0, 0.03, 0)
            | row((152, 4), 0, 0, 0),
            0.3,
        ),  # mouth height
        (row((61, 78), -0.03, 0, 0) | row((0, 17), 0, 0, 0), 0.2),  # mouth width
        (seam | row(upper_lip, 0, -0.013, 0) | row((2,), 0, 0, 0), 0.06),  # upper lip
        (seam | row(lower_lip, 0, 0.016, 0) | row((200,), 0, 0, 0), 0.06),  # lower lip
        (row((0, 13, 14, 17), 0, 0, -0.03) | row((61,), 0, 0, 0), 0.2),  # lips forward
        (row((61, 78), 0, 0.012, 0) | row((0, 13, 14, 17), 0, 0, 0), 0.12),  # corners of the mouth
        (row((61, 78), 0, 0, 0.025) | row((0, 13, 14, 17), 0, 0, 0), 0.15),  # curve of the mouth
    ]


def asymmetries() -> list[tuple[dict[int, Displacement], float]]:
    """The same for what differs between the sides, not mirrored."""
    return [
        ({4: (0.015, 0, 0), 1: (0.015, 0, 0), 168: (0, 0, 0)}, 0.2),
        ({13: (0.015, 0, 0), 14: (0.015, 0, 0), 61: (0.015, 0, 0), 291: (0.015, 0, 0)}, 0.25),
        ({152: (0.03, 0, 0), 172: (0.02, 0, 0), 397: (0.02, 0, 0)}, 0.4),
        ({61: (0, 0.008, 0), 291: (0, -0.008, 0)}, 0.15),
        (
            {int(v): (0, -0.008, 0) for v in regions.BROW_RIGHT[0]}
            | {int(v): (0, 0.008, 0) for v in regions.BROW_LEFT[0]},
            0.15,
        ),
    ]


def identity_basis(
    mean: np.ndarray, spread: Spread, mirror: np.ndarray, rigid: np.ndarray
) -> np.ndarray:
    """``(40, 468, 3)``: mutually orthogonal, scaled so that a standard normal coefficient gives
    plausible people, all with their lips together.

    Args:
        mean: ``(468, 3)``.
        spread: interpolation on its mesh.
        mirror: the mirror image of each vertex.
        rigid: ``(468,)`` trust of the pose in each vertex; no direction moves what these say is the
            pose.
    """
    fields = [spread(both_sides(fixed, mirror), reach) for fixed, reach in measures()]
    fields += [spread(fixed, reach) for fixed, reach in asymmetries()]
    fields += _modes(spread, 12)
    kept: list[np.ndarray] = []
    for field in fields:
        size = np.linalg.norm(field)
        field = lips_together(_without_pose(field, mean, rigid), 0.0, 0.5)
        field *= size / np.linalg.norm(field)
        for other in kept:
            field = field - other * (field * other).sum() / (other * other).sum()
        # What earlier directions already say adds nothing; the rest keeps its own size.
        if np.linalg.norm(field) > 0.25 * size:
            kept.append(field)
    return np.stack(kept[:COUNT])


def _modes(spread: Spread, each: int) -> list[np.ndarray]:
    """Smooth modes of the mesh graph along x, y and z, lowest frequency first."""
    dense = spread.laplacian.toarray()
    values, vectors = np.linalg.eigh((dense + dense.T) / 2)
    out = []
    for k in range(1, each):
        wave = (
            vectors[:, k]
            * MODE_SIZE
            / (1.0 + 2.0 * (values[k] / values[each]))
            * np.sqrt(spread.count)
        )
        out += [np.outer(wave, axis) for axis in np.eye(3)]
    return out


def _without_pose(field: np.ndarray, mean: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    """The direction as seen once the pose has been taken out, to first order."""
    step = 0.05
    scale, turn, shift = weighted_umeyama(mean, mean + step * field, rigid)
    return ((mean + step * field - shift) @ turn / scale - mean) / step
