"""Blinks: a renewal process at human rate, repeated exactly by its seed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from emo_lightning.emotions import EMOTIONS

FPS = 25.0
BLINKS_PER_MINUTE = 20.0
"""Between 17 at rest and 26 in conversation (Bentivoglio et al., *Movement Disorders* 1997)."""
EMOTION_RATE: Mapping[str, float] = {
    "neutral": 1.0, "angry": 0.8, "contempt": 0.9, "disgusted": 1.1, "fear": 1.3, "happy": 1.1, "sad": 0.9, "surprised": 0.6,
}  # fmt: skip
"""Rate of each emotion relative to neutral; ours."""
CLOSING, HELD, OPENING = 0.08, 0.04, 0.2
"""Seconds: lids fall faster than they rise, about a third of a second in all."""
SPREAD = 0.5
"""Standard deviation of the log interval."""
SHORTEST = 0.6


class BlinkProcess:
    """Lid closure frame by frame.

    Args:
        seed: same seed and same emotions, same blinks.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 0xB11])
        self._next = float(self._rng.uniform(0.5, 60.0 / BLINKS_PER_MINUTE))
        self._recent: list[tuple[float, float]] = []
        self._frame = 0

    def push(self, shares: np.ndarray) -> np.ndarray:
        """The next frames.

        Args:
            shares: ``(n, 8)`` how much of each emotion each frame has; rows sum to 1.

        Returns:
            ``(n,)`` float32 closure, 0 open to 1 shut.
        """
        rates = shares @ np.array([EMOTION_RATE[name] for name in EMOTIONS])
        end = (self._frame + len(shares)) / FPS
        while self._next < end:
            rate = rates[max(int(self._next * FPS) - self._frame, 0)]
            self._recent.append((self._next, float(self._rng.uniform(0.85, 1.0))))
            mean = 60.0 / (BLINKS_PER_MINUTE * rate)
            interval = mean * math.exp(SPREAD * self._rng.standard_normal() - SPREAD**2 / 2)
            self._next += max(interval, SHORTEST)
        times = (self._frame + np.arange(len(shares))) / FPS
        closure = np.zeros(len(shares))
        for start, depth in self._recent:
            closure = np.maximum(closure, depth * _lid(times - start))
        self._frame += len(shares)
        self._recent = [event for event in self._recent if event[0] + CLOSING + HELD + OPENING > end]
        return closure.astype(np.float32)


def _lid(t: np.ndarray) -> np.ndarray:
    """Closure ``t`` seconds after a blink's start: down, held, up, each along a cosine."""
    down = np.clip(t / CLOSING, 0.0, 1.0)
    up = np.clip((t - CLOSING - HELD) / OPENING, 0.0, 1.0)
    return 0.5 * (1.0 - np.cos(np.pi * down)) - 0.5 * (1.0 - np.cos(np.pi * up))
