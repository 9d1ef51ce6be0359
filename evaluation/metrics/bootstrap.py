"""How far a number over two sets of pictures depends on which clips were in them.

Frames of one clip show nearly the same picture, so clips are drawn anew and not frames (B. Efron,
R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 8). Distances between sets also
grow when pictures repeat, as drawn ones do; only the draws' spread is used, which leaves that out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Score = Callable[[np.ndarray, np.ndarray], float]
MIN_CLIPS = 3


def standard_error(
    score: Score, clips: tuple[Sequence[str], Sequence[str]], draws: int = 200, seed: int = 0
) -> float | None:
    """Standard deviation of a number over draws of clips; 1.96 of it on both sides are a 95 %
    interval.

    Args:
        score: how often each clip counts, ``(A,)`` and ``(B,)`` whole numbers -> the number for
            such sets.
        clips: names of the clips on the two sides. Where both sides have the same names, a clip and
            its partner are drawn together.
        draws: number of draws.
        seed: of the draws; equal seeds give equal results.

    Returns:
        The deviation; None with fewer than three clips on a side, which say nothing of others.
    """
    a, b = list(clips[0]), list(clips[1])
    if min(len(a), len(b)) < MIN_CLIPS:
        return None
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = _draw(generator, len(a))
        found.append(score(drawn, drawn if a == b else _draw(generator, len(b))))
    return float(np.std(found, ddof=1))


def _draw(generator: np.random.Generator, count: int) -> np.ndarray:
    """Counts of ``count`` draws with replacement; at least two different clips, so that every score
    is defined."""
    while True:
        drawn = np.bincount(generator.integers(0, count, count), minlength=count)
        if np.count_nonzero(drawn) > 1:
            return drawn
