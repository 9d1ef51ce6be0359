"""Glances: a renewal process of fixations and saccades at human rate, repeatable by its seed.

In conversation eyes rest on the listener for most of the time, with small saccades about the face,
two or so in a second, and turn aside for about a second now and then (Rogers et al., *Scientific
Reports* 8, 2018; Argyle & Cook, *Gaze and Mutual Gaze*, 1976). A saccade of some degrees takes
about 0.04 s (Bahill et al., *Mathematical Biosciences* 24, 1975). Distributions are ours.
"""

from __future__ import annotations

import numpy as np

from emo_lightning.core.constants import FPS

FIXATION, SPREAD, SHORTEST = 0.65, 0.5, 0.2
"""Median seconds between saccades, standard deviation of their logarithm, and the shortest."""
SACCADE = 0.04
"""Seconds that a saccade takes."""
COUNT = 1024
"""Fixations, about a quarter of an hour, after which they repeat."""
ON_FACE = np.radians([1.0, 0.6])
"""Standard deviation of fixations on the listener's face, radians across and down."""
ASIDE, ASIDE_SHARE = np.radians([7.0, 3.0]), 0.12
"""Scale of glances aside, and how many of the fixations are such."""


class GazeProcess:
    """Direction of the eyes relative to the camera, at any time.

    Args:
        seed: same seed, same glances.
        fps: frames in a second.
        strength: 0 keeps the eyes on the camera.
    """

    def __init__(self, seed: int, fps: float = FPS, strength: float = 1.0) -> None:
        rng = np.random.default_rng([seed, 0x6A2E])
        waits = np.maximum(FIXATION * np.exp(SPREAD * rng.standard_normal(COUNT)), SHORTEST)
        places = rng.standard_normal((COUNT, 2)) * ON_FACE
        far = rng.choice([-1.0, 1.0], (COUNT, 2)) * ASIDE * rng.uniform(0.6, 1.4, (COUNT, 1))
        aside = rng.random((COUNT, 1)) < ASIDE_SHARE
        self._fps, self._period = fps, float(waits.sum())
        self._starts = np.cumsum(waits) - waits
        self._targets = strength * np.where(aside, far, places)
        self._targets[0] = 0.0

    def offsets(self, first: int, count: int) -> np.ndarray:
        """Radians across and down ``(count, 2)`` of the frames from number ``first`` on."""
        times = (first + np.arange(count)) / self._fps % self._period
        k = np.searchsorted(self._starts, times, side="right") - 1
        before, now = self._targets[np.maximum(k - 1, 0)], self._targets[k]
        done = np.clip((times - self._starts[k]) / SACCADE, 0.0, 1.0)[:, None]
        return before + done * (now - before)
