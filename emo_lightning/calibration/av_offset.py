"""Audio-video offset of a file: how far its picture is late, and whether its lips follow the audio.

The correlation at the best of all lags near 0 is compared with the best of as many lags around
random wrong moments, so that being the best of many counts for nothing. Files too short to be
decided alone are decided together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from emo_lightning.calibration.dataset import Readout, SpeechFeatures
from emo_lightning.calibration.lips import lips_of_expression
from emo_lightning.calibration.recording import Recording

MAX_LAG = 10
"""Frames searched either way."""
TRIALS = 1000
"""Random wrong moments to compare with."""
MIN_SHIFT = 50
"""Frames by which a moment must be off to count as wrong; a third of a shorter file."""
MAX_P_VALUE = 0.02
MIN_CORRELATION = 0.2


@dataclass(frozen=True)
class AudioVideoOffset:
    """Offset of one file.

    Attributes:
        lag: frames; positive where the picture is late.
        r: correlation of predicted and tracked lips at the lag.
        r_at_0: the same at lag 0.
        chance: share of wrong moments that correlate as well.
    """

    lag: int
    r: float
    r_at_0: float
    chance: float

    @property
    def found(self) -> bool:
        """Whether the lips follow the audio at all."""
        return self.chance < MAX_P_VALUE and self.r >= MIN_CORRELATION


def estimate_offsets(
    recordings: Sequence[Recording],
    speech: Sequence[SpeechFeatures],
    readout: Readout,
    seed: int = 0,
) -> list[AudioVideoOffset]:
    """Each file's offset; files not decided alone share one, which may not be found either."""
    pairs = zip(recordings, speech, strict=True)
    curves = [_lag_correlation(video, audio.expression(readout)) for video, audio in pairs]
    weights = [int(recording.usable.sum()) for recording in recordings]
    pairs = zip(curves, weights, strict=True)
    offsets = [_best_lag([curve], [weight], seed) for curve, weight in pairs]
    open_cases = [k for k, offset in enumerate(offsets) if not offset.found]
    if len(open_cases) < 2:
        return offsets
    shared = _best_lag([curves[k] for k in open_cases], [weights[k] for k in open_cases], seed)
    for k in open_cases:
        curve = curves[k]
        r, r_at_0 = float(curve[shared.lag % len(curve)]), float(curve[0])
        offsets[k] = replace(shared, r=r, r_at_0=r_at_0)
    return offsets


def _best_lag(curves: Sequence[np.ndarray], weights: Sequence[int], seed: int) -> AudioVideoOffset:
    total, lags = max(sum(weights), 1), np.arange(-MAX_LAG, MAX_LAG + 1)

    def mean_curve(moments: Sequence[int]) -> np.ndarray:
        parts = zip(curves, weights, moments, strict=True)
        return sum(w * np.take(curve, at + lags, mode="wrap") for curve, w, at in parts) / total

    curve, rng = mean_curve([0] * len(curves)), np.random.default_rng(seed)
    best, wrong = int(curve.argmax()), []
    shifts = [(min(MIN_SHIFT, len(c) // 3), len(c)) for c in curves]
    for _ in range(TRIALS):
        moments = [int(rng.integers(low, max(n - low, low + 1))) for low, n in shifts]
        wrong.append(mean_curve(moments).max())
    chance = float(np.mean(np.array(wrong) >= curve[best]))
    return AudioVideoOffset(best - MAX_LAG, float(curve[best]), float(curve[MAX_LAG]), chance)


def _lag_correlation(recording: Recording, exp: np.ndarray) -> np.ndarray:
    """``(T,)``: mean correlation of opening and width at each circular shift of the prediction."""
    use = recording.usable.astype(float)
    count = use.sum()
    if count < 2:
        return np.zeros(len(use))
    identity = np.median(recording.coefficients["id"][recording.segment >= 0], axis=0)
    predicted = lips_of_expression(identity, exp)
    predicted = (predicted - predicted.mean(0)) / np.maximum(predicted.std(0), 1e-9)
    tracked = recording.lips - recording.lips[recording.usable].mean(0)
    mean = _correlate(use[:, None], predicted) / count
    square = _correlate(use[:, None], predicted**2) / count
    product = _correlate(use[:, None] * tracked, predicted) / count
    spread = np.maximum(tracked[recording.usable].std(0), 1e-12)
    return (product / (np.sqrt(np.maximum(square - mean**2, 1e-12)) * spread)).mean(1)


def _correlate(fixed: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    """``(T, 2)``: sum over t of ``fixed[t] shifted[t - k]`` for every k, circular."""
    spectrum = np.fft.rfft(fixed, axis=0) * np.conj(np.fft.rfft(shifted, axis=0))
    return np.fft.irfft(spectrum, n=len(shifted), axis=0)
