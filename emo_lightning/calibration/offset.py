"""How far a file's picture is late against its sound, from our lips' course against the filmed ones, and whether they belong together.

The correlation at the best of all lags near 0 is compared with the best of as many lags around moments that are certainly wrong,
so that being the best of many is worth nothing. Files too short to tell alone are told together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from emo_lightning.calibration.features import Heard, Readout
from emo_lightning.calibration.lips import lips_of_expression
from emo_lightning.calibration.recording import Recording

REACH = 10
"""Frames looked at either way."""
DRAWS = 1000
"""False moments to compare with."""
FALSE = 50
"""Frames by which a moment must be wrong to count as false; a third of a shorter file."""
CHANCE = 0.02
"""Lips follow the sound when fewer false moments than this do as well,"""
LEAST = 0.2
"""and when they correlate at least so much: of a thousand wrong moments one is the best, however little it says."""


@dataclass(frozen=True)
class Offset:
    """``lag`` frames (positive: the picture is late), the correlation there and at 0, and how often chance does as well."""

    lag: int
    r: float
    r_at_0: float
    chance: float

    @property
    def found(self) -> bool:
        """Whether the lips follow the sound at all."""
        return self.chance < CHANCE and self.r >= LEAST


def measure(
    recordings: Sequence[Recording], heard: Sequence[Heard], readout: Readout, seed: int = 0
) -> list[Offset]:
    """Each file's offset; those that are not found alone share one, which may not be found either."""
    curves = [
        _circle(recording, sound.said(readout))
        for recording, sound in zip(recordings, heard, strict=True)
    ]
    weights = [int(recording.useful.sum()) for recording in recordings]
    alone = [
        _judged([curve], [weight], seed) for curve, weight in zip(curves, weights, strict=True)
    ]
    lost = [k for k, offset in enumerate(alone) if not offset.found]
    if len(lost) < 2:
        return alone
    together = _judged([curves[k] for k in lost], [weights[k] for k in lost], seed)
    return [
        replace(together, r=_at(curves[k], together.lag), r_at_0=_at(curves[k], 0))
        if k in lost
        else o
        for k, o in enumerate(alone)
    ]


def _judged(curves: Sequence[np.ndarray], weights: Sequence[int], seed: int) -> Offset:
    total = max(sum(weights), 1)

    def near(moments: Sequence[int]) -> np.ndarray:
        parts = zip(curves, weights, moments, strict=True)
        return (
            sum(
                weight * np.take(curve, at + np.arange(-REACH, REACH + 1), mode="wrap")
                for curve, weight, at in parts
            )
            / total
        )

    curve = near([0] * len(curves))
    best, draw = int(curve.argmax()), np.random.default_rng(seed)
    false = []
    for _ in range(DRAWS):
        least = [min(FALSE, len(c) // 3) for c in curves]
        false.append(
            near(
                [
                    int(draw.integers(a, max(len(c) - a, a + 1)))
                    for c, a in zip(curves, least, strict=True)
                ]
            ).max()
        )
    return Offset(
        best - REACH,
        float(curve[best]),
        float(curve[REACH]),
        float(np.mean(np.array(false) >= curve[best])),
    )


def _at(curve: np.ndarray, lag: int) -> float:
    return float(curve[lag % len(curve)])


def _circle(recording: Recording, exp: np.ndarray) -> np.ndarray:
    """``(T,)``: mean correlation of opening and width with our course turned round by each number of frames."""
    use = recording.useful.astype(float)
    count = use.sum()
    if count < 2:
        return np.zeros(len(use))
    ours = lips_of_expression(
        np.median(recording.coefficients["id"][recording.run >= 0], axis=0), exp
    )
    ours = (ours - ours.mean(0)) / np.maximum(ours.std(0), 1e-9)
    theirs = recording.lips - recording.lips[recording.useful].mean(0)
    mean = _turned(use, ours) / count
    square = _turned(use, ours**2) / count
    both = _turned(use[:, None] * theirs, ours) / count
    spread = np.sqrt(np.maximum(square - mean**2, 1e-12)) * np.maximum(
        theirs[recording.useful].std(0), 1e-12
    )
    return (both / spread).mean(1)


def _turned(held: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """``(T, 2)``: sum over t of ``held[t] moved[t - k]`` for every k."""
    held = held[:, None] if held.ndim == 1 else held
    return np.fft.irfft(
        np.fft.rfft(held, axis=0) * np.conj(np.fft.rfft(moved, axis=0)), n=len(moved), axis=0
    )
