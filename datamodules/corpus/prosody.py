"""Vocal expression: emotion and level to :class:`~datamodules.corpus.speech.Prosody`.

Directions follow the review of Juslin & Laukka (*Communication of emotions in vocal expression and
music performance*, Psychological Bulletin 2003, table 7): anger loud, fast, bright, harsh; sadness
slow, soft, low, dull, decaying; joy high, wide, bright; fear high, fast, shaky, breathy. Surprise
high, wide, rising; disgust low, slow, throaty; contempt low, flat, nasal, after Scherer (*Vocal
affect expression*, Psychological Bulletin 1986). Sizes are ours. Every quantity moves with the
level, so the audio orders the levels as the face does; it rises faster at first (:data:`GROWTH`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from datamodules.corpus.speech import Prosody
from emo_lightning.motion.emotions import LEVEL_MAX

_NAMES = (
    "semitones", "span", "rise", "rate", "gain_db", "tilt_db", "breath", "tremor", "waver", "rough",
    "ring_db", "nasal_db", "swell_db",
)  # fmt: skip
FULL: Mapping[str, Prosody] = {
    emotion: Prosody(**dict(zip(_NAMES, row, strict=True)))
    for emotion, *row in (
        ("neutral", 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        ("angry", 2.5, 1.4, -1.0, 1.15, 8.0, 3.5, 0.0, 0.0, 0.0, 0.6, 2.0, 0.0, 0.0),
        ("contempt", -2.5, 0.55, -2.0, 0.92, -2.0, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 11.0, -4.0),
        ("disgusted", -3.0, 0.85, -1.5, 0.82, -0.5, 0.0, 0.1, 0.0, 0.0, 0.8, -9.0, 0.0, 0.0),
        ("fear", 5.0, 0.9, 1.0, 1.22, 1.0, 0.7, 0.7, 0.045, 0.5, 0.0, 0.0, 0.0, 0.0),
        ("happy", 3.5, 1.7, 1.0, 1.08, 4.0, 1.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0, 0.0),
        ("sad", -1.5, 0.45, -1.5, 0.78, -7.0, -4.5, 0.1, 0.008, 0.2, 0.0, 0.0, 0.0, -5.0),
        ("surprised", 6.0, 2.0, 6.0, 1.03, 4.0, -2.0, 0.4, 0.0, 0.0, 0.0, 0.0, -7.0, 8.0),
    )
}
"""At level 15. ``span`` and ``rate`` are factors and grow geometrically, the rest in proportion."""
GROWTH = 0.5
"""The share of :data:`FULL` at a level is (level / 15) to this power."""
FACTORS = ("span", "rate")


@dataclass(frozen=True)
class VocalStyle:
    """One person's gain of each quantity (by name, about 1), and their neutral prosody."""

    gains: Mapping[str, float]
    resting: Prosody

    @staticmethod
    def sample(rng: np.random.Generator) -> VocalStyle:
        names = [f.name for f in fields(Prosody)]
        gains = {name: float(np.exp(rng.normal(0.0, 0.15))) for name in names}
        resting = Prosody(
            span=float(np.exp(rng.normal(0.0, 0.12))),
            gain_db=float(rng.normal(0.0, 1.5)),
            tilt_db=float(rng.normal(0.0, 0.5)),
        )
        return VocalStyle(gains, resting)


def prosody_for(emotion: str, level: float | None, style: VocalStyle | None = None) -> Prosody:
    """Prosody of an emotion at a level (None for neutral) in a person's style."""
    amount = 0.0 if emotion == "neutral" or level is None else (float(level) / LEVEL_MAX) ** GROWTH
    full, values = FULL[emotion], {}
    for field in fields(Prosody):
        gain = 1.0 if style is None else style.gains[field.name]
        value, neutral = getattr(full, field.name), getattr(Prosody(), field.name)
        rest = neutral if style is None else getattr(style.resting, field.name)
        if field.name in FACTORS:
            values[field.name] = rest * value ** (amount * gain)
        else:
            values[field.name] = rest + amount * gain * value
    return Prosody(**values)
