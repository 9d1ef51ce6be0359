"""The mesh around the face: rings of vertices from its outline to the frame's border.

Each vertex has three weights. ``rigid`` is its share of the head's motion, 1 on the head; ``body``
its share of the shoulders' motion. Both are harmonic fields, which have no bumps of their own and
so cannot tear or streak. ``expression`` is its share of what the nearest outline vertex moves
beyond that, and decays fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from emo_lightning.renderers.mesh.geometry import topology

RINGS = 14
OUTSIDE = 1.5
"""Half side of the square of the last ring, whose chords clear the frame's corners."""
EXPRESSION_REACH = 0.34
"""IOD over which an outline vertex's own motion decays to 1/e: more than a jaw drops."""
HEAD_DEPTH = 0.8
"""IOD behind the nasion at which the silhouette of skull and hair lies."""


@dataclass(frozen=True)
class BackgroundMesh:
    """Ring vertices around the face oval; ring 0 is the oval itself and is not stored.

    Attributes:
        points: ``(M, 3)`` crop units in the portrait.
        rigid, body, expression: ``(M,)`` weights.
        triangles: ``(F, 3)`` indices, face vertices first, then the rings.
    """

    points: np.ndarray
    rigid: np.ndarray
    body: np.ndarray
    expression: np.ndarray
    triangles: np.ndarray


def build_background_mesh(
    points: np.ndarray, iod: float, follow: tuple[np.ndarray, np.ndarray]
) -> BackgroundMesh:
    """Place the rings around a face.

    Args:
        points: ``(468, 3)`` crop units.
        iod: crop units per IOD.
        follow: square fields from :mod:`emo_lightning.renderers.mesh.background.follow_weights`.
    """
    oval = points[topology.OVAL]
    away = oval[:, :2] - oval[:, :2].mean(axis=0)
    angle = _strictly_monotone(np.unwrap(np.arctan2(away[:, 1], away[:, 0])))
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    steps = (np.arange(1, RINGS + 1) / RINGS) ** 1.6
    distance = steps[:, None] * _distance_to_square(oval[:, :2], direction)
    flat = oval[None, :, :2] + distance[..., None] * direction
    behind = np.maximum(HEAD_DEPTH * iod - (oval[:, 2] - points[topology.NASION, 2]), 0.1 * iod)
    depth = oval[:, 2] + behind * (1.0 - np.exp(-distance / (0.22 * iod)))
    rings = np.concatenate([flat, depth[..., None]], axis=2).reshape(-1, 3)
    rigid, body = (sample_field(field, rings[:, :2]) for field in follow)
    decay = np.exp(-distance / (EXPRESSION_REACH * iod)).reshape(-1).astype(np.float32)
    return BackgroundMesh(
        points=rings.astype(np.float32),
        rigid=rigid.astype(np.float32),
        body=body.astype(np.float32),
        expression=decay * np.minimum(1.0, rigid * 4.0).astype(np.float32),
        triangles=_ring_triangles(),
    )


def sample_field(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values of a frame-wide ``(N, N)`` field at crop positions ``(M, 2)``, clamped."""
    size = field.shape[0]
    x, y = ((points.T + 1.0) / 2.0 * size) - 0.5
    x, y = np.clip(x, 0, size - 1.001), np.clip(y, 0, size - 1.001)
    i, j = x.astype(int), y.astype(int)
    a, b = x - i, y - j
    top = field[j, i] * (1 - a) + field[j, i + 1] * a
    bottom = field[j + 1, i] * (1 - a) + field[j + 1, i + 1] * a
    return top * (1 - b) + bottom * b


def _strictly_monotone(angle: np.ndarray) -> np.ndarray:
    """Angles made strictly monotone, so that rays of a profile-like outline do not cross."""
    sign = 1.0 if angle[-1] > angle[0] else -1.0
    rising = np.maximum.accumulate(sign * angle + np.arange(len(angle)) * 1e-3)
    return sign * np.minimum(rising, sign * angle[0] + 2 * np.pi - 0.02)


def _distance_to_square(start: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Distance from each start along its direction to the square of half side OUTSIDE."""
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.where(direction > 0, OUTSIDE - start, -OUTSIDE - start) / direction
    crossing = np.where(np.isfinite(crossing), crossing, np.inf)
    return np.maximum(crossing.min(axis=1), 0.1)


def _ring_triangles() -> np.ndarray:
    around = len(topology.OVAL)
    rings = [topology.VERTICES + k * around + np.arange(around) for k in range(RINGS)]
    faces = []
    for inner, outer in pairwise([topology.OVAL, *rings]):
        for i in range(around):
            j = (i + 1) % around
            faces += [(inner[i], outer[i], outer[j]), (inner[i], outer[j], inner[j])]
    return np.array(faces, np.int32)
