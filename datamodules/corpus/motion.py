"""Head motion, sway and blinks of a talking person.

A head at rest while talking drifts with a spectrum that falls as 1/f up to about 2 Hz, nods on some of the stressed
syllables, and feels like its owner: more and faster in anger and joy, little and bowed in sadness. Blinks come about
17 times a minute and last a quarter of a second, less often in fear and anger. Sizes are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.corpus.visemes import FPS
from emo_lightning.emotions import LEVEL_MAX

CUTOFF_HZ = 2.0
SPREAD = np.radians((1.3, 1.9, 1.1))
"""Standard deviation of pitch, yaw and roll in neutral talk, radians."""
SWAY = np.array((0.010, 0.007, 0.005))
"""Standard deviation of tx, ty (crop units) and log scale."""
NOD = np.radians(2.2)


@dataclass(frozen=True)
class Bearing:
    """At level 15: ``size`` factor on motion, held ``pitch`` and ``roll`` in degrees, factor on blink rate."""

    size: float = 1.0
    pitch: float = 0.0
    roll: float = 0.0
    blinks: float = 1.0


BEARINGS: Mapping[str, Bearing] = {
    "neutral": Bearing(),
    "angry": Bearing(size=1.6, pitch=3.0, blinks=0.7),
    "contempt": Bearing(size=0.8, pitch=-4.0, roll=4.0),
    "disgusted": Bearing(size=1.0, pitch=-3.0, roll=-3.0, blinks=1.2),
    "fear": Bearing(size=1.2, pitch=-2.0, blinks=0.6),
    "happy": Bearing(size=1.6, pitch=-1.0, roll=2.0, blinks=1.1),
    "sad": Bearing(size=0.55, pitch=7.0, roll=-2.0, blinks=0.8),
    "surprised": Bearing(size=1.3, pitch=-4.0, blinks=0.8),
}


@dataclass(frozen=True)
class Motion:
    """``angle`` ``(T, 3)`` radians and ``trans`` ``(T, 3)``, both to be added to the portrait's own; ``blink`` ``(T,)``, 0..1."""

    angle: np.ndarray
    trans: np.ndarray
    blink: np.ndarray


@dataclass(frozen=True)
class MotionStyle:
    """How lively one person is, how often they nod on a stress, and how often they blink (a minute)."""

    size: float = 1.0
    nods: float = 0.5
    blinks: float = 17.0

    @staticmethod
    def draw(rng: np.random.Generator) -> MotionStyle:
        size, nods, rate = float(np.exp(rng.normal(0.0, 0.2))), float(rng.uniform(0.3, 0.7)), float(rng.normal(17.0, 4.0))
        return MotionStyle(size, nods, min(max(rate, 8.0), 28.0))


def move(
    emotion: str, level: float | None, frames: int, stresses: Sequence[float], style: MotionStyle, rng: np.random.Generator
) -> Motion:
    """Motion for a clip.

    Args:
        level: None for neutral.
        frames: T.
        stresses: seconds at which stressed syllables sound.
    """
    amount = 0.0 if level is None else float(level) / LEVEL_MAX
    bearing = BEARINGS[emotion]
    size = style.size * bearing.size**amount
    angle = drift(rng, frames, 3) * SPREAD * size
    trans = drift(rng, frames, 3) * SWAY * size
    times = (np.arange(frames) + 0.5) / FPS
    for stress in stresses:
        if rng.random() < style.nods:
            width = rng.uniform(0.10, 0.16)
            angle[:, 0] += NOD * size * rng.uniform(0.5, 1.2) * np.exp(-0.5 * ((times - stress - 0.04) / width) ** 2)
    angle[:, 0] += np.radians(bearing.pitch) * amount
    angle[:, 2] += np.radians(bearing.roll) * amount
    trans[:, 0] += 0.12 * angle[:, 1]
    blink = blinks(rng, frames, style.blinks * (1.0 + amount * (bearing.blinks - 1.0)))
    return Motion(angle.astype(np.float32), trans.astype(np.float32), blink)


def drift(rng: np.random.Generator, frames: int, width: int) -> np.ndarray:
    """1/f noise below 2 Hz, ``(T, width)``, unit spread in the long run, limited to 2.5."""
    length = max(16 * FPS, 2 * frames)
    frequency = np.fft.rfftfreq(length, 1.0 / FPS)
    shape = 1.0 / np.maximum(frequency, 0.15) * np.exp(-((frequency / CUTOFF_HZ) ** 4))
    shape[0] = 0.0
    spectrum = (rng.standard_normal((len(frequency), width)) + 1j * rng.standard_normal((len(frequency), width))) * shape[:, None]
    noise = np.fft.irfft(spectrum, length, axis=0)
    start = int(rng.integers(0, length - frames + 1))
    return np.clip(noise / noise.std(axis=0), -2.5, 2.5)[start : start + frames]


def blinks(rng: np.random.Generator, frames: int, per_minute: float) -> np.ndarray:
    """Eyelid closure ``(T,)`` 0..1: gaps from a gamma law of shape 2, at least 0.6 s apart; 80 ms down, 170 ms up."""
    times, lid = (np.arange(frames) + 0.5) / FPS, np.zeros(frames)
    mean_gap = max(60.0 / per_minute - 0.6, 0.3)
    at = rng.uniform(0.0, 60.0 / per_minute)
    while at < frames / FPS + 0.2:
        fall, rise = rng.uniform(0.07, 0.09), rng.uniform(0.15, 0.2)
        phase = np.where(times < at, (times - at) / fall, np.maximum(times - at - 0.03, 0.0) / rise)
        lid = np.maximum(lid, np.clip(1.0 - np.abs(phase), 0.0, 1.0))
        at += 0.6 + rng.gamma(2.0, mean_gap / 2.0)
    return (lid * lid * (3.0 - 2.0 * lid)).astype(np.float32)
