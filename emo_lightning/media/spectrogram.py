"""Log-mel spectrograms of 16 kHz audio, whole or as a stream.

Mel frame ``k`` is centred on sample ``160 k + 80``, so frames ``4 t .. 4 t + 3`` cover video frame
``t`` (samples ``640 t .. 640 t + 639``) exactly. The 800-sample window of frame ``k`` spans samples
``160 k - 320 .. 160 k + 479``, zero-padded at both ends. A second kind of frames at the same places
serves Whisper's encoder (:data:`MEL_KINDS`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emo_lightning.core.constants import SAMPLE_RATE, frames_for

N_FFT, HOP, N_MELS, F_MIN, F_MAX, MEL_FLOOR = 800, 160, 80, 55.0, 7600.0, 1e-5
_ROWS = 16


@dataclass(frozen=True)
class MelKind:
    """Definition of a spectrogram: ``scale * log(max(bands, floor)) + offset``, Slaney's bands.

    Attributes:
        n_fft: samples of the Hann window and of the transform.
        f_min: Hz where the first band begins.
        f_max: Hz where the last band ends.
        power: of the magnitude in the bands; 1 magnitude, 2 energy.
        floor: least value of a band.
        scale: of the logarithm.
        offset: added to it.
    """

    n_fft: int
    f_min: float
    f_max: float
    power: int
    floor: float
    scale: float = 1.0
    offset: float = 0.0

    @property
    def quiet(self) -> float:
        """The value of silence."""
        return self.scale * math.log(self.floor) + self.offset

    @property
    def lead(self) -> int:
        """Zeros before the first sample, so that frame 0 is centred on sample 80."""
        return (self.n_fft - HOP) // 2


WHISPER_PEAK = 1.5
"""log10 of the largest band in speech at the common level. Whisper takes a recording's own largest
value, which a stream does not know."""
MEL_KINDS = {
    "mel": MelKind(N_FFT, F_MIN, F_MAX, 1, MEL_FLOOR),
    "whisper": MelKind(
        400, 0.0, 8000.0, 2, 10.0 ** (WHISPER_PEAK - 8.0), 0.25 / math.log(10.0), 1.0
    ),
}
"""``mel``, this project's own; ``whisper``, (log10 + 4) / 4 of energies, clipped at 80 dB below
:data:`WHISPER_PEAK`."""


@lru_cache(maxsize=2)
def _filterbank(kind: MelKind) -> np.ndarray:
    from librosa.filters import mel

    bands = mel(
        sr=SAMPLE_RATE,
        n_fft=kind.n_fft,
        n_mels=N_MELS,
        fmin=kind.f_min,
        fmax=kind.f_max,
        dtype=np.float64,
    )
    return np.ascontiguousarray(bands.T)


@lru_cache(maxsize=2)
def _window(size: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)


def _mel_frames(padded: np.ndarray, first: int, count: int, kind: MelKind) -> np.ndarray:
    """Frames ``first .. first + count - 1``; ``padded[0]`` begins the first one's window.

    Each matrix product has the same shape, with each frame at the same row of it whatever the calls
    before, so a stream equals the whole file bit for bit.
    """
    out = np.empty((count, N_MELS), np.float32)
    done = 0
    while done < count:
        slot = (first + done) % _ROWS
        n = min(_ROWS - slot, count - done)
        span = padded[done * HOP : (done + n - 1) * HOP + kind.n_fft]
        frames = np.lib.stride_tricks.sliding_window_view(span, kind.n_fft)[::HOP]
        spectrum = np.abs(np.fft.rfft(frames * _window(kind.n_fft), axis=1)) ** kind.power
        magnitude = np.zeros((_ROWS, kind.n_fft // 2 + 1))
        magnitude[slot : slot + n] = spectrum
        bands = (magnitude @ _filterbank(kind))[slot : slot + n]
        out[done : done + n] = kind.scale * np.log(np.maximum(bands, kind.floor)) + kind.offset
        done += n
    return out


def log_mel(wave: np.ndarray, kind: str = "mel") -> np.ndarray:
    """Log-mel spectrogram; by default Hann window 800, hop 160, 80 bands 55-7600 Hz of magnitude.

    Args:
        wave: ``(N,)`` 16 kHz mono.
        kind: a name of :data:`MEL_KINDS`.

    Returns:
        ``(4 T, 80)`` float32 with ``T = frames_for(N)``; no value is below the kind's ``quiet``.
    """
    stream = MelStream(kind)
    return np.concatenate([stream.add(wave), stream.flush()])


class MelStream:
    """:func:`log_mel` of a recording that arrives in pieces, equal to the whole bit for bit."""

    def __init__(self, kind: str = "mel") -> None:
        self._kind = MEL_KINDS[kind]
        self._held = np.zeros(self._kind.lead)
        self._samples = self._frames = 0

    def add(self, samples: np.ndarray) -> np.ndarray:
        """Take ``(n,)`` samples; return the ``(m, 80)`` frames that they complete, maybe none."""
        self._samples += len(samples)
        self._held = np.concatenate([self._held, np.asarray(samples, np.float64)])
        complete = max(0, (len(self._held) - self._kind.n_fft) // HOP + 1)
        # With a short window a mel frame can be complete before its video frame is certain.
        return self._next(min(complete, 4 * frames_for(self._samples) - self._frames))

    def flush(self) -> np.ndarray:
        """The remaining frames, zero-padded, so that there are 4 for each video frame."""
        left = 4 * frames_for(self._samples) - self._frames
        missing = (left - 1) * HOP + self._kind.n_fft - len(self._held)
        self._held = np.concatenate([self._held, np.zeros(max(0, missing))])
        return self._next(left)

    def _next(self, count: int) -> np.ndarray:
        frames = _mel_frames(self._held, self._frames, count, self._kind)
        self._held = self._held[count * HOP :]
        self._frames += count
        return frames
