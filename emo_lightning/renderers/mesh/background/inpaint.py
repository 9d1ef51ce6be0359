"""Inpainting by harmonic functions: smooth, without bumps of their own, meeting what is around."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu


def harmonic_fill(
    values: np.ndarray, known: np.ndarray, decay: np.ndarray | float = 0.0
) -> np.ndarray:
    """Fill the unknown cells of a small picture; the result is level at its border.

    Args:
        values: ``(H, W, C)``; unknown cells are ignored.
        known: ``(H, W)`` bool, not all False.
        decay: inverse of the cells over which the field decays to 0 by itself.

    Returns:
        ``(H, W, C)`` float64.
    """
    shape, count = known.shape, int((~known).sum())
    number = np.arange(known.size).reshape(shape)
    diagonal = np.where(known, 1.0, 1.0 + np.square(np.broadcast_to(decay, shape)))
    rows, columns, entries = [number.ravel()], [number.ravel()], [diagonal.ravel()]
    padded = np.pad(number, 1, mode="edge")
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        rows.append(number[~known])
        columns.append(neighbour[~known])
        entries.append(np.full(count, -0.25))
    places = (np.concatenate(rows), np.concatenate(columns))
    matrix = coo_matrix((np.concatenate(entries), places)).tocsc()
    right = np.where(known[..., None], values, 0.0).reshape(known.size, -1).astype(np.float64)
    return splu(matrix).solve(right).reshape(*shape, -1)
