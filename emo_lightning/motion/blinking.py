"""Blinks: a renewal process at human rate, repeatable by its seed.

Rate: 17 a minute at rest, 26 in conversation (Bentivoglio et al., *Movement Disorders* 12, 1997);
10.5 to 32.5 in conversation (Doughty, *Optometry and Vision Science* 78, 2001). Intervals are
skewed, many short and a few long. A lid closes in under 0.1 s and opens about twice as slowly, 0.1
to 0.4 s in all (VanderWerf et al., *J. Neurophysiology* 89, 2003). Speakers blink at the end of a
phrase and in pauses (Nakano & Kitazawa, *Exp. Brain Research* 205, 2010), and with large turns of
the head (Evinger et al., *Exp. Brain Research* 100, 1994). Fear and anxiety raise the rate
(Harrigan & O'Connell, *Personality and Individual Differences* 21, 1996); wide-eyed attention
lowers it. Factors are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from emo_lightning.core.constants import FPS
from emo_lightning.motion.emotions import EMOTIONS

BLINKS_PER_MINUTE = 22.0
"""Rate of a neutral speaker."""
EMOTION_RATE: Mapping[str, float] = {
    "neutral": 1.0, "angry": 0.8, "contempt": 0.9, "disgusted": 1.1,
    "fear": 1.3, "happy": 1.1, "sad": 0.9, "surprised": 0.65,
}  # fmt: skip
"""Rate of each emotion relative to neutral."""
CLOSING, CLOSED, OPENING = 0.08, 0.04, 0.2
"""Seconds of the three phases of a blink."""
SPREAD = 0.55
"""Standard deviation of the log interval."""
MIN_INTERVAL = 0.6
"""Seconds between two blinks."""


class BlinkProcess:
    """Lid closure frame by frame.

    Args:
        seed: same seed and same emotions, same blinks; or a random generator.
        per_minute: this person's rate in neutral speech.
    """

    def __init__(
        self, seed: int | np.random.Generator, per_minute: float = BLINKS_PER_MINUTE
    ) -> None:
        given = isinstance(seed, np.random.Generator)
        self._rng = seed if given else np.random.default_rng([seed, 0xB11])
        self._per_minute = per_minute
        self._wait = float(self._rng.uniform(0.1, 1.0))
        self._last = -MIN_INTERVAL
        self._recent: list[tuple[float, float]] = []
        self._frame = 0

    def closures(self, shares: np.ndarray, rate: np.ndarray | None = None) -> np.ndarray:
        """Lid closure of the next frames.

        Args:
            shares: ``(n, 8)`` how much of each emotion each frame has; rows sum to 1.
            rate: ``(n,)`` factor on each frame's rate, 1 by default.

        Returns:
            ``(n,)`` float32 closure, 0 open to 1 shut.
        """
        emotion_rate = np.array([EMOTION_RATE[name] for name in EMOTIONS])
        hertz = shares @ emotion_rate * (self._per_minute / 60.0)
        for n, value in enumerate(hertz if rate is None else hertz * rate):
            self._advance(self._frame + n, float(value))
        times = (self._frame + np.arange(len(shares))) / FPS
        closure = np.zeros(len(shares))
        for start, depth in self._recent:
            closure = np.maximum(closure, depth * lid_closure(times - start))
        self._frame += len(shares)
        earliest = self._frame / FPS - (CLOSING + CLOSED + OPENING)
        self._recent = [blink for blink in self._recent if blink[0] > earliest]
        return closure.astype(np.float32)

    def _advance(self, frame: int, rate: float) -> None:
        """Count a frame's share of the interval down, and start a blink when it is over."""
        self._wait -= rate / FPS
        if self._wait <= 0.0 and frame / FPS >= self._last + MIN_INTERVAL:
            self._last = (frame + float(self._rng.uniform(0.0, 1.0))) / FPS
            self._recent.append((self._last, float(self._rng.uniform(0.9, 1.0))))
            self._wait = math.exp(SPREAD * float(self._rng.standard_normal()) - SPREAD**2 / 2)


def lid_closure(t: np.ndarray) -> np.ndarray:
    """Closure ``t`` seconds after a blink's start: closing, closed, opening, along cosines."""
    down = np.clip(t / CLOSING, 0.0, 1.0)
    up = np.clip((t - CLOSING - CLOSED) / OPENING, 0.0, 1.0)
    return 0.5 * (1.0 - np.cos(np.pi * down)) - 0.5 * (1.0 - np.cos(np.pi * up))
