"""Displacements of a few vertices carried smoothly to the rest of the mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, identity
from scipy.sparse.linalg import spsolve

Displacement = Sequence[float]


class Spread:
    """Screened biharmonic interpolation on the mesh graph (as Botsch & Kobbelt, *SIGGRAPH* 2004,
    with a screening term).

    Where the mesh has a hole, as between the lips, nothing crosses it.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        count = len(vertices)
        edges = np.unique(
            np.sort(
                np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]),
                axis=1,
            ),
            axis=0,
        )
        length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
        weight = (length.mean() / length).clip(0.2, 5.0)
        rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
        adjacency = coo_matrix((np.tile(weight, 2), (rows, columns)), (count, count)).tocsr()
        degree = np.asarray(adjacency.sum(1)).ravel()
        self.laplacian: csr_matrix = identity(count, format="csr") - csr_matrix(
            adjacency.multiply(1.0 / degree[:, None])
        )
        self.edge = float(length.mean())
        self.count = count

    def __call__(self, fixed: Mapping[int, Displacement], reach: float) -> np.ndarray:
        """``(468, 3)`` displacements that equal ``fixed`` at its vertices and fade over about
        ``reach`` IOD.
        """
        screen = (1.2 * self.edge / reach) ** 4
        matrix = (self.laplacian.T @ self.laplacian + screen * identity(self.count)).tocsr()
        known = np.array(sorted(fixed))
        unknown = np.setdiff1d(np.arange(self.count), known)
        out = np.zeros((self.count, 3))
        out[known] = [fixed[int(k)] for k in known]
        out[unknown] = spsolve(
            matrix[unknown][:, unknown].tocsc(), -(matrix[unknown][:, known] @ out[known])
        )
        return out


def both_sides(fixed: Mapping[int, Displacement], mirror: np.ndarray) -> dict[int, np.ndarray]:
    """The same displacements on the mirror-image vertices too."""
    out = {int(mirror[k]): np.asarray(v, float) * [-1.0, 1.0, 1.0] for k, v in fixed.items()}
    return {**out, **{k: np.asarray(v, float) for k, v in fixed.items()}}
