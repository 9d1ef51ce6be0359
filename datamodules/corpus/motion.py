"""Head motion, sway and blinks of a talking person.

Heads move nearly all the time while somebody talks, from posture shifts below 0.2 Hz to quick
movements of up to 7 Hz (Hadar et al., *Human Movement Science* 2, 1983): noise whose power falls as
f^-2 from 0.08 Hz on, rolled off above 6 Hz, some degrees wide. Quick movements mark stresses and
peaks of loudness (Hadar et al., *Adv. Neurology* 42, 1984; Munhall et al., *Psychological Science*
15, 2004): a nod on some of the stressed syllables. Emotion changes extent and speed: anger and joy
move most, neutral talk least, sadness slowly (Busso et al., *IEEE Trans. Audio, Speech, Language*
15, 2007; Livingstone & Palmer, *Emotion* 16, 2016); and posture: bowed in sadness, raised in
contempt (Witkower & Tracy, *Emotion Review* 11, 2019). The nasion is before and above the joint
that the head turns on, so rotation shifts it. Sizes are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emo_lightning.core.constants import FPS
from emo_lightning.motion.blinking import BLINKS_PER_MINUTE, BlinkProcess
from emo_lightning.motion.emotions import EMOTIONS, LEVEL_MAX, NEUTRAL

KNEE_HZ, SLOPE, ROLL_OFF_HZ = 0.08, 2.0, 6.0
LONG = 30 * FPS
"""Least frames of noise from which a clip is cut, so that it has slow movements."""
SPREAD = np.radians((2.4, 2.9, 1.9))
"""Standard deviation of pitch, yaw and roll in neutral talk in the long run, radians."""
SWAY = np.array((0.022, 0.014, 0.009))
"""Standard deviation of tx, ty (crop units) and log scale beyond what turns bring."""
NOD = np.radians(2.6)
LEVER = {"yaw": 0.6, "pitch": 0.5, "roll": 0.7}
"""Crop units by which one radian shifts the nasion, 10 cm before and 12 cm above the joint."""


@dataclass(frozen=True)
class Posture:
    """At level 15: factors on extent and on speed above 1 Hz; held pitch and roll in degrees."""

    size: float = 1.0
    quick: float = 1.0
    pitch: float = 0.0
    roll: float = 0.0


POSTURES: Mapping[str, Posture] = {
    "neutral": Posture(),
    "angry": Posture(size=1.45, quick=1.8, pitch=3.0),
    "contempt": Posture(size=0.9, quick=0.9, pitch=-4.0, roll=4.0),
    "disgusted": Posture(size=1.1, quick=1.1, pitch=-3.0, roll=-3.0),
    "fear": Posture(size=1.15, quick=1.4, pitch=-2.0),
    "happy": Posture(size=1.45, quick=1.6, pitch=-1.0, roll=2.0),
    "sad": Posture(size=0.85, quick=0.55, pitch=6.0, roll=-2.0),
    "surprised": Posture(size=1.2, quick=1.4, pitch=-4.0),
}


@dataclass(frozen=True)
class Motion:
    """Offsets ``angle (T, 3)`` in radians, ``trans (T, 3)`` from the portrait; ``blink (T,)``."""

    angle: np.ndarray
    trans: np.ndarray
    blink: np.ndarray


@dataclass(frozen=True)
class MotionStyle:
    """One person's extent of motion, share of stresses with a nod, and blinks a minute."""

    size: float = 1.0
    nods: float = 0.5
    blinks: float = BLINKS_PER_MINUTE

    @staticmethod
    def sample(rng: np.random.Generator) -> MotionStyle:
        size, nods = float(np.exp(rng.normal(0.0, 0.2))), float(rng.uniform(0.4, 0.8))
        rate = float(rng.normal(BLINKS_PER_MINUTE, 5.0))
        return MotionStyle(size, nods, min(max(rate, 10.5), 32.5))


def head_motion(
    emotion: str,
    level: float | None,
    frames: int,
    stresses: Sequence[float],
    style: MotionStyle,
    rng: np.random.Generator,
) -> Motion:
    """Motion for a clip.

    Args:
        level: None for neutral.
        frames: T.
        stresses: seconds at which stressed syllables sound.
    """
    amount = 0.0 if level is None else float(level) / LEVEL_MAX
    posture = POSTURES[emotion]
    size, quick = style.size * posture.size**amount, posture.quick**amount
    noise = drift(rng, frames, 6, quick / posture.size**amount)
    angle = noise[:, :3] * SPREAD * size
    trans = noise[:, 3:] * SWAY * size
    times = (np.arange(frames) + 0.5) / FPS
    for stress in stresses:
        if rng.random() < style.nods:
            width = rng.uniform(0.09, 0.15)
            bump = np.exp(-0.5 * ((times - stress - 0.04) / width) ** 2)
            angle[:, 0] += NOD * style.size * quick * rng.uniform(0.4, 1.2) * bump
    angle[:, 0] += np.radians(posture.pitch) * amount
    angle[:, 2] += np.radians(posture.roll) * amount
    trans[:, 0] += LEVER["yaw"] * np.sin(angle[:, 1]) + LEVER["roll"] * np.sin(angle[:, 2])
    trans[:, 1] += LEVER["pitch"] * np.sin(angle[:, 0])
    shares = np.zeros((frames, len(EMOTIONS)))
    shares[:, EMOTIONS.index(emotion)] = amount
    shares[:, NEUTRAL] += 1.0 - amount
    return Motion(
        angle.astype(np.float32),
        trans.astype(np.float32),
        BlinkProcess(rng, style.blinks).closures(shares),
    )


def drift(rng: np.random.Generator, frames: int, width: int, quick: float = 1.0) -> np.ndarray:
    """Noise with a head's spectrum, ``(T, width)``; unit variance for ``quick`` 1, clipped at 2.5.

    ``quick`` scales what is faster than about 1 Hz.
    """
    length = max(LONG, 2 * frames)
    frequency = np.fft.rfftfreq(length, 1.0 / FPS)
    shape = (KNEE_HZ**2 + frequency**2) ** (-SLOPE / 4.0) * np.exp(
        -((frequency / ROLL_OFF_HZ) ** 2) / 2.0
    )
    shape[0] = 0.0
    total = np.sqrt((shape**2).sum())
    shape = shape * (1.0 + (quick - 1.0) * frequency**2 / (1.0 + frequency**2))
    spectrum = (
        rng.standard_normal((len(frequency), width))
        + 1j * rng.standard_normal((len(frequency), width))
    ) * shape[:, None]
    noise = np.fft.irfft(spectrum, length, axis=0) * length / (2.0 * total)
    start = int(rng.integers(0, length - frames + 1))
    return np.clip(noise, -2.5, 2.5)[start : start + frames]
