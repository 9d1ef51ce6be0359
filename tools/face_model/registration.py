"""ICT-FaceKit's expression shapes carried over to the 468 vertices of the canonical face.
 A similarity from the 68 landmarks, then a thin-plate warp through landmarks, lip rows and lid
margins, lay ICT's neutral face onto the canonical one. Each of the 468 vertices then takes the
displacements of the ICT vertices nearest to it, lips from their own lip alone; rows of lips and
lids take them from the matching ICT row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from emo_lightning.face import regions
from emo_lightning.face.landmarks import LANDMARKS_68
from emo_lightning.face.pose import weighted_umeyama

FACE_VERTICES = 9409
"""ICT-FaceKit's first vertices are face, skull and ears; the neck, sockets, teeth and eyes follow."""
# fmt: off
ICT_68 = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
])
"""ICT-FaceKit's own list of the 68 landmarks (its README)."""
# fmt: on
ROWS = (
    (regions.EYE_RIGHT[0], (36, 37, 38, 39)),
    (regions.EYE_RIGHT[1], (36, 41, 40, 39)),
    (regions.EYE_LEFT[0], (42, 43, 44, 45)),
    (regions.EYE_LEFT[1], (42, 47, 46, 45)),
    (regions.LIP_OUTER[0], (48, 49, 50, 51, 52, 53, 54)),
    (regions.LIP_OUTER[1], (48, 59, 58, 57, 56, 55, 54)),
    (regions.LIP_INNER[0], (60, 61, 62, 63, 64)),
    (regions.LIP_INNER[1], (60, 67, 66, 65, 64)),
)
"""A row of the canonical face and the landmarks that the matching row of ICT's mesh runs through."""
FREE, UPPER, LOWER = 0, 1, 2


@dataclass(frozen=True)
class Ict:
    """``neutral (26719, 3)``, ``quads (F, 4)`` and displacements by name, in the canonical face's
    axes (y down, z away).
    """

    neutral: np.ndarray
    quads: np.ndarray
    shapes: dict[str, np.ndarray]


def read_ict(path: Path) -> Ict:
    """The arrays of the package's docstring."""
    flip = np.array([1.0, -1.0, -1.0])
    with np.load(path, allow_pickle=False) as data:
        shapes = {
            str(name): shape * flip
            for name, shape in zip(data["exp_names"], data["exp"].astype(np.float64), strict=True)
        }
        return Ict(data["neutral"] * flip, data["quads"], shapes)


def transfer(ict: Ict, target: np.ndarray) -> dict[str, np.ndarray]:
    """Displacements ``(468, 3)`` by ICT's shape names, on the canonical face ``target (468, 3)``."""
    scale, turn, shift = weighted_umeyama(ict.neutral[ICT_68], target[LANDMARKS_68], np.ones(68))
    placed = scale * ict.neutral @ turn.T + shift
    rows = [(row, *_row_on_ict(ict, placed, target, row, marks)) for row, marks in ROWS]
    warped = _warp(placed[:FACE_VERTICES], target, rows)
    matrix = _nearest(warped, target, _lips_of_ict(ict, warped), _lips_of_target(target))
    for row, numbers, _ in rows:
        matrix[row] = 0.0
        matrix[row, numbers] = 1.0
    return {
        name: scale * (matrix @ shape[:FACE_VERTICES]) @ turn.T
        for name, shape in ict.shapes.items()
    }


def _row_on_ict(
    ict: Ict, placed: np.ndarray, target: np.ndarray, row: np.ndarray, marks: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """ICT vertices that stand for a row's vertices, by relative arc length; and their places."""
    path = _path(ict, ICT_68[list(marks)])
    along = _arc(placed[path])
    numbers = path[np.abs(along[None] - _arc(target[row])[:, None]).argmin(1)]
    return numbers, placed[numbers]


def _path(ict: Ict, stations: np.ndarray) -> np.ndarray:
    """Vertices of the shortest way along mesh edges through the stations."""
    quads = ict.quads[(ict.quads < FACE_VERTICES).all(1)]
    a, b = quads.ravel(), np.roll(quads, -1, axis=1).ravel()
    length = np.linalg.norm(ict.neutral[a] - ict.neutral[b], axis=1)
    graph = csr_matrix((length, (a, b)), (FACE_VERTICES, FACE_VERTICES))
    out = [int(stations[0])]
    for start, end in pairwise(stations):
        _, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
        piece = [int(end)]
        while piece[-1] != start:
            piece.append(int(before[piece[-1]]))
        out += piece[::-1][1:]
    return np.array(out)


def _arc(points: np.ndarray) -> np.ndarray:
    """Relative arc length 0..1 along a polyline."""
    steps = np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    return steps / steps[-1]


def _warp(placed: np.ndarray, target: np.ndarray, rows: list) -> np.ndarray:
    """ICT's face laid onto the canonical one by a thin-plate spline through landmarks and rows."""
    inner = slice(
        17, 48
    )  # the contour's landmarks are no fixed points of the skin, those of eyes and lips are in rows
    sources = np.concatenate(
        [
            placed[ICT_68[inner]],
            placed[ICT_68[[0, 4, 8, 12, 16]]],
            *(places for _, _, places in rows),
        ]
    )
    targets = np.concatenate(
        [
            target[LANDMARKS_68[inner]],
            target[LANDMARKS_68[[0, 4, 8, 12, 16]]],
            *(target[row] for row, _, _ in rows),
        ]
    )
    sources, first = np.unique(sources.round(6), axis=0, return_index=True)
    return placed + RBFInterpolator(
        sources, targets[first] - sources, kernel="thin_plate_spline", smoothing=1e-4
    )(placed)


def _lips_of_target(target: np.ndarray) -> np.ndarray:
    """FREE, UPPER or LOWER for each canonical vertex: which lip's skin it belongs to."""
    out = _beside_seam(target, target, 0.22)
    for upper, lower in regions.LIP_ROWS:
        out[upper], out[lower] = UPPER, LOWER
        out[[upper[0], upper[-1]]] = FREE
    return out


def _lips_of_ict(ict: Ict, warped: np.ndarray) -> np.ndarray:
    """The same for ICT's vertices: near the mouth those that follow the jaw are the lower lip's."""
    jaw = np.linalg.norm(ict.shapes["jawOpen"][:FACE_VERTICES], axis=1)
    out = np.where(jaw > 0.45 * jaw.max(), LOWER, UPPER)
    across = np.abs(warped[:, 0]) < 0.33
    seam = warped[ICT_68[62], 1]
    return np.where(across & (np.abs(warped[:, 1] - seam) < 0.27), out, FREE)


def _beside_seam(points: np.ndarray, target: np.ndarray, reach: float) -> np.ndarray:
    upper, lower = target[regions.LIP_INNER[0]], target[regions.LIP_INNER[1]]
    below = points[:, 1] - np.interp(points[:, 0], upper[:, 0], (upper[:, 1] + lower[:, 1]) / 2)
    near = (np.abs(points[:, 0]) < 0.30) & (np.abs(below) < reach)
    return np.where(near, np.where(below > 0, LOWER, UPPER), FREE)


def _nearest(
    warped: np.ndarray,
    target: np.ndarray,
    lips: np.ndarray,
    target_lips: np.ndarray,
    neighbours: int = 6,
) -> np.ndarray:
    """``(468, 9409)``: inverse-distance weights of the nearest ICT vertices, of the same lip where
    it matters.
    """
    matrix = np.zeros((len(target), len(warped)))
    for part in (FREE, UPPER, LOWER):
        rows = np.flatnonzero(target_lips == part)
        columns = np.arange(len(warped)) if part == FREE else np.flatnonzero(lips == part)
        distance, found = cKDTree(warped[columns]).query(target[rows], k=neighbours)
        weight = 1.0 / (distance + 0.004) ** 2
        matrix[rows[:, None], columns[found]] = weight / weight.sum(1, keepdims=True)
    return matrix
