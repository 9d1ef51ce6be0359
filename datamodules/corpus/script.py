"""The script: speaker, sentence, emotion and level of every clip, balanced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.corpus.sentences import HELD_OUT, TRAIN
from datamodules.corpus.speakers import CorpusSpeaker
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL

LEVELS = 15


@dataclass(frozen=True)
class Line:
    """One clip: ``level`` is 1..15, None for neutral; ``speaker`` an index into the cast."""

    number: int
    speaker: int
    sentence: str
    emotion: str
    level: int | None

    @property
    def intensity(self) -> int | None:
        """Annotated intensity: 1, 2, 3 for levels 1-5, 6-10, 11-15."""
        return None if self.level is None else (self.level - 1) // 5 + 1


def write_script(cast: Sequence[CorpusSpeaker], clips: int, seed: int) -> list[Line]:
    """``clips`` lines, dealt to the speakers in turn.

    Each speaker repeats all eight emotions, in a new order every time: with one sentence for all,
    then with eight different ones, and so on. Levels are dealt from shuffled decks of 1..15, one
    for each split and emotion, so no level is rarer than another by more than one.
    """
    rng = np.random.default_rng([seed, 2])
    pools = {"train": TRAIN, "val": HELD_OUT[::2], "test": HELD_OUT[1::2]}
    shuffled = {split: rng.permutation(pool).tolist() for split, pool in pools.items()}
    drawn = dict.fromkeys(shuffled, 0)
    decks: dict[tuple[str, str], list[int]] = {}
    orders = [list[int]() for _ in cast]
    said: list[str] = [""] * len(cast)
    lines = []
    for number in range(clips):
        who, turn = number % len(cast), number // len(cast)
        split = cast[who].split
        if not orders[who]:
            orders[who] = rng.permutation(len(EMOTIONS)).tolist()
        if turn % len(EMOTIONS) == 0 or (turn // len(EMOTIONS)) % 2 == 1:
            said[who] = shuffled[split][drawn[split] % len(shuffled[split])]
            drawn[split] += 1
        emotion = orders[who].pop(0)
        level = None
        if emotion != NEUTRAL:
            deck = decks.setdefault((split, EMOTIONS[emotion]), [])
            if not deck:
                deck.extend(int(level) + 1 for level in rng.permutation(LEVELS))
            level = deck.pop()
        lines.append(Line(number, who, said[who], EMOTIONS[emotion], level))
    return lines
