"""Shipped against refitted on film that neither was fitted to, and which of them stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emo_lightning.calibration.heard import Readout
from emo_lightning.calibration.refit import CLOSED
from emo_lightning.calibration.rows import Rows
from emo_lightning.calibration.score import Score, gains

TOUCH = 0.02
"""Tracked opening (outer eye-corner distances) below which the filmed lips touch."""
WIDE = 0.08
"""Tracked opening above which they are surely apart."""
AROUND = 2
"""Frames either side in which ours may close."""
LEAST_TOUCHES = 5
CLOSING_LOSS = 0.1


@dataclass(frozen=True)
class Closings:
    """Share of filmed closures where ours close too, and of open frames where ours are wrongly closed; None with too few."""

    kept: float | None
    wrong: float | None

    @property
    def worth(self) -> float:
        """Kept less wrong ones; 0 where there are too few to tell."""
        return 0.0 if self.kept is None else self.kept - (self.wrong or 0.0)


@dataclass(frozen=True)
class Verdict:
    """``accepted`` and why not, both scores on the held-out film, intervals of the difference (see :func:`gains`)."""

    accepted: bool
    reasons: tuple[str, ...]
    old: Score
    new: Score
    intervals: dict[str, list[list[float]]]
    old_closings: Closings
    new_closings: Closings


def judge(held: Rows, old: Readout, new: Readout) -> Verdict:
    """Accept the new read-out if it follows the held-out lips no worse, errs no more, and closes the lips no worse."""
    before, after = held.sums(old), held.sums(new)
    a, b = before.score(), after.score()
    shut = closings(held, old), closings(held, new)
    reasons = []
    if b.r.mean() < a.r.mean():
        reasons.append(f"it followed the held-out lips less (correlation {b.r.mean():.3f}, shipped {a.r.mean():.3f})")
    if b.error.mean() > a.error.mean():
        reasons.append(f"it erred more on the held-out part ({b.error.mean():.2f} of the real movement, shipped {a.error.mean():.2f})")
    if shut[1].worth < shut[0].worth - CLOSING_LOSS:
        reasons.append(f"it closed the lips less well ({shut[1].worth:.2f}, shipped {shut[0].worth:.2f})")
    return Verdict(not reasons, tuple(reasons), a, b, gains(before, after), *shut)


def closings(rows: Rows, readout: Readout) -> Closings:
    """How a read-out treats filmed closures."""
    ours, theirs = rows.said_lips(readout)[:, 0], rows.lips[:, 0]
    near = ours.copy()
    for shift in range(1, AROUND + 1):
        for earlier, later in ((slice(None, -shift), slice(shift, None)), (slice(shift, None), slice(None, -shift))):
            same = rows.frames.block[earlier] == rows.frames.block[later]
            near[earlier] = np.where(same, np.minimum(near[earlier], ours[later]), near[earlier])
    touching, apart = theirs < TOUCH, theirs > WIDE
    return Closings(_share(near[touching] < CLOSED), _share(ours[apart] < CLOSED))


def _share(true: np.ndarray) -> float | None:
    return float(true.mean()) if len(true) >= LEAST_TOUCHES else None
