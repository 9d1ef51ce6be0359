"""What a head's motion is like in numbers, of real, simulated and drawn heads alike.

Shapes: T frames of a clip, angles in radians.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from emo_lightning.core.constants import FPS

WINDOW = 64
"""Frames of a spectrum's windows."""
BANDS = ((0.3, 0.9), (0.9, 1.8), (1.8, 3.7), (3.7, 7.0))
"""Hz: the last three are the classes of Hadar et al. (1983), the first what is slower, as far as
2.5 s show it.
"""
NAMES = ("spread", "range", "speed", "beats", "stress")


def describe(angle: np.ndarray, wave: np.ndarray | None) -> np.ndarray:
    """``(5,)``: spread (mean std of the three angles, degrees), range (degrees), mean speed
    (degrees/s), beat alignment, and correlation of the pitch's speed with loudness. Nan where
    the sound is unknown."""
    degrees = np.degrees(angle)
    speed = np.linalg.norm(np.diff(degrees, axis=0), axis=1) * FPS
    numbers = [degrees.std(0, ddof=1).mean(), np.ptp(degrees, axis=0).mean(), speed.mean()]
    return np.array(
        [
            *numbers,
            *(
                accents(angle, wave)
                if wave is not None and np.abs(wave).max() > 1e-4
                else (np.nan, np.nan)
            ),
        ]
    )


def accents(angle: np.ndarray, wave: np.ndarray) -> tuple[float, float]:
    """Beat alignment as ``emo eval`` has it, and Pearson's r of the pitch's speed with smoothed
    loudness, mean of lags -2 to 5.
    """
    import librosa

    from evaluation.metrics.beat_alignment import beat_alignment, motion_beats

    onsets = librosa.onset.onset_detect(y=wave, sr=16_000, hop_length=160, units="time")
    beats = motion_beats(torch.from_numpy(np.ascontiguousarray(angle)), FPS)
    score = (
        float(beat_alignment(beats, torch.from_numpy(onsets * FPS - 0.5)))
        if len(onsets)
        else np.nan
    )
    loud = loudness(wave, len(angle))[:-1]
    rise = np.convolve(loud, np.ones(5) / 5, "same")
    pitch = np.abs(np.diff(np.degrees(angle[:, 0])))
    lags = [
        np.corrcoef(
            pitch[max(k, 0) : len(pitch) + min(k, 0)], rise[max(-k, 0) : len(rise) - max(k, 0)]
        )[0, 1]
        for k in range(-2, 6)
    ]
    return score, float(np.nanmean(lags)) if np.isfinite(lags).any() else np.nan


def loudness(wave: np.ndarray, frames: int) -> np.ndarray:
    """Log RMS ``(frames,)`` of each video frame's sound."""
    sound = np.zeros(frames * 640, np.float64)
    sound[: min(len(wave), len(sound))] = wave[: len(sound)]
    return np.log(np.sqrt((sound.reshape(frames, 640) ** 2).mean(1)) + 1e-3)


def bands(angles: Sequence[np.ndarray]) -> np.ndarray:
    """Mean power ``(clips, 4 bands, 3 angles)``, squared degrees per Hz, windows shorter than
    :data:`WINDOW` left out.
    """
    taper, out = np.hanning(WINDOW)[:, None], []
    frequency = np.fft.rfftfreq(WINDOW, 1.0 / FPS)
    for angle in angles:
        starts = range(0, len(angle) - WINDOW + 1, WINDOW // 2)
        cuts = [np.degrees(angle[s : s + WINDOW]) for s in starts]
        if cuts:
            power = (
                np.mean(
                    [np.abs(np.fft.rfft((c - c.mean(0)) * taper, axis=0)) ** 2 for c in cuts], 0
                )
                / (taper**2).sum()
                / FPS
            )
            out.append(
                np.stack(
                    [power[(frequency >= low) & (frequency < high)].mean(0) for low, high in BANDS]
                )
            )
    return np.array(out).reshape(-1, len(BANDS), 3)


def spectrum_gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean distance in dB between two groups' band powers (:func:`bands`), over bands and angles."""
    return float(np.abs(10.0 * np.log10(ours.mean(0) / theirs.mean(0))).mean())


def interval(values: np.ndarray) -> str:
    """Mean and the half width of its 95 % interval."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "n/a"
    if len(values) < 3:
        return f"{values.mean():.2f}"
    return f"{values.mean():.2f} ± {1.96 * values.std(ddof=1) / np.sqrt(len(values)):.2f}"


def gap_interval(ours: np.ndarray, theirs: np.ndarray, draws: int = 200, seed: int = 0) -> str:
    """The gap, and the half width of its 95 % interval by drawing clips anew."""
    if min(len(ours), len(theirs)) < 3:
        return "n/a"
    rng = np.random.default_rng(seed)
    drawn = [
        spectrum_gap(
            *(group[rng.integers(len(group), size=len(group))] for group in (ours, theirs))
        )
        for _ in range(draws)
    ]
    return f"{spectrum_gap(ours, theirs):.2f} ± {1.96 * np.std(drawn):.2f}"
