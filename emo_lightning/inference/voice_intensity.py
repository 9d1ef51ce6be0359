"""How strongly somebody speaks at each moment, against the middle of their own recording: it may move the level of an emotion.

Read from the log mel spectrogram alone: how loud the voice is, and how much of it lies from 1 to 3 kHz against what lies below,
for a raised voice is brighter as well as louder (Traunmueller & Eriksson, 2000, JASA 107:3438; Nordenberg & Sundberg, 2004,
Logopedics Phoniatrics Vocology 29:183). Pitch is left out: with 36 Hz between bands the rows do not tell it.

The middle is a running one, so a stream needs no second look; every number depends on the rows before it and not on how they arrive.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from emo_lightning.core.constants import FPS
from emo_lightning.models.layers.temporal import Reach
from emo_lightning.motion.emotions import LEVEL_MAX, LEVEL_MIN

MEL_PER_FRAME = 4
AHEAD = 6
"""Frames of sound after a frame that may count for it; they make up for half of the smoothing's delay."""
_SPEECH = -1.2
"""Log of the summed mel magnitudes from which a frame counts as speech, about 18 dB below the level that recordings are brought to."""
_LOUD, _BRIGHT = 0.69, 0.345
"""What a raised voice has more of, in logs of magnitude: 6 dB of loudness, 3 dB of brightness."""
_LOW, _HIGH = slice(0, 27), slice(27, 55)
"""Mel bands below 1 kHz, and from 1 to 3 kHz."""
_MOST = 3.0
_SMOOTH_SECONDS = 0.25
_MEMORY_SECONDS = 30.0
_TRUST_SECONDS = 1.5


class VoiceStrength:
    """Strength of the voice, -1 (much weaker than this recording's middle) to 1, one number a video frame.

    A pause counts as the middle. For the first seconds the middle is hardly known, so the numbers start from 0.
    """

    def __init__(self) -> None:
        self._middle = np.zeros(2)
        self._heard = 0.0
        self._smooth = np.zeros(2)

    def push(self, rows: np.ndarray) -> np.ndarray:
        """Take ``(4 n, 80)`` log mel rows of sound brought to one level; return ``(n,)`` float32."""
        magnitude = (
            np.exp(rows.astype(np.float64)).reshape(-1, MEL_PER_FRAME, rows.shape[-1]).mean(axis=1)
        )
        loud = np.log(magnitude.sum(axis=1))
        bright = np.log(magnitude[:, _HIGH].sum(axis=1)) - np.log(magnitude[:, _LOW].sum(axis=1))
        return np.array([self._step(seen) for seen in zip(loud, bright, strict=True)], np.float32)

    def _step(self, seen: tuple[float, float]) -> float:
        """One frame further."""
        evidence = 0.0
        if seen[0] > _SPEECH:
            self._heard += 1.0 / FPS
            self._middle += (np.array(seen) - self._middle) / (
                FPS * min(self._heard, _MEMORY_SECONDS)
            )
            loud, bright = np.array(seen) - self._middle
            evidence = float(np.clip(0.5 * (loud / _LOUD + bright / _BRIGHT), -_MOST, _MOST))
            evidence *= self._heard / (self._heard + _TRUST_SECONDS)
        # Two leaky averages in a row: no jump in value, nor in velocity.
        share = 1.0 - np.exp(-1.0 / (FPS * _SMOOTH_SECONDS))
        self._smooth[0] += share * (evidence - self._smooth[0])
        self._smooth[1] += share * (self._smooth[0] - self._smooth[1])
        return float(np.tanh(self._smooth[1]))


class VoiceLevel:
    """The levels of an emotion track, moved by the voice, block after block of sound.

    Args:
        levels: ``(K,)`` as asked for.
        band: the most that a level may move either way.
        reach: frames of context that the blocks have before and after.
    """

    def __init__(self, levels: Tensor, band: float, reach: Reach) -> None:
        self._levels, self._band, self._reach = levels, band, reach
        self._ahead = min(AHEAD, reach.future)
        self._strength: VoiceStrength | None = None

    def push(self, rows: np.ndarray) -> Tensor:
        """Take a block ``(4 (n + reach.total), 80)``, each next one n frames on; return ``(n, K)`` levels."""
        first, last = (
            self._reach.past + self._ahead,
            len(rows) // MEL_PER_FRAME - self._reach.future + self._ahead,
        )
        if self._strength is None:
            self._strength = VoiceStrength()
            self._strength.push(rows[MEL_PER_FRAME * self._reach.past : MEL_PER_FRAME * first])
        strength = self._strength.push(rows[MEL_PER_FRAME * first : MEL_PER_FRAME * last])
        return moved(self._levels, strength, self._band)


def moved(levels: Tensor, strength: np.ndarray, band: float) -> Tensor:
    """Levels that follow the voice.

    Args:
        levels: ``(K,)`` as asked for.
        strength: ``(T,)``, -1..1.
        band: the most that a level may move either way; less where the scale ends before.

    Returns:
        ``(T, K)``, within 1..15 and within ``band`` of what was asked for.
    """
    up, down = (room.clamp(0.0, band) for room in (LEVEL_MAX - levels, levels - LEVEL_MIN))
    turn = torch.from_numpy(np.asarray(strength, np.float32))[:, None]
    return levels + turn.clamp(min=0.0) * up + turn.clamp(max=0.0) * down
