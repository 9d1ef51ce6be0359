"""What surrounds the face: rings of vertices from its outline to the frame's border, and how far each follows the head.

Three weights a vertex. ``rigid`` says how much of the head's motion it takes, 1 on the head, and ``body`` how much of the
shoulders'; in between they are harmonic fields, which have no bumps of their own and so cannot tear or streak.
``expression`` says how much of the motion of the nearest outline vertex beyond that it takes, and dies out fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from emo_lightning.renderers.mesh.geometry import topology

RINGS = 14
GRID = 48
OUTSIDE = 1.5
"""The last ring lies on this square, so that chords between its vertices do not cut the frame's corners."""
EXPRESSION_REACH = 0.34
"""IOD over which an outline vertex's own motion falls to 1/e: more than a jaw drops, or the neck would fold."""
HEAD_DEPTH = 0.8
"""How far behind the nasion, in IOD, the silhouette of skull and hair lies."""


@dataclass(frozen=True)
class Lattice:
    """Ring vertices around the face oval; ring 0 is the oval itself and is not stored.

    Attributes:
        points: ``(M, 3)`` crop units in the portrait.
        rigid, body, expression: ``(M,)`` weights.
        root: ``(M,)`` the outline vertex (index into the face's vertices) on whose ray each lies.
        triangles: ``(F, 3)`` indices, face vertices first, then the rings.
    """

    points: np.ndarray
    rigid: np.ndarray
    body: np.ndarray
    expression: np.ndarray
    root: np.ndarray
    triangles: np.ndarray


def build(points: np.ndarray, iod: float, follow: tuple[np.ndarray, np.ndarray]) -> Lattice:
    """Lay the rings.

    Args:
        points: ``(468, 3)`` crop units.
        iod: crop units per IOD.
        follow: fields ``(GRID, GRID)`` from :func:`emo_lightning.renderers.mesh.background.follow_weights.follow`.
    """
    oval = points[topology.OVAL]
    centre = oval[:, :2].mean(axis=0)
    away = oval[:, :2] - centre
    angle = _rising(np.unwrap(np.arctan2(away[:, 1], away[:, 0])))
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    reach = _to_square(oval[:, :2], direction)
    steps = (np.arange(1, RINGS + 1) / RINGS) ** 1.6
    distance = steps[:, None] * reach
    flat = oval[None, :, :2] + distance[..., None] * direction
    behind = np.maximum(HEAD_DEPTH * iod - (oval[:, 2] - points[topology.NASION, 2]), 0.1 * iod)
    depth = oval[:, 2] + behind * (1.0 - np.exp(-distance / (0.22 * iod)))
    rings = np.concatenate([flat, depth[..., None]], axis=2).reshape(-1, 3)
    return Lattice(
        points=rings.astype(np.float32),
        rigid=sample(follow[0], rings[:, :2]).astype(np.float32),
        body=sample(follow[1], rings[:, :2]).astype(np.float32),
        expression=np.exp(-distance / (EXPRESSION_REACH * iod)).reshape(-1).astype(np.float32)
        * np.minimum(1.0, sample(follow[0], rings[:, :2]) * 4.0).astype(np.float32),
        root=np.tile(topology.OVAL, RINGS),
        triangles=_triangles(),
    )


def follow_field(
    held: np.ndarray, reach: np.ndarray, still: tuple[bool, bool, bool, bool]
) -> np.ndarray:
    """The screened harmonic field between places that are known; it runs level into the frame's sides, or to 0 at those that
    are still, but a head that the frame's top cuts off moves there too.

    Args:
        held: ``(GRID, GRID)`` over the frame, nan where unknown.
        reach: ``(GRID, GRID)`` crop units over which the field decays by itself; infinite where it is plainly harmonic.
        still: the sides left, top, right, bottom.

    Returns:
        ``(GRID, GRID)`` float64 in [0, 1].
    """
    held = held.copy()
    if still[1]:
        held[0] = np.where(held[0] == 1.0, 1.0, 0.0)
    for at, fixed in ((np.s_[:, 0], still[0]), (np.s_[:, -1], still[2]), (np.s_[-1], still[3])):
        if fixed:
            held[at] = 0.0
    known = np.isfinite(held)
    number = np.arange(GRID * GRID).reshape(GRID, GRID)
    rows, columns, values = (
        [number.ravel()],
        [number.ravel()],
        [np.where(known, 1.0, 1.0 + np.square(1.0 / (GRID * reach))).ravel()],
    )
    padded = np.pad(number, 1, mode="edge")
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        rows.append(number[~known])
        columns.append(neighbour[~known])
        values.append(np.full((~known).sum(), -0.25))
    matrix = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    ).tocsc()
    return np.clip(spsolve(matrix, np.nan_to_num(held).ravel()).reshape(GRID, GRID), 0.0, 1.0)


def sample(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values of a frame-wide ``(N, N)`` field at ``(M, 2)`` crop positions; outside the frame those of its border."""
    size = field.shape[0]
    x, y = ((points.T + 1.0) / 2.0 * size) - 0.5
    x, y = np.clip(x, 0, size - 1.001), np.clip(y, 0, size - 1.001)
    i, j = x.astype(int), y.astype(int)
    a, b = x - i, y - j
    top = field[j, i] * (1 - a) + field[j, i + 1] * a
    bottom = field[j + 1, i] * (1 - a) + field[j + 1, i + 1] * a
    return top * (1 - b) + bottom * b


def _rising(angle: np.ndarray) -> np.ndarray:
    """Angles made strictly monotone, so that rays of a profile-like outline do not cross."""
    sign = 1.0 if angle[-1] > angle[0] else -1.0
    rising = np.maximum.accumulate(sign * angle + np.arange(len(angle)) * 1e-3)
    limit = sign * angle[0] + 2 * np.pi - 0.02
    return sign * np.minimum(rising, limit)


def _to_square(start: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Distance from each start along its direction to the square of half side OUTSIDE."""
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.where(direction > 0, OUTSIDE - start, -OUTSIDE - start) / direction
    crossing = np.where(np.isfinite(crossing), crossing, np.inf)
    return np.maximum(crossing.min(axis=1), 0.1)


def _triangles() -> np.ndarray:
    around = len(topology.OVAL)
    ring = [topology.OVAL] + [
        topology.VERTICES + k * around + np.arange(around) for k in range(RINGS)
    ]
    faces = []
    for inner, outer in pairwise(ring):
        for i in range(around):
            j = (i + 1) % around
            faces += [(inner[i], outer[i], outer[j]), (inner[i], outer[j], inner[j])]
    return np.array(faces, np.int32)
