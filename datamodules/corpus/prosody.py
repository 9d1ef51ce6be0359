"""How a feeling sounds: emotion and level to :class:`~datamodules.corpus.speech.Prosody`.

Directions follow the review of Juslin & Laukka (*Communication of emotions in vocal expression and music performance*,
Psychological Bulletin 2003, table 7): anger loud, fast, bright, harsh; sadness slow, soft, low, dull, dying away; joy high,
wide, bright; fear high, fast, shaky, breathy. Surprise high, wide, rising; disgust low, slow and throaty; contempt low, flat,
through the nose, as Scherer (*Vocal affect expression*, Psychological Bulletin 1986) expects of them. Sizes are ours. Every
quantity moves with the level, so the sound orders the levels as the face does; it starts faster than it ends
(:data:`GROWTH`), since a voice betrays a feeling that the face hardly shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from datamodules.corpus.speech import Prosody
from emo_lightning.motion.emotions import LEVEL_MAX

FULL: Mapping[str, Prosody] = {
    "neutral": Prosody(),
    "angry": Prosody(
        semitones=2.5,
        span=1.4,
        rise=-1.0,
        rate=1.15,
        gain_db=8.0,
        tilt_db=3.5,
        rough=0.6,
        ring_db=2.0,
    ),
    "contempt": Prosody(
        semitones=-2.5,
        span=0.55,
        rise=-2.0,
        rate=0.92,
        gain_db=-2.0,
        tilt_db=-0.5,
        nasal_db=11.0,
        swell_db=-4.0,
    ),
    "disgusted": Prosody(
        semitones=-3.0,
        span=0.85,
        rise=-1.5,
        rate=0.82,
        gain_db=-0.5,
        rough=0.8,
        ring_db=-9.0,
        breath=0.1,
    ),
    "fear": Prosody(
        semitones=5.0,
        span=0.9,
        rise=1.0,
        rate=1.22,
        gain_db=1.0,
        tilt_db=0.7,
        breath=0.7,
        tremor=0.045,
        waver=0.5,
    ),
    "happy": Prosody(
        semitones=3.5, span=1.7, rise=1.0, rate=1.08, gain_db=4.0, tilt_db=1.0, ring_db=10.0
    ),
    "sad": Prosody(
        semitones=-1.5,
        span=0.45,
        rise=-1.5,
        rate=0.78,
        gain_db=-7.0,
        tilt_db=-4.5,
        breath=0.1,
        tremor=0.008,
        waver=0.2,
        swell_db=-5.0,
    ),
    "surprised": Prosody(
        semitones=6.0,
        span=2.0,
        rise=6.0,
        rate=1.03,
        gain_db=4.0,
        tilt_db=-2.0,
        breath=0.4,
        nasal_db=-7.0,
        swell_db=8.0,
    ),
}
"""At level 15. ``span`` and ``rate`` are factors and grow geometrically, the rest in proportion."""
GROWTH = 0.5
"""The share of :data:`FULL` at a level is (level / 15) to this power; at 1 a voice at level 3 can hardly be told from neutral."""
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
            span=float(np.exp(rng.normal(0.0, 0.12))),
            gain_db=float(rng.normal(0.0, 1.5)),
            tilt_db=float(rng.normal(0.0, 0.5)),
        )
        return VocalStyle(gains, resting)


def prosody_for(emotion: str, level: float | None, style: VocalStyle | None = None) -> Prosody:
    """How ``emotion`` at ``level`` (None or any for neutral) sounds from a person with ``style``."""
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
