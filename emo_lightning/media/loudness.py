"""Speech level of a recording, measured as it streams, and the gain that normalises it.

The networks' input is log-mel energies: without it a quiet recording would hardly move the lips.
"""

from __future__ import annotations

import numpy as np

from emo_lightning.core.constants import SAMPLES_PER_FRAME

TARGET_DB = -20.0
"""Speech level, in dB below full scale, to which recordings are normalised."""
MAX_GAIN_DB = 30.0
"""More would turn a room's noise into speech."""
_FLOOR_DB, _STEP_DB = -100.0, 0.25
_LOUD, _RANGE_DB = 0.95, 20.0
_SILENT_DB, _STEADY_DB, _HALF_FRAMES = -70.0, 6.0, 25


class SpeechLevel:
    """Histogram of the levels of 40 ms frames, in constant memory."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(-_FLOOR_DB / _STEP_DB) + 1, np.int64)
        self._levels = _FLOOR_DB + _STEP_DB * np.arange(len(self._counts))
        self._held = np.zeros(0, np.float32)

    def add(self, samples: np.ndarray) -> None:
        """Count the next ``(n,)`` samples."""
        held = np.concatenate([self._held, samples])
        whole = len(held) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        power = np.square(held[:whole], dtype=np.float64).reshape(-1, SAMPLES_PER_FRAME).mean(1)
        level = np.clip(10 * np.log10(power + 1e-12), _FLOOR_DB, 0.0)
        bins = np.round((level - _FLOOR_DB) / _STEP_DB).astype(int)
        self._counts += np.bincount(bins, minlength=len(self._counts))
        self._held = held[whole:]

    def level(self) -> float:
        """Mean power in dB of speech: of frames within 20 dB of the 95th percentile."""
        total = self._counts.sum()
        if total == 0:
            return _FLOOR_DB
        loud = self._levels[np.searchsorted(np.cumsum(self._counts), _LOUD * total)]
        spoken = np.where(self._levels >= loud - _RANGE_DB, self._counts, 0)
        return float(10 * np.log10((10 ** (self._levels / 10) * spoken).sum() / spoken.sum()))

    def trust(self) -> float:
        """Confidence 0..1 in the level: half after a second of speech; 0 for steady noise."""
        total = self._counts.sum()
        if total == 0:
            return 0.0
        places = np.searchsorted(np.cumsum(self._counts), [max(0.1 * total, 1), _LOUD * total])
        quiet, loud = self._levels[places]
        is_speech = (self._levels >= loud - _RANGE_DB) & (self._levels > _SILENT_DB)
        spoken = self._counts[is_speech].sum()
        contrast = np.clip((loud - quiet - _STEADY_DB) / _STEADY_DB, 0.0, 1.0)
        return float(spoken / (spoken + _HALF_FRAMES) * contrast)

    def gain(self) -> float:
        """Factor that brings the speech to TARGET_DB, within MAX_GAIN_DB up or down."""
        return float(10 ** (np.clip(TARGET_DB - self.level(), -MAX_GAIN_DB, MAX_GAIN_DB) / 20))


def levelled(wave: np.ndarray) -> np.ndarray:
    """A whole recording ``(n,)`` normalised to TARGET_DB, as in training."""
    level = SpeechLevel()
    level.add(wave)
    return (wave * level.gain()).astype(np.float32)


class RunningGain:
    """Normalisation of a live stream, without latency.

    Each 40 ms have the gain of the speech before them, weighted by its confidence: half after a
    second, and none while loud and quiet parts are less than 6 dB apart, as in noise. The gain is
    interpolated linearly, so it does not click, and does not depend on the block size.
    """

    def __init__(self) -> None:
        self._level = SpeechLevel()
        self._ramp = np.ones(SAMPLES_PER_FRAME, np.float32)
        self._place = 0

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """The next ``(n,)`` samples, multiplied by their gain."""
        samples, out = np.asarray(samples, np.float32), [np.zeros(0, np.float32)]
        while len(samples):
            piece, samples = np.split(samples, [SAMPLES_PER_FRAME - self._place])
            out.append(piece * self._ramp[self._place : self._place + len(piece)])
            self._level.add(piece)
            self._place += len(piece)
            if self._place == SAMPLES_PER_FRAME:
                gain = self._level.gain() ** self._level.trust()
                ramp = np.linspace(self._ramp[-1], gain, SAMPLES_PER_FRAME + 1, dtype=np.float32)
                self._ramp, self._place = ramp[1:], 0
        return np.concatenate(out)
