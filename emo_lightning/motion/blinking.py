"""Blinks: a renewal process at human rate, repeated exactly by its seed. One model for the corpus and for generated video.

Rate: 17 a minute at rest, 26 in conversation (Bentivoglio et al., *Movement Disorders* 12, 1997); 10.5 to 32.5 in
conversation (Doughty, *Optometry and Vision Science* 78, 2001). Intervals are skewed, many short and a few long. A lid
closes in under 0.1 s and opens about twice as slowly, 0.1 to 0.4 s in all (VanderWerf et al., *J. Neurophysiology* 89,
2003). Speakers blink where a phrase ends and in pauses (Nakano & Kitazawa, *Exp. Brain Research* 205, 2010), and with
large turns of the head (Evinger et al., *Exp. Brain Research* 100, 1994). Fear and anxiety raise the rate (Harrigan &
O'Connell, *Personality and Individual Differences* 21, 1996); wide-eyed attention lowers it. Factors are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from emo_lightning.core.constants import FPS
from emo_lightning.motion.emotions import EMOTIONS

BLINKS_PER_MINUTE = 22.0
"""Of somebody who talks to a camera in neutral mood."""
EMOTION_RATE: Mapping[str, float] = {
    "neutral": 1.0, "angry": 0.8, "contempt": 0.9, "disgusted": 1.1, "fear": 1.3, "happy": 1.1, "sad": 0.9, "surprised": 0.65,
}  # fmt: skip
"""Rate of each emotion relative to neutral."""
CLOSING, HELD, OPENING = 0.08, 0.04, 0.2
"""Seconds: lids fall faster than they rise, about a third of a second in all."""
SPREAD = 0.55
"""Standard deviation of the log interval."""
SHORTEST = 0.6
"""Seconds between two blinks, at least."""


class BlinkProcess:
    """Lid closure frame by frame.

    Args:
        seed: same seed and same emotions, same blinks; or a generator to draw from.
        per_minute: this person's rate in neutral talk.
    """

    def __init__(
        self, seed: int | np.random.Generator, per_minute: float = BLINKS_PER_MINUTE
    ) -> None:
        self._rng = (
            seed if isinstance(seed, np.random.Generator) else np.random.default_rng([seed, 0xB11])
        )
        self._per_minute = per_minute
        self._wait = float(self._rng.uniform(0.1, 1.0))
        self._last = -SHORTEST
        self._recent: list[tuple[float, float]] = []
        self._frame = 0

    def push(self, shares: np.ndarray, urge: np.ndarray | None = None) -> np.ndarray:
        """The next frames.

        Args:
            shares: ``(n, 8)`` how much of each emotion each frame has; rows sum to 1.
            urge: ``(n,)`` factor on each frame's rate, 1 by default: more in a pause or a turn of the head.

        Returns:
            ``(n,)`` float32 closure, 0 open to 1 shut.
        """
        rates = (
            shares @ np.array([EMOTION_RATE[name] for name in EMOTIONS]) * (self._per_minute / 60.0)
        )
        for n, rate in enumerate(rates if urge is None else rates * urge):
            self._pass(self._frame + n, float(rate))
        times = (self._frame + np.arange(len(shares))) / FPS
        closure = np.zeros(len(shares))
        for start, depth in self._recent:
            closure = np.maximum(closure, depth * lid(times - start))
        self._frame += len(shares)
        self._recent = [
            event
            for event in self._recent
            if event[0] + CLOSING + HELD + OPENING > self._frame / FPS
        ]
        return closure.astype(np.float32)

    def _pass(self, frame: int, rate: float) -> None:
        """Let a frame's time run; what is waited for runs out faster the higher the rate."""
        self._wait -= rate / FPS
        if self._wait <= 0.0 and frame / FPS >= self._last + SHORTEST:
            self._last = (frame + float(self._rng.uniform(0.0, 1.0))) / FPS
            self._recent.append((self._last, float(self._rng.uniform(0.9, 1.0))))
            self._wait = math.exp(SPREAD * float(self._rng.standard_normal()) - SPREAD**2 / 2)


def lid(t: np.ndarray) -> np.ndarray:
    """Closure ``t`` seconds after a blink's start: down, held, up, each along a cosine."""
    down = np.clip(t / CLOSING, 0.0, 1.0)
    up = np.clip((t - CLOSING - HELD) / OPENING, 0.0, 1.0)
    return 0.5 * (1.0 - np.cos(np.pi * down)) - 0.5 * (1.0 - np.cos(np.pi * up))
