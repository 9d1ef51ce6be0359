"""How loud somebody speaks in a recording, measured as it streams, and the gain that brings it to one level.

The networks hear log-mel energies, so a recording 25 dB below those they learned from would hardly move the lips.
"""

from __future__ import annotations

import numpy as np

from emo_lightning.core.constants import SAMPLES_PER_FRAME

TARGET_DB = -20.0
"""Level of speech, in dB below full scale, that recordings are brought to; the embedded corpus speaks at -18 to -21."""
MAX_GAIN_DB = 30.0
"""More would turn a room's noise into speech."""
_FLOOR_DB, _STEP_DB = -100.0, 0.25
_LOUD, _RANGE_DB = 0.95, 20.0
_SILENT_DB, _STEADY_DB, _HALF_FRAMES = -70.0, 6.0, 25


class SpeechLevel:
    """Counts the levels of 40 ms frames; takes the same memory however long the recording is."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(-_FLOOR_DB / _STEP_DB) + 1, np.int64)
        self._held = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> None:
        """Take the next ``(n,)`` samples of any number."""
        held = np.concatenate([self._held, samples])
        whole = len(held) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        power = np.square(held[:whole], dtype=np.float64).reshape(-1, SAMPLES_PER_FRAME).mean(1)
        level = np.clip(10 * np.log10(power + 1e-12), _FLOOR_DB, 0.0)
        self._counts += np.bincount(
            np.round((level - _FLOOR_DB) / _STEP_DB).astype(int), minlength=len(self._counts)
        )
        self._held = held[whole:]

    def level(self) -> float:
        """Mean power in dB of the frames that hold speech: those within 20 dB of the loudest twentieth's lower end."""
        levels = _FLOOR_DB + _STEP_DB * np.arange(len(self._counts))
        total = self._counts.sum()
        if total == 0:
            return _FLOOR_DB
        loud = levels[np.searchsorted(np.cumsum(self._counts), _LOUD * total)]
        spoken = np.where(levels >= loud - _RANGE_DB, self._counts, 0)
        return float(10 * np.log10((10 ** (levels / 10) * spoken).sum() / spoken.sum()))

    def trust(self) -> float:
        """0..1: how much speech was heard, half after a second of it; 0 for noise of one level."""
        total = self._counts.sum()
        if total == 0:
            return 0.0
        levels = _FLOOR_DB + _STEP_DB * np.arange(len(self._counts))
        passed = np.cumsum(self._counts)
        quiet, loud = levels[np.searchsorted(passed, [max(0.1 * total, 1), _LOUD * total])]
        spoken = self._counts[(levels >= loud - _RANGE_DB) & (levels > _SILENT_DB)].sum()
        return float(
            spoken
            / (spoken + _HALF_FRAMES)
            * np.clip((loud - quiet - _STEADY_DB) / _STEADY_DB, 0.0, 1.0)
        )

    def gain(self) -> float:
        """The factor that brings the speech to :data:`TARGET_DB`, at most :data:`MAX_GAIN_DB` up or down."""
        return float(10 ** (np.clip(TARGET_DB - self.level(), -MAX_GAIN_DB, MAX_GAIN_DB) / 20))


def levelled(wave: np.ndarray) -> np.ndarray:
    """A whole recording ``(n,)`` brought to the one level, as the networks hear it in training and in use."""
    level = SpeechLevel()
    level.push(wave)
    return (wave * level.gain()).astype(np.float32)


class RunningGain:
    """The gain followed as the sound is heard, for sound that cannot be listened to beforehand; it delays nothing.

    Each 40 ms have the gain of all speech heard before them, trusted more the more there was: half after a second, and not
    at all while the loud and the quiet parts are less than 6 dB apart, for then nobody speaks. The gain moves in straight
    lines, so nothing clicks, and every sample's is the same however the sound arrives.
    """

    def __init__(self) -> None:
        self._level = SpeechLevel()
        self._ramp = np.ones(SAMPLES_PER_FRAME, np.float32)
        self._place = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take ``(n,)`` samples and return them at their gain."""
        samples, out = np.asarray(samples, np.float32), [np.zeros(0, np.float32)]
        while len(samples):
            piece, samples = np.split(samples, [SAMPLES_PER_FRAME - self._place])
            out.append(piece * self._ramp[self._place : self._place + len(piece)])
            self._level.push(piece)
            self._place += len(piece)
            if self._place == SAMPLES_PER_FRAME:
                gain = self._level.gain() ** self._level.trust()
                self._ramp = np.linspace(
                    self._ramp[-1], gain, SAMPLES_PER_FRAME + 1, dtype=np.float32
                )[1:]
                self._place = 0
        return np.concatenate(out)
