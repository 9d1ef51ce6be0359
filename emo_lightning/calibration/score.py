"""How like the filmed lips ours are, block by block.

Correlation and amplitude are of movement within blocks: a tracker's slow drift counts for nothing. The error is of the values
themselves, over the real movement's spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Score:
    """Opening and width, ``(2,)`` each: ``r``; ``amplitude`` and RMS ``error``, both over the real movement's spread."""

    r: np.ndarray
    amplitude: np.ndarray
    error: np.ndarray
    frames: int

    def to_dict(self) -> dict[str, object]:
        """Plain values, rounded."""
        values = {
            name: [round(float(v), 4) for v in getattr(self, name)]
            for name in ("r", "amplitude", "error")
        }
        return {**values, "frames": self.frames}


@dataclass(frozen=True)
class Sums:
    """Sums over the frames of each piece, ``(pieces, 2)`` each, from which scores of any choice of pieces follow."""

    ours: np.ndarray
    theirs: np.ndarray
    both: np.ndarray
    wrong: np.ndarray
    count: np.ndarray

    @staticmethod
    def of(
        ours: np.ndarray, theirs: np.ndarray, block: np.ndarray, piece: np.ndarray | None = None
    ) -> Sums:
        """From courses ``(n, 2)``, the block ``(n,)`` of every frame, and the pieces to sum over, by default the blocks."""
        _, at = np.unique(block, return_inverse=True)
        x, y = (
            values - (_total(values, at) / np.bincount(at)[:, None])[at]
            for values in (ours, theirs)
        )
        if piece is not None:
            _, at = np.unique(piece, return_inverse=True)
        return Sums(
            _total(x * x, at),
            _total(y * y, at),
            _total(x * y, at),
            _total((ours - theirs) ** 2, at),
            np.bincount(at),
        )

    def score(self, pick: np.ndarray | slice = slice(None)) -> Score:
        """Over some pieces, by number; all by default."""
        xx, yy = (np.maximum(part[pick].sum(0), 1e-12) for part in (self.ours, self.theirs))
        r, error = self.both[pick].sum(0) / np.sqrt(xx * yy), np.sqrt(self.wrong[pick].sum(0) / yy)
        return Score(r, np.sqrt(xx / yy), error, int(self.count[pick].sum()))


def gains(old: Sums, new: Sums, seed: int = 0) -> tuple[dict[str, list[list[float]]], list[float]]:
    """95 % intervals of new less old, by resampling pieces.

    Returns:
        ``{"r": [[low, high] of opening, of width], ...}``, and the interval of the mean of both correlations.
    """
    draw, pieces = np.random.default_rng(seed), len(old.count)
    tries: dict[str, list[np.ndarray]] = {"r": [], "amplitude": [], "error": []}
    for _ in range(RESAMPLES):
        pick = draw.integers(pieces, size=pieces)
        a, b = old.score(pick), new.score(pick)
        for name, values in tries.items():
            values.append(getattr(b, name) - getattr(a, name))
    ends = {
        name: np.round(np.percentile(values, [2.5, 97.5], axis=0).T, 4).tolist()
        for name, values in tries.items()
    }
    return ends, np.round(np.percentile(np.mean(tries["r"], axis=1), [2.5, 97.5]), 4).tolist()


def _total(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(at, column) for column in values.T], axis=1)
