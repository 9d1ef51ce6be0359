"""Voice activity gate: steady noise and tones do not move the mouth.

Speech changes its spectrum from frame to frame, also when whispered; noise, hum and tones do not.
The gate is computed from the spectral flux of log-mel rows: the mean change of ten band energies
per frame. It is open where at least four of eleven frames have the flux of speech, so that the
onset of a noise does not open it, and stays open :data:`HANGOVER` frames longer. Within the
receptive field of the networks it needs no further audio. Loudness plays no part.
"""

from __future__ import annotations

import numpy as np

from emo_lightning.media.spectrogram import MEL_KINDS
from emo_lightning.models.decoupler.audio_frontend import ROWS_PER_FRAME

BANDS = 10
"""Groups of mel bands whose energies are compared."""
PAST, FUTURE, COUNT = 4, 6, 4
"""Frames before and after a frame in its window, and how many of them must change."""
HANGOVER = 5
"""Frames of 40 ms for which the gate stays open."""
RAMP = 4
"""Frames over which the gate opens and closes; it is open at the onset of speech."""
MOST_CHANGE = 0.7
"""Natural logarithm of the largest change that counts: one click is not speech."""
CLOSED, OPEN = 0.2, 0.28
"""Flux up to which the gate is closed, and from which it is open; speech has a median of 0.46,
white noise at most 0.17."""
FLOOR = 1e-4
"""Magnitude below which nothing is audible."""


class VoiceGate:
    """Gate of one stream of log-mel rows, 0 (closed) to 1 (open) per video frame.

    Args:
        kind: kind of the rows, see :data:`emo_lightning.media.spectrogram.MEL_KINDS`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = MEL_KINDS[kind]
        self._rows = np.zeros((0, 80), np.float32)
        self._last: np.ndarray | None = None
        self._flux = np.zeros(PAST)
        self._strength = np.zeros(HANGOVER + RAMP - 1)

    def add(self, rows: np.ndarray) -> np.ndarray:
        """Gates ``(m,)`` float32 of the frames that ``(n, 80)`` rows complete; FUTURE frames
        wait."""
        rows = np.concatenate([self._rows, rows])
        whole = len(rows) // ROWS_PER_FRAME * ROWS_PER_FRAME
        self._rows = rows[whole:]
        return self._gates(self._changes(rows[:whole]))

    def flush(self) -> np.ndarray:
        """Gates of the remaining frames, as if silence followed."""
        return self._gates(np.zeros(FUTURE))

    def _changes(self, rows: np.ndarray) -> np.ndarray:
        """Spectral flux ``(n,)`` of ``(4 n, 80)`` rows."""
        kind = self._kind
        magnitude = np.exp((rows.astype(np.float64) - kind.offset) / (kind.scale * kind.power))
        bands = magnitude.reshape(-1, ROWS_PER_FRAME, BANDS, rows.shape[1] // BANDS)
        energy = np.log(np.maximum(bands.mean(axis=3).mean(axis=1), FLOOR))
        if not len(energy):
            return np.zeros(0)
        before = energy[:1] if self._last is None else self._last
        self._last = energy[-1:]
        change = np.abs(np.diff(energy, axis=0, prepend=before))
        return np.minimum(change, MOST_CHANGE).mean(axis=1)

    def _gates(self, changes: np.ndarray) -> np.ndarray:
        flux = np.concatenate([self._flux, changes])
        size = PAST + 1 + FUTURE
        if len(flux) < size:
            self._flux = flux
            return np.zeros(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(flux, size)
        self._flux = flux[len(windows) :]
        strength = np.concatenate([self._strength, np.sort(windows, axis=1)[:, -COUNT]])
        self._strength = strength[len(windows) :]
        held = np.lib.stride_tricks.sliding_window_view(strength, HANGOVER + 1).max(axis=1)
        gates = np.clip((held - CLOSED) / (OPEN - CLOSED), 0.0, 1.0)
        return np.lib.stride_tricks.sliding_window_view(gates, RAMP).mean(axis=1, dtype=np.float32)
