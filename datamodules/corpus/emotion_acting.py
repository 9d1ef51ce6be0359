"""Expression curves of an acted emotion, and their combination with speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from datamodules.corpus.visemes import Articulation
from emo_lightning.core.constants import FPS
from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.motion.emotions import LEVEL_MAX, prototype_exp

CEILING = 1.2
"""No unit goes beyond FACS grade E by more than a fifth."""
HABITS: Mapping[str, float] = {
    "AU1_L": 0.03,
    "AU1_R": 0.03,
    "AU4": 0.05,
    "AU7": 0.06,
    "AU12_L": 0.04,
    "AU12_R": 0.04,
    "AU17": 0.04,
}
"""Units a resting face may hold a little, and the spread of how much."""
YIELD_TO_CLOSURE: Mapping[str, float] = {
    "AU25": 1.0, "AU26": 1.0, "AU16": 1.0, "AU10": 1.0, "funnel": 1.0, "AU9": 0.6,
    "AU12_L": 0.15, "AU12_R": 0.15, "AU20": 0.3,
}  # fmt: skip
"""Share of a unit that is suppressed while the lips must touch."""
YIELD_TO_ROUNDING: Mapping[str, float] = {
    "AU12_L": 0.35,
    "AU12_R": 0.35,
    "AU20": 0.5,
    "AU15": 0.2,
    "AU23": 0.3,
}
"""Share of an emotion's unit that is suppressed at full pucker."""
MOUTH_EMOTION = 0.85
"""How much of the mouth's own emotion stays while speaking; eyes and brows keep all."""
OPEN_EMOTION = 0.25
"""Share of an emotion's own parting of the lips (AU25 and AU26) that stays while speaking: with
more, closures make the lips jump."""
LIFT, BROW_LEAD, BROW_WIDTH = 0.14, 0.06, 0.11
"""Brow movement on stresses: size, seconds before the middle of the vowel, and half its width.
People raise their brows a little before pitch accents (Flecha-Garcia, Speech Communication 52,
2010)."""
STRESS_GAIN = 0.12
"""Gain of an emotion's eyes and brows on a stress."""
FROWNS = ("angry", "disgusted")
"""Where stress knits the brows further in place of raising them."""
MOUTH_UNITS = (
    "AU10", "AU12_L", "AU12_R", "AU14_L", "AU14_R", "AU15", "AU16", "AU17", "AU20", "AU23", "AU25",
    "AU26", "press",
)  # fmt: skip
OPENING = ("AU25", "AU26")


def _of_units(*units: str) -> np.ndarray:
    """``(28,)`` float32: 1 for directions of these units, on either side."""
    return np.array([name.partition("_")[0] in units for name in EXP_NAMES], np.float32)


UPPER = _of_units("AU1", "AU2", "AU4", "AU5", "AU6", "AU7")
BROWS = _of_units("AU1", "AU2", "AU4")


@dataclass(frozen=True)
class ActingStyle:
    """One person's expressiveness: gains ``(28,)``, and units of the resting face ``(28,)``."""

    gains: np.ndarray
    resting: np.ndarray

    @staticmethod
    def plain() -> ActingStyle:
        return ActingStyle(
            np.ones(len(EXP_NAMES), np.float32), np.zeros(len(EXP_NAMES), np.float32)
        )

    @staticmethod
    def sample(rng: np.random.Generator) -> ActingStyle:
        by_unit: dict[str, float] = {}
        overall, gains, resting = float(np.exp(rng.normal(0.0, 0.06))), [], []
        for name in EXP_NAMES:
            unit = name.removesuffix("_L").removesuffix("_R")
            if unit not in by_unit:
                by_unit[unit] = float(np.exp(np.clip(rng.normal(0.0, 0.1), -0.2, 0.2)))
            side = float(np.exp(rng.normal(0.0, 0.05))) if unit != name else 1.0
            gains.append(overall * by_unit[unit] * side)
            resting.append(abs(float(rng.normal(0.0, HABITS[name]))) if name in HABITS else 0.0)
        return ActingStyle(np.array(gains, np.float32), np.array(resting, np.float32))


def acted_emotion(
    emotion: str,
    level: float | None,
    frames: int,
    style: ActingStyle,
    rng: np.random.Generator,
    stresses: Sequence[float] = (),
) -> np.ndarray:
    """The emotion alone: its prototype in proportion to the level, varied over the clip.

    It starts at 85 %, is full after half a second, and wavers by some per cent as a held expression
    does, each unit a little on its own; brows and eyes accompany the stresses of the speech.

    Args:
        level: 1..15; None for neutral.
        frames: T.
        stresses: seconds.

    Returns:
        ``(T, 28)``, without the resting face.
    """
    target = (
        prototype_exp(emotion, EXP_NAMES)
        * style.gains
        * (0.0 if level is None else float(level) / LEVEL_MAX)
    )
    together = _waver(rng, frames, 1)
    apart = _waver(rng, frames, len(EXP_NAMES))
    ramp = np.clip(np.arange(frames) / (0.5 * FPS), 0.0, 1.0)
    onset = 0.85 + 0.15 * ramp * ramp * (3.0 - 2.0 * ramp)
    beat = emphasis(rng, frames, stresses)[:, None]
    alive = 1.0 + 0.06 * together + 0.04 * apart + STRESS_GAIN * beat * UPPER
    brows = prototype_exp("angry" if emotion in FROWNS else "surprised", EXP_NAMES) * BROWS
    return (target * onset[:, None] * alive + LIFT * beat * style.gains * brows).astype(np.float32)


def emphasis(rng: np.random.Generator, frames: int, stresses: Sequence[float]) -> np.ndarray:
    """How far the brows go with the stresses ``(T,)``, 0..1; some stresses more than others."""
    time = (np.arange(frames) + 0.5) / FPS
    strength = rng.uniform(0.4, 1.0, len(stresses))
    bumps = [
        s * np.exp(-0.5 * ((time - (t - BROW_LEAD)) / BROW_WIDTH) ** 2)
        for t, s in zip(stresses, strength, strict=True)
    ]
    return np.max(bumps, axis=0) if bumps else np.zeros(frames)


def combine(speech: Articulation, emotion: np.ndarray, resting: np.ndarray) -> np.ndarray:
    """Speech and emotion on one face.

    ``exp = clip(resting + emotion * (1 - suppressed) + speech, 0, 1.2)``: the sum, where the
    emotion's mouth keeps 85 % and its parting of the lips 25 %, both suppressed further by rounding
    (the pucker) and closures, and where a dropped jaw that may not part the lips becomes ``jaw``,
    which lowers it behind closed lips.

    Args:
        emotion: ``(T, 28)``; resting: ``(28,)``.

    Returns:
        ``(T, 28)``.
    """
    gate = np.maximum(speech.closure, 0.75 * speech.contact)
    shown = resting + emotion
    pucker = np.clip(speech.exp[:, EXP_NAMES.index("pucker")], 0.0, 1.0)
    speaking = _speaking(speech)
    for index, name in enumerate(EXP_NAMES):
        if name in MOUTH_UNITS:
            shown[:, index] *= (
                1.0 - (1.0 - (OPEN_EMOTION if name in OPENING else MOUTH_EMOTION)) * speaking
            )
        shown[:, index] *= 1.0 - YIELD_TO_ROUNDING.get(name, 0.0) * pucker
    withheld = shown[:, EXP_NAMES.index("AU26")] * gate
    for name, share in YIELD_TO_CLOSURE.items():
        shown[:, EXP_NAMES.index(name)] *= 1.0 - share * gate
    exp = shown + speech.exp
    exp[:, EXP_NAMES.index("jaw")] += 0.6 * withheld
    # A nose wrinkle draws at the upper lip; pressing holds it where the lips must touch.
    exp[:, EXP_NAMES.index("press")] += 0.4 * exp[:, EXP_NAMES.index("AU9")] * speech.closure
    return np.clip(exp, 0.0, CEILING).astype(np.float32)


def _speaking(speech: Articulation) -> np.ndarray:
    """Speech activity of the mouth, 0..1, smoothed over a fifth of a second."""
    busy = speech.exp[:, [EXP_NAMES.index("AU25"), EXP_NAMES.index("pucker")]].max(axis=1)
    busy = np.maximum(np.clip(busy / 0.3, 0.0, 1.0), np.maximum(speech.closure, speech.contact))
    return gaussian_filter1d(busy, 0.12 * FPS)


def _waver(rng: np.random.Generator, frames: int, width: int) -> np.ndarray:
    """Slow noise ``(T, width)`` of unit spread, correlated over about half a second."""
    margin = 3 * FPS
    noise = gaussian_filter1d(rng.standard_normal((frames + 2 * margin, width)), 0.4 * FPS, axis=0)[
        margin : margin + frames
    ]
    return np.clip(noise * np.sqrt(2.0 * 0.4 * FPS * np.sqrt(np.pi)), -2.0, 2.0)
