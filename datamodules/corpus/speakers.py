"""The corpus's speakers: a voice, a face and styles of acting and moving, sampled from the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.corpus.emotion_acting import ActingStyle
from datamodules.corpus.heads import HeadAppearance, paint_head
from datamodules.corpus.motion import MotionStyle
from datamodules.corpus.prosody import VocalStyle
from datamodules.corpus.speech import Voice
from datamodules.corpus.visemes import ArticulationStyle
from emo_lightning.face.portrait import Portrait, load_portrait

VOICES: tuple[tuple[Voice, float], ...] = (
    (Voice("hibari", "heart"), 0.0),
    (Voice("espeak", "en-us+m3"), 1.0),
    (Voice("hibari", "heart", -9.0, 0.86, 0.97), 1.0),
    (Voice("espeak", "en-us+f2"), 0.0),
    (Voice("espeak", "en-gb-x-rp+m7"), 1.0),
    (Voice("hibari", "heart", 2.0, 1.06, 1.06), 0.0),
    (Voice("espeak", "en-gb-x-rp+f4"), 0.0),
    (Voice("hibari", "heart", -7.0, 0.90, 1.04), 1.0),
    (Voice("espeak", "en-us+Michael"), 1.0),
    (Voice("hibari", "heart", -2.5, 0.95, 0.93), 0.0),
    (Voice("espeak", "en-us+linda"), 0.0),
    (Voice("espeak", "en-gb-scotland+m1"), 1.0),
    (Voice("hibari", "heart", -11.0, 0.83, 0.92), 1.0),
    (Voice("espeak", "en-us+Andrea"), 0.0),
    (Voice("espeak", "en-us+m8"), 1.0),
    (Voice("hibari", "heart", 3.5, 1.10, 1.0), 0.0),
)
"""Voice, and 1 for a masculine one, which the face follows."""
MAX_SPEAKERS = len(VOICES)


@dataclass(frozen=True)
class CorpusSpeaker:
    """One person; ``portrait`` is the user's picture, or None for a painted head."""

    name: str
    split: str
    voice: Voice
    appearance: HeadAppearance
    vocal: VocalStyle
    lips: ArticulationStyle
    acting: ActingStyle
    motion: MotionStyle
    seed: int
    portrait: Path | None = None

    def face(self, size: int) -> Portrait:
        """The portrait to animate, ``size`` pixels square."""
        if self.portrait is not None:
            return load_portrait(self.portrait, size, "--portrait")
        return paint_head(self.appearance, size, self.seed)


def cast(count: int, seed: int, portraits: Sequence[Path] = ()) -> list[CorpusSpeaker]:
    """``count`` people with painted heads and one more for each picture.

    The last eighth (at least one) of the painted ones is for test, the eighth before it for val;
    the rest and the pictures are for train. Apart from the split, a person does not depend on
    ``count``.
    """
    held_out = max(1, round(count / 8)) if count >= 3 else 0
    splits = ["train"] * (count - 2 * held_out) + ["val"] * held_out + ["test"] * held_out
    people = [
        _sample_speaker(index, f"s{index:02d}", split, seed) for index, split in enumerate(splits)
    ]
    for index, path in enumerate(portraits):
        people.append(_sample_speaker(index, f"p{index:02d}", "train", seed + 1, path))
    return people


def _sample_speaker(
    index: int, name: str, split: str, seed: int, portrait: Path | None = None
) -> CorpusSpeaker:
    voice, masculine = VOICES[index % MAX_SPEAKERS]
    rng = np.random.default_rng([seed, 1, index])
    styles = (
        HeadAppearance.sample(rng, masculine),
        VocalStyle.sample(rng),
        ArticulationStyle.sample(rng),
        ActingStyle.sample(rng),
        MotionStyle.sample(rng),
    )
    return CorpusSpeaker(name, split, voice, *styles, int(rng.integers(1 << 31)), portrait)
