"""Shipped against refitted on film that neither was fitted to, and which of them stays."""

from __future__ import annotations

from dataclasses import dataclass

from emo_lightning.calibration.dataset import Rows
from emo_lightning.calibration.features import Readout
from emo_lightning.calibration.lip_closures import Closings, closings
from emo_lightning.calibration.score import Score, gains

SAME = 0.01
"""Correlations and errors less than this apart are the same."""
CLOSING_LOSS = 0.15
"""Filmed closures are few, so a small loss may be chance."""


@dataclass(frozen=True)
class Verdict:
    """``accepted`` and why not, both scores on the held-out film,
    intervals of the difference (see :func:`gains`), and of the mean correlation's."""

    accepted: bool
    reasons: tuple[str, ...]
    old: Score
    new: Score
    intervals: dict[str, list[list[float]]]
    interval: list[float]
    old_closings: Closings
    new_closings: Closings


def judge(held: Rows, old: Readout, new: Readout) -> Verdict:
    """Accept the new read-out if it follows the held-out lips no worse, errs no more, and closes the lips no worse."""
    before, after = held.sums(old), held.sums(new)
    a, b = before.score(), after.score()
    shut = [
        closings(held.said_lips(one)[:, 0], held.lips[:, 0], held.frames.block)
        for one in (old, new)
    ]
    reasons = []
    if b.r.mean() < a.r.mean() - SAME:
        reasons.append(
            f"it followed the held-out lips less (correlation {b.r.mean():.3f}, shipped {a.r.mean():.3f})"
        )
    if b.error.mean() > a.error.mean() + SAME:
        reasons.append(
            f"it erred more on the held-out part ({b.error.mean():.2f} of the real movement, shipped {a.error.mean():.2f})"
        )
    if shut[1].worth < shut[0].worth - CLOSING_LOSS:
        reasons.append(
            f"it closed the lips less well ({shut[1].worth:.2f}, shipped {shut[0].worth:.2f})"
        )
    return Verdict(not reasons, tuple(reasons), a, b, *gains(before, after), *shut)
