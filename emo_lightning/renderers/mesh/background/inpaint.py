"""Unknown places of a small picture filled in by the harmonic function that meets what is around them."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

GRID = (32, 48)
"""Rows and columns on which membranes are solved."""


def membrane(picture: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The picture ``(h, w, 3)`` float32 on GRID with ``unknown`` ``GRID`` bool places filled in, scaled up to its size; level at its
    border; the picture itself where nothing is known."""
    if unknown.all():
        return picture
    small = cv2.resize(picture, GRID[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
    number = np.arange(unknown.size).reshape(GRID)
    entries = [(number[~unknown], number[~unknown], np.ones((~unknown).sum()))]
    for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        beside = np.roll(number, shift, axis)
        edge = np.zeros(GRID, bool)
        np.moveaxis(edge, axis, 0)[0 if shift == 1 else -1] = True
        at = unknown & ~edge
        entries += [
            (number[at], number[at], np.ones(at.sum())),
            (number[at], beside[at], -np.ones(at.sum())),
        ]
    row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
    right = np.where(unknown[..., None], 0.0, small).reshape(-1, 3)
    solved = splu(coo_matrix((value, (row, column))).tocsc()).solve(right).reshape(*GRID, 3)
    return cv2.resize(
        solved.astype(np.float32), picture.shape[1::-1], interpolation=cv2.INTER_CUBIC
    )
