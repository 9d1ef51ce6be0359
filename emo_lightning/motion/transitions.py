"""Transitions between emotions: durations and curves.

Every curve is a function of time alone that rises from exactly 0 to exactly 1 without a jump in
value, velocity or (except :class:`LinearRamp`) acceleration.

Sources: expressions rise in about 0.2 to 0.9 s, and sadness is recognised best when it rises slowly
(Recio, Schacht & Sommer, 2013, Cognition & Emotion 27:1486); which duration looks real depends on
the emotion and differs between onsets and offsets (Hoffmann, Traue, Bachmayr & Kessler, 2010,
Cognition & Emotion 24:1369); onsets of spontaneous smiles take about the same time in any context
(Schmidt, Cohn & Tian, 2003, Biological Psychology 65:49), deliberate ones are faster (Cohn &
Schmidt, 2004, IJWMIP 2:121; Schmidt et al., 2006, J. Nonverbal Behavior 30:37); time-reversed
expressions look artificial, so offsets are no mirrored onsets (Reinl & Bartels, 2015, Frontiers in
Psychology 6:1107). The seconds below are ours, within these ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ONSETS: Mapping[str, float] = {
    "neutral": 0.6, "angry": 0.5, "contempt": 0.65, "disgusted": 0.5,
    "fear": 0.4, "happy": 0.6, "sad": 0.9, "surprised": 0.3,
}  # fmt: skip
"""Seconds from the first movement to the whole expression."""
OFFSETS: Mapping[str, float] = {
    "neutral": 0.6, "angry": 0.9, "contempt": 0.9, "disgusted": 0.9,
    "fear": 0.8, "happy": 1.1, "sad": 1.4, "surprised": 0.7,
}  # fmt: skip
"""Seconds from the whole expression back to none."""
DISPLACED = 3.0
"""Factor by which an emotion decays faster when another replaces it; ours."""
CORNER = 0.5
"""Seconds over which a linear transition starts and stops, at most half of it each."""
Transition = Callable[[np.ndarray], np.ndarray]
"""Share of the new emotion, 0 to 1, at seconds from its key."""


def minimum_jerk(x: np.ndarray) -> np.ndarray:
    """Minimum-jerk rise from 0 at 0 to 1 at 1 (Flash & Hogan, 1985, J. Neuroscience 5:1688)."""
    x = np.clip(x, 0.0, 1.0)
    return np.minimum(x * x * x * (10.0 + x * (6.0 * x - 15.0)), 1.0)


@dataclass(frozen=True)
class SmoothStep:
    """Minimum-jerk transition in ``length`` seconds, half complete at second 0; length 0 jumps."""

    length: float

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        if self.length <= 0.0:
            return np.where(np.asarray(seconds) >= 0.0, 1.0, 0.0)
        return minimum_jerk(np.asarray(seconds, np.float64) / self.length + 0.5)


@dataclass(frozen=True)
class LinearRamp:
    """Steady transition from ``-length`` seconds to second 0 with rounded ends."""

    length: float

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        corner = min(CORNER, 0.5 * self.length)
        start, end = corner / 2 - self.length, -corner / 2
        x = np.asarray(seconds, np.float64)
        # A straight ramp from start to end, averaged over the corner: parabolas join it to 0 and 1.
        edges = _half_square(x + corner / 2 - start) - _half_square(x - corner / 2 - start)
        edges = edges - _half_square(x + corner / 2 - end) + _half_square(x - corner / 2 - end)
        return np.where(x >= 0.0, 1.0, np.clip(edges / (corner * (end - start)), 0.0, 1.0))


def _half_square(x: np.ndarray) -> np.ndarray:
    """The integral of max(x, 0)."""
    return 0.5 * np.maximum(x, 0.0) ** 2
