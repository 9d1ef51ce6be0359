"""Fit of lip opening and width for each viseme class, on video whose words have known times.

    python -m tools.fit_visemes SHARDS [SHARDS ...] [--strength 1000]

SHARDS is written by ``emo preprocess --source grid``. Words are cut into phones in espeak-ng's own
proportions, the corpus's dominances give the share of each class in each frame, and the tracked
opening and width of the lips are regressed on those, with a ridge towards the prior of
:mod:`datamodules.corpus.visemes`. Prints its table ``LIPS``, and the correlation of prior and fit
with the lips of clips that are not for training. Every speaker has the same weight, whatever the
number of clips and the size of the movements. GRID has 51 words: what they lack keeps the prior.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from datamodules.corpus import espeak
from datamodules.corpus.speech import Speech
from datamodules.corpus.visemes import (
    RATE,
    VISEMES,
    ArticulationStyle,
    dominance,
    gates,
    loudness,
    prior,
    segments,
)
from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import Sample
from datamodules.sources.grid import PAUSES
from emo_lightning.core.constants import FPS
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.pose import rotation

NAMES = tuple(VISEMES)
VOICE, PACE, PITCH = "en-us", 160, 50
FLOOR = 0.008
"""Lips that do not touch are at least this far apart."""
SPREADS = np.array([0.052, 0.026])
"""Standard deviations of a talking person's opening and width, to which the fit is rescaled."""


@dataclass(frozen=True)
class FitClip:
    """Class shares in opening and shape ``(T, classes)``, tracked lips ``(T, 2)``; all centred."""

    opening: np.ndarray
    shape: np.ndarray
    lips: np.ndarray
    split: str
    speaker: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument(
        "--strength",
        type=float,
        default=1000.0,
        help="weight of the prior, in frames (default 1000)",
    )
    args = parser.parse_args(arguments)
    clips = normalised([clip for shards in args.shards for clip in read_clips(shards)])
    train, held_out = (
        [c for c in clips if (c.split == "train") is wanted] for wanted in (True, False)
    )
    start = np.array([prior(viseme) for viseme in VISEMES.values()])
    fitted = fit(train, start, args.strength)
    for name, table in (("prior", start), ("fitted", fitted)):
        scores = np.array([agreement(clip, table) for clip in held_out or train])
        opening, width = scores.mean(0)
        print(
            f"# {name}: correlation of opening {opening:.3f}, width {width:.3f}; {len(scores)} clips"
        )
    spreads = np.mean(
        [
            ((clip.opening @ fitted[:, 0]).std(), (clip.shape @ fitted[:, 1]).std())
            for clip in train
        ],
        axis=0,
    )
    for name, (opening, width) in zip(NAMES, rescaled(fitted, SPREADS / spreads), strict=True):
        print(f'    "{name}": ({opening:.3f}, {width:.3f}),')


def read_clips(shards: Path) -> list[FitClip]:
    """Every clip that has word times."""
    clips = []
    for sample in iter_samples(shards, None, ("wave", "coefficients", "landmarks")):
        words = sample.meta.extra.get("words")
        if words:
            clips.append(_clip(sample, phones_of(words, sample.meta.frames / FPS)))
    return clips


def normalised(clips: list[FitClip]) -> list[FitClip]:
    """The clips with every speaker's lips scaled to :data:`SPREADS`."""
    lips: dict[str, list[np.ndarray]] = {}
    for clip in clips:
        lips.setdefault(clip.speaker, []).append(clip.lips)
    gains = {name: SPREADS / np.concatenate(parts).std(axis=0) for name, parts in lips.items()}
    return [replace(clip, lips=clip.lips * gains[clip.speaker]) for clip in clips]


def fit(clips: list[FitClip], start: np.ndarray, strength: float) -> np.ndarray:
    """Opening and width of every class ``(classes, 2)`` by ridge regression towards ``start``.

    Frames are weighted so that every speaker has the same weight.
    """
    frames = Counter[str]()
    for clip in clips:
        frames[clip.speaker] += len(clip.lips)
    mean = frames.total() / len(frames)
    weights = np.concatenate([np.full(len(c.lips), mean / frames[c.speaker]) for c in clips])
    columns = []
    for column in range(2):
        shares = np.concatenate([(clip.opening, clip.shape)[column] for clip in clips])
        rest = np.concatenate([clip.lips[:, column] for clip in clips]) - shares @ start[:, column]
        weighted = weights[:, None] * shares
        moments = weighted.T @ shares + strength * np.eye(len(start))
        columns.append(start[:, column] + np.linalg.solve(moments, weighted.T @ rest))
    return np.stack(columns, axis=1)


def agreement(clip: FitClip, table: np.ndarray) -> tuple[float, float]:
    """Correlation of opening and width with the tracked lips, for a file in sync or a frame early."""
    made = np.stack([clip.opening @ table[:, 0], clip.shape @ table[:, 1]], axis=1)
    pairs = [(made, clip.lips), (made[:-1], clip.lips[1:])]
    scores = [[float(np.corrcoef(a[:, k], b[:, k])[0, 1]) for k in range(2)] for a, b in pairs]
    return max(s[0] for s in scores), max(s[1] for s in scores)


def rescaled(table: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The table relative to rest, times ``gain`` (2,); only p, b and m touch."""
    out = (table - table[NAMES.index("rest")]) * gain
    for row, name in enumerate(NAMES):
        if name == "m":
            out[row] = 0.0
        elif name != "rest":
            out[row, 0] = max(out[row, 0], FLOOR)
    return out


def phones_of(
    words: Sequence[tuple[float, float, str]], seconds: float
) -> list[tuple[str, float, float]]:
    """Phones with times: each word's, stretched to the word's own time, and the pauses between."""
    phones: list[tuple[str, float, float]] = []
    now = 0.0
    for begin, end, word in words:
        if word in PAUSES:
            continue
        if begin > now + 1e-3:
            phones.append(("", now, begin))
        spoken = _spoken(word)
        first, last = spoken[0][1], spoken[-1][2]
        scale = (end - begin) / (last - first)
        phones += [
            (symbol, begin + (a - first) * scale, begin + (b - first) * scale)
            for symbol, a, b in spoken
        ]
        now = end
    return phones if now >= seconds else [*phones, ("", now, seconds)]


@lru_cache(maxsize=1024)
def _spoken(word: str) -> tuple[tuple[str, float, float], ...]:
    return tuple(phone for phone in espeak.speak(word, VOICE, PACE, PITCH, PITCH)[2] if phone[0])


def _clip(sample: Sample, phones: list[tuple[str, float, float]]) -> FitClip:
    """Shares and lips of one clip."""
    assert (
        sample.wave is not None and sample.coefficients is not None and sample.landmarks is not None
    )
    frames = sample.meta.frames
    times = (np.arange(frames * RATE // FPS) + 0.5) / RATE
    speech = Speech(sample.wave, phones)
    opening, shape = (np.full((len(times), len(NAMES)), 1e-9) for _ in range(2))
    for name, start, end, _ in segments(phones):
        held = dominance(VISEMES[name], start, end, times + ArticulationStyle().lead)
        opening[:, NAMES.index(name)] += VISEMES[name].hold_open * held
        shape[:, NAMES.index(name)] += VISEMES[name].hold_shape * held
    closure, contact = gates(speech, times)
    gain = (1.0 - closure) * (1.0 - 0.75 * contact) * loudness(sample.wave, len(times))
    opening *= (gain / opening.sum(axis=1))[:, None]
    shape /= shape.sum(axis=1, keepdims=True)
    values = [
        _frames(opening, frames),
        _frames(shape, frames),
        tracked_lips(sample.landmarks, sample.coefficients),
    ]
    opening, shape, lips = (value - value.mean(axis=0) for value in values)
    return FitClip(opening, shape, lips, sample.meta.split, sample.meta.speaker)


def tracked_lips(landmarks: np.ndarray, coefficients: Coefficients) -> np.ndarray:
    """Inner lip gap and mouth width ``(T, 2)`` of ``(T, 478, 3)``, without head pose, in IOD."""
    upright = np.einsum(
        "tji,tnj->tni", rotation(coefficients["angle"]), landmarks.astype(np.float64)
    )
    upright /= np.exp(coefficients["trans"][:, 2])[:, None, None]
    return np.stack(
        [
            upright[:, 14, 1] - upright[:, 13, 1],
            np.linalg.norm(upright[:, 291] - upright[:, 61], axis=1),
        ],
        1,
    )


def _frames(values: np.ndarray, frames: int) -> np.ndarray:
    return values.reshape(frames, RATE // FPS, -1).mean(axis=1)


if __name__ == "__main__":
    main()
