"""Voice intensity relative to the speaker's running median level: it may move an emotion's level.

Computed from the log-mel spectrogram: loudness, and the energy from 1 to 3 kHz over that below,
since a raised voice is brighter as well as louder (Traunmueller & Eriksson, 2000, JASA 107:3438;
Nordenberg & Sundberg, 2004, Logopedics Phoniatrics Vocology 29:183). Pitch is not used: 36 Hz
between bands do not resolve it. The mean is a running one, so every value depends only on the rows
before it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from emo_lightning.core.constants import FPS
from emo_lightning.models.decoupler.audio_frontend import ROWS_PER_FRAME
from emo_lightning.models.layers.temporal import ReceptiveField
from emo_lightning.motion.emotions import LEVEL_MAX, LEVEL_MIN

LOOKAHEAD = 6
"""Frames of audio after a frame that are included; they halve the delay of the smoothing."""
_SPEECH = -1.2
"""Log of the summed mel magnitudes from which a frame counts as speech: about 18 dB below the level
that recordings are normalised to."""
_LOUD, _BRIGHT = 0.69, 0.345
"""Log magnitudes of a clearly raised voice: 6 dB of loudness, 3 dB of brightness."""
_LOW, _HIGH = slice(0, 27), slice(27, 55)
"""Mel bands below 1 kHz, and from 1 to 3 kHz."""
_MOST = 3.0
_SMOOTH_SECONDS = 0.25
_MEMORY_SECONDS = 30.0
_TRUST_SECONDS = 1.5


class VoiceIntensity:
    """Intensity per video frame, -1 (much weaker than the running mean) to 1.

    Pauses count as the mean. The mean is uncertain in the first seconds, so values start from 0.
    """

    def __init__(self) -> None:
        self._mean = np.zeros(2)
        self._seconds = 0.0
        self._smooth = np.zeros(2)

    def add(self, rows: np.ndarray) -> np.ndarray:
        """Intensity ``(n,)`` float32 of the next ``(4 n, 80)`` log-mel rows at common loudness."""
        magnitude = np.exp(rows.astype(np.float64))
        magnitude = magnitude.reshape(-1, ROWS_PER_FRAME, rows.shape[-1]).mean(axis=1)
        loud = np.log(magnitude.sum(axis=1))
        bright = np.log(magnitude[:, _HIGH].sum(axis=1)) - np.log(magnitude[:, _LOW].sum(axis=1))
        return np.array([self._next(seen) for seen in np.stack([loud, bright], 1)], np.float32)

    def _next(self, features: np.ndarray) -> float:
        """Intensity of the next frame from its loudness and brightness."""
        evidence = 0.0
        if features[0] > _SPEECH:
            self._seconds += 1.0 / FPS
            self._mean += (features - self._mean) / (FPS * min(self._seconds, _MEMORY_SECONDS))
            loud, bright = features - self._mean
            evidence = float(np.clip(0.5 * (loud / _LOUD + bright / _BRIGHT), -_MOST, _MOST))
            evidence *= self._seconds / (self._seconds + _TRUST_SECONDS)
        # Two leaky averages in a row: no jump in value, nor in velocity.
        share = 1.0 - np.exp(-1.0 / (FPS * _SMOOTH_SECONDS))
        self._smooth[0] += share * (evidence - self._smooth[0])
        self._smooth[1] += share * (self._smooth[0] - self._smooth[1])
        return float(np.tanh(self._smooth[1]))


class VoiceLevel:
    """Levels of an emotion track that follow the voice, block after block of audio.

    Args:
        levels: ``(K,)`` of the track.
        band: most levels either way.
        reach: receptive field of the blocks.
    """

    def __init__(self, levels: Tensor, band: float, reach: ReceptiveField) -> None:
        self._levels, self._band, self._reach = levels, band, reach
        self._lookahead = min(LOOKAHEAD, reach.future)
        self._intensity: VoiceIntensity | None = None

    def levels(self, rows: np.ndarray) -> Tensor:
        """Levels ``(n, K)`` of a block ``(4 (n + reach.total), 80)``, each n frames after the
        last."""
        first = self._reach.past + self._lookahead
        last = len(rows) // ROWS_PER_FRAME - self._reach.future + self._lookahead
        if self._intensity is None:
            self._intensity = VoiceIntensity()
            self._intensity.add(rows[ROWS_PER_FRAME * self._reach.past : ROWS_PER_FRAME * first])
        intensity = self._intensity.add(rows[ROWS_PER_FRAME * first : ROWS_PER_FRAME * last])
        return shifted_levels(self._levels, intensity, self._band)


def shifted_levels(levels: Tensor, intensity: np.ndarray, band: float) -> Tensor:
    """Levels ``(T, K)`` within 1..15 and within ``band`` of the track's.

    Args:
        levels: ``(K,)`` of the track.
        intensity: ``(T,)``, -1..1.
        band: most levels either way.
    """
    up, down = (room.clamp(0.0, band) for room in (LEVEL_MAX - levels, levels - LEVEL_MIN))
    turn = torch.from_numpy(np.asarray(intensity, np.float32))[:, None]
    return levels + turn.clamp(min=0.0) * up + turn.clamp(max=0.0) * down
