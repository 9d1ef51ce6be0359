"""Level response: whether a feature of the face follows the requested emotion level.

Four numbers for one emotion and one feature: Spearman's rank correlation (order), R^2 of a straight
line (evenness), the range (value at the highest level minus value at the lowest) and the share of
that range reached at level 8 (0.5 is even; near 1, all happens in the lower half). A system that
ignores the level has a correlation near 0 and no range; one that jumps has a high correlation but a
low R^2 and a share away from 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

MIN_LEVELS = 3
MIDDLE = 8.0
"""The middle of levels 1..15."""


@dataclass(frozen=True)
class LevelResponse:
    """The response of one feature; ``nan`` where the values define no number (a feature that never
    moves)."""

    rho: float
    r2: float
    range: float
    half: float


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation; nan, without a warning, when either side is constant."""
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt((x @ x) * (y @ y))
    # Rounding must not make a perfect correlation better than perfect.
    return min(max(float(x @ y) / size, -1.0), 1.0) if size else math.nan


def level_response(levels: Sequence[float], values: Sequence[float]) -> LevelResponse:
    """The response of one feature to the level.

    Args:
        levels: ``(N,)`` requested levels, in any order; values at equal levels are averaged first.
        values: ``(N,)`` the feature, one value a clip.

    Returns:
        rho in -1..1, r2 in 0..1, range in the feature's unit, half as a share of the range (nan
        when the middle level lies outside the levels given, or when the feature does not move).

    Raises:
        ValueError: lengths that differ, values that are not finite, fewer than three distinct
            levels.
    """
    x, y = np.asarray(levels, np.float64), np.asarray(values, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        shapes = f"levels have shape {x.shape}, values {y.shape}"
        raise ValueError(f"{shapes}; expected two of shape (N,)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("levels and values must be finite numbers")
    x, place = np.unique(x, return_inverse=True)
    y = np.bincount(place, y) / np.bincount(place)
    if len(x) < MIN_LEVELS:
        raise ValueError(f"{len(x)} distinct levels given, at least {MIN_LEVELS} are needed")
    reach = float(y[-1] - y[0])
    inside = x[0] < MIDDLE < x[-1]
    half = (float(np.interp(MIDDLE, x, y)) - y[0]) / reach if inside and reach else math.nan
    rho = _pearson(rankdata(x), rankdata(y))
    return LevelResponse(rho, _pearson(x, y) ** 2, reach, float(half))
