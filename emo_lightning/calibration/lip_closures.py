"""Whether lips close when the filmed ones do: what p, b and m need, without asking which sound it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLOSED = 0.03
"""Opening (outer eye-corner distances) below which our lips count as closed."""
TOUCH = 0.02
"""Tracked opening below which the filmed lips touch."""
WIDE = 0.08
"""Tracked opening above which they are surely apart."""
AROUND = 2
"""Frames either side in which ours may close."""
LEAST = 5


@dataclass(frozen=True)
class Closings:
    """Share of filmed closures where ours close too, and of open frames where ours are wrongly closed; None with too few."""

    kept: float | None
    wrong: float | None

    @property
    def worth(self) -> float:
        """Kept less wrong ones; 0 where there are too few to tell."""
        return 0.0 if self.kept is None else self.kept - (self.wrong or 0.0)


def closings(ours: np.ndarray, theirs: np.ndarray, block: np.ndarray) -> Closings:
    """From openings ``(n,)`` and the block of every frame: neighbours in time within a block."""
    near = ours.copy()
    for shift in range(1, AROUND + 1):
        same = block[shift:] == block[:-shift]
        near[:-shift] = np.where(same, np.minimum(near[:-shift], ours[shift:]), near[:-shift])
        near[shift:] = np.where(same, np.minimum(near[shift:], ours[:-shift]), near[shift:])
    touching, apart = theirs < TOUCH, theirs > WIDE
    return Closings(_share(near[touching] < CLOSED), _share(ours[apart] < CLOSED))


def _share(true: np.ndarray) -> float | None:
    return float(true.mean()) if len(true) >= LEAST else None
