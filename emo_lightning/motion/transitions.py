"""How a face goes from one feeling to the next: how long it takes, and along which curve.

Every curve is a function of time alone that rises from exactly 0 to exactly 1 without a jump in value, velocity or (but for
``linear``) acceleration.

Facts: expressions rise in about 0.2 to 0.9 s and people know sadness best when it comes slowly (Recio, Schacht & Sommer, 2013,
Cognition & Emotion 27:1486); which duration looks real depends on the emotion, and differs between onsets and offsets (Hoffmann,
Traue, Bachmayr & Kessler, 2010, Cognition & Emotion 24:1369); onsets of spontaneous smiles take about the same time whatever their
context (Schmidt, Cohn & Tian, 2003, Biological Psychology 65:49) and deliberate ones are faster (Cohn & Schmidt, 2004, IJWMIP 2:121;
Schmidt et al., 2006, J. Nonverbal Behavior 30:37); time-reversed expressions look artificial, so offsets are no mirrored onsets
(Reinl & Bartels, 2015, Frontiers in Psychology 6:1107). The seconds below are ours, within these ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

ONSETS: Mapping[str, float] = {
    "neutral": 0.6,
    "angry": 0.5,
    "contempt": 0.65,
    "disgusted": 0.5,
    "fear": 0.4,
    "happy": 0.6,
    "sad": 0.9,
    "surprised": 0.3,
}
"""Seconds from the first movement to the whole expression."""

OFFSETS: Mapping[str, float] = {
    "neutral": 0.6,
    "angry": 0.9,
    "contempt": 0.9,
    "disgusted": 0.9,
    "fear": 0.8,
    "happy": 1.1,
    "sad": 1.4,
    "surprised": 0.7,
}
"""Seconds from the whole expression back to none."""

DISPLACED = 3.0
"""A feeling that another takes the place of leaves this much faster than by itself, if the other comes as fast; ours."""

CORNER = 0.5
"""Seconds over which a linear change starts and stops moving, at most half of the change each."""


class Curve(Protocol):
    """A share that goes from 0 to 1."""

    def __call__(self, seconds: np.ndarray) -> np.ndarray: ...


def minimum_jerk(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, between them the smoothest rise there is (Flash & Hogan, 1985, J. Neuroscience 5:1688)."""
    x = np.clip(x, 0.0, 1.0)
    return np.minimum(x * x * x * (10.0 + x * (6.0 * x - 15.0)), 1.0)


@dataclass(frozen=True)
class Crossover:
    """As smooth a change as there is, ``length`` seconds long and half done at second 0; a jump there where the length is 0."""

    length: float

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        if self.length <= 0.0:
            return np.where(np.asarray(seconds) >= 0.0, 1.0, 0.0)
        return minimum_jerk(np.asarray(seconds, np.float64) / self.length + 0.5)


@dataclass(frozen=True)
class Ramp:
    """A steady change that begins ``length`` seconds before second 0 and is done at second 0; only its ends are rounded."""

    length: float

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        corner = min(CORNER, 0.5 * self.length)
        start, end = corner / 2 - self.length, -corner / 2
        x = np.asarray(seconds, np.float64)
        # A straight ramp from start to end, averaged over a corner's time: parabolas join it to 0 and 1.
        edges = _half_square(x + corner / 2 - start) - _half_square(x - corner / 2 - start)
        edges = edges - _half_square(x + corner / 2 - end) + _half_square(x - corner / 2 - end)
        return np.where(x >= 0.0, 1.0, np.clip(edges / (corner * (end - start)), 0.0, 1.0))


def _half_square(x: np.ndarray) -> np.ndarray:
    """The integral of max(x, 0)."""
    return 0.5 * np.maximum(x, 0.0) ** 2
