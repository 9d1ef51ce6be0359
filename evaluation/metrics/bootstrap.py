"""How far a number over two sets of pictures depends on which clips were in them.

Frames of one clip show nearly the same picture, so clips are drawn anew and not frames (B. Efron, R. Tibshirani, "An
introduction to the bootstrap", 1993, on dependent data). Distances between sets grow when pictures repeat, as drawn ones
do; the draws are therefore moved so that their mean is the number itself: their spread is kept, that bias is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Score = Callable[[np.ndarray, np.ndarray], float]
MIN_CLIPS = 3


@dataclass(frozen=True)
class Interval:
    """Standard error and 95 % interval of a number."""

    std: float
    low: float
    high: float


def over_clips(value: float, score: Score, clips: tuple[list[str], list[str]], draws: int = 200, seed: int = 0) -> Interval | None:
    """The interval of a number over two sets.

    Args:
        value: the number itself.
        score: how often each clip counts, ``(A,)`` and ``(B,)`` whole numbers -> the number for such sets.
        clips: names of the clips on the two sides. Where both sides have the same names, a clip and its partner are drawn together.
        draws: number of draws.
        seed: of the draws; equal seeds give equal intervals.

    Returns:
        The interval, not below 0; None with fewer than three clips on a side, which tell nothing of others.
    """
    a, b = clips
    if min(len(a), len(b)) < MIN_CLIPS:
        return None
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = _draw(generator, len(a))
        found.append(score(drawn, drawn if a == b else _draw(generator, len(b))))
    moved = np.array(found) - np.mean(found) + value
    low, high = np.quantile(moved, [0.025, 0.975])
    return Interval(float(np.std(moved, ddof=1)), max(0.0, float(low)), float(high))


def _draw(generator: np.random.Generator, count: int) -> np.ndarray:
    """Counts of ``count`` draws with replacement; at least two different clips, so that every score is defined."""
    while True:
        drawn = np.bincount(generator.integers(0, count, count), minlength=count)
        if np.count_nonzero(drawn) > 1:
            return drawn
