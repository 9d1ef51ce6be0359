"""How a feeling sounds: emotion and level to :class:`~datamodules.corpus.speech.Prosody`.

Directions follow the review of Juslin & Laukka (*Communication of emotions in vocal expression and music performance*,
Psychological Bulletin 2003, table 7): anger loud, fast, bright; sadness slow, soft, low, dull; joy high and wide; fear
high, fast, shaky; surprise high, wide, rising. Sizes are ours. Every quantity moves in proportion to the level, so the
sound orders the levels as the face does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from datamodules.corpus.speech import Prosody
from emo_lightning.emotions import LEVEL_MAX

FULL: Mapping[str, Prosody] = {
    "neutral": Prosody(),
    "angry": Prosody(semitones=2.5, span=1.4, rise=-1.0, rate=1.15, gain_db=8.0, tilt_db=2.5),
    "contempt": Prosody(semitones=-2.0, span=0.6, rise=-2.0, rate=0.92, gain_db=-2.0, tilt_db=-0.5),
    "disgusted": Prosody(semitones=-2.5, span=0.85, rise=-1.5, rate=0.82, gain_db=-0.5, tilt_db=0.8, breath=0.1),
    "fear": Prosody(semitones=5.0, span=0.9, rise=1.0, rate=1.22, gain_db=1.0, tilt_db=0.7, breath=0.2, tremor=0.035),
    "happy": Prosody(semitones=3.5, span=1.7, rise=1.0, rate=1.08, gain_db=4.0, tilt_db=1.2),
    "sad": Prosody(semitones=-1.5, span=0.45, rise=-1.5, rate=0.78, gain_db=-7.0, tilt_db=-2.5, breath=0.1, tremor=0.008),
    "surprised": Prosody(semitones=4.5, span=1.9, rise=6.0, rate=1.03, gain_db=4.0, tilt_db=0.8),
}
"""At level 15. ``span`` and ``rate`` are factors and grow geometrically, the rest in proportion."""
FACTORS = ("span", "rate")


@dataclass(frozen=True)
class VocalStyle:
    """One person's way: how strongly each quantity reacts to feeling (by name, about 1) and their own resting manner."""

    gains: Mapping[str, float]
    resting: Prosody

    @staticmethod
    def draw(rng: np.random.Generator) -> VocalStyle:
        names = [f.name for f in fields(Prosody)]
        gains = {name: float(np.exp(rng.normal(0.0, 0.15))) for name in names}
        resting = Prosody(
            span=float(np.exp(rng.normal(0.0, 0.12))), gain_db=float(rng.normal(0.0, 1.5)), tilt_db=float(rng.normal(0.0, 0.5))
        )
        return VocalStyle(gains, resting)


def prosody_for(emotion: str, level: float | None, style: VocalStyle | None = None) -> Prosody:
    """How ``emotion`` at ``level`` (None or any for neutral) sounds from a person with ``style``."""
    amount = 0.0 if emotion == "neutral" or level is None else float(level) / LEVEL_MAX
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
