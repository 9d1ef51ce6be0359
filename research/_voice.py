"""What ``--level-from-voice`` reads of a voice: does a strongly spoken half of a recording stand
out from a normal one?
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._shared import mean_cell
from emo_lightning.core.constants import SAMPLES_PER_FRAME
from emo_lightning.inference.voice_intensity import VoiceIntensity
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import log_mel

SPEECH_DB = 25.0
"""Frames within this of their own recording's loudest twentieth are speech."""
LOUD = ("angry", "happy", "fear", "surprised")
SOFT = "sad"


def table(places: Sequence[tuple[str, Path]]) -> None:
    """Print one row a set of recordings."""
    print("\nVoice: two recordings of one speaker and sentence joined, both ways round, and brought to one level together. Strength "
          "(-1..1, the share of the band) over frames of speech; mean [95 % interval over pairs].\n")  # fmt: skip
    print(
        "| set | pairs | stronger half | weaker half | stronger is above | largest step of a frame "
        "|\n|---|" + "---:|" * 5
    )
    for name, place in places:
        rows = np.array([compare(weak, strong) for weak, strong in pairs(place)])
        if len(rows):
            strong, weak = rows[:, 0], rows[:, 1]
            cells = [
                mean_cell(strong),
                mean_cell(weak),
                mean_cell(strong > weak),
                f"{rows[:, 2].max():.2f}",
            ]
            print(f"| {name} | {len(rows)} | {' | '.join(cells)} |", flush=True)


def pairs(place: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weaker and stronger recordings.

    Of real voices the same emotion at the lowest and the highest intensity; of the embedded corpus
    neutral and a loud feeling, sad and neutral, for its clips share no sentence at two levels of
    one.
    """
    from datamodules.shards.reader import iter_samples

    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for sample in iter_samples(place, None, ("wave",)):
        groups[sample.meta.speaker, sample.meta.sentence].append(sample)
    for group in groups.values():
        for weak, strong in itertools.permutations(group, 2):
            if _stronger(weak.meta, strong.meta):
                yield weak.wave, strong.wave


def _stronger(weak: Any, strong: Any) -> bool:
    """Whether the second is known to be spoken more strongly than the first."""
    if weak.source == "corpus":
        loud = weak.emotion == "neutral" and strong.emotion in LOUD and strong.intensity > 1
        return loud or (weak.emotion == SOFT and weak.intensity > 1 and strong.emotion == "neutral")
    return weak.emotion == strong.emotion and (weak.intensity or 0) < (strong.intensity or 0)


def compare(weak: np.ndarray, strong: np.ndarray) -> tuple[float, float, float]:
    """Mean strength of the strong and of the weak part over both orders, and the largest change
    from frame to frame.
    """
    sums, steps = np.zeros(2), []
    for first, second, place in ((strong, weak, 0), (weak, strong, 1)):
        wave = levelled(np.concatenate([_whole(first), _whole(second)]))
        strength, border = (
            VoiceIntensity().add(log_mel(wave)),
            len(_whole(first)) // SAMPLES_PER_FRAME,
        )
        speech = np.concatenate([_speech(_whole(part)) for part in (first, second)])
        halves = [
            strength[:border][speech[:border]].mean(),
            strength[border:][speech[border:]].mean(),
        ]
        sums += [halves[place], halves[1 - place]]
        steps.append(np.abs(np.diff(strength)).max())
    return float(sums[0] / 2), float(sums[1] / 2), float(max(steps))


def _whole(wave: np.ndarray) -> np.ndarray:
    return wave[: len(wave) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]


def _speech(wave: np.ndarray) -> np.ndarray:
    """Which frames are speech."""
    power = np.square(wave.astype(np.float64)).reshape(-1, SAMPLES_PER_FRAME).mean(axis=1)
    level = 10 * np.log10(power + 1e-12)
    return level > np.percentile(level, 95) - SPEECH_DB
