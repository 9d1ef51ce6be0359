"""How a face follows an emotion track of five changes in 20 s: delay, rise, overshoot, speed and
jerk of EXP.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks._shared import mean_cell
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.models.decoupler.decoupler import MEL_SILENCE
from emo_lightning.motion.emotion_track import EmotionKey, EmotionTrack
from emo_lightning.motion.emotions import EMOTIONS

SECONDS, FPS = 20.0, 25.0
TIMES = (3.0, 6.5, 10.0, 13.5, 17.0)
JITTER = 0.4
BEFORE, AFTER = 1.4, 1.7
"""Seconds around a change that are looked at; the next change begins later."""
TIMINGS: Mapping[str, Mapping[str, float]] = {
    "each emotion's own": {},
    "0.6 s for all": {"onset": 0.6},
    "jump": {"onset": 0.0},
}
"""Tracks that differ in their timing alone."""


@dataclass(frozen=True)
class Change:
    """One change: seconds from the key to 10 %, 50 % and 90 % of the way, share beyond the end and
    before the start, extremes of EXP.

    ``speed`` (1/s) and ``jerk`` (1/s³) are those of the fastest unit, ``step`` the largest change
    from one frame to the next.
    """

    emotion: int
    before: int
    ten: float
    half: float
    ninety: float
    overshoot: float
    speed: float
    jerk: float
    step: float


def tables(talker: Any, tracks: int, seed: int = 0) -> None:
    """Print the table of timings and, for the default, one row for each emotion that comes."""
    rng = np.random.default_rng(seed)
    drawn = [draw_track(rng) for _ in range(tracks)]
    print(f"\nEmotion track: {tracks} random tracks of five changes in 20 s, {5 * tracks} changes; mean [95 % interval]. Seconds from the "
          "key's time; EXP in intensities, of its fastest unit.\n")  # fmt: skip
    heads = (
        "from 10 %, s",
        "50 %, s",
        "90 %, s",
        "rise 10-90, s",
        "overshoot, %",
        "speed, 1/s",
        "jerk, 1/s³",
        "frame to frame",
    )
    print("| timing | sound | " + " | ".join(heads) + " |\n|---|---|" + "---:|" * len(heads))
    own: list[Change] = []
    for name, timing in TIMINGS.items():
        changes = [
            change
            for track in drawn
            for change in follow(talker, replace(track, **timing), silence())
        ]
        own = own or changes
        print(f"| {name} | silence | {' | '.join(_cells(changes))} |", flush=True)
    spoken = [change for track in drawn for change in follow(talker, track, babble(seed))]
    print(f"| each emotion's own | syllables | {' | '.join(_cells(spoken))} |")
    print("\n| what comes | changes | rise 10-90, s | speed, 1/s |\n|---|---:|---:|---:|")
    for emotion in sorted(
        {change.emotion for change in own},
        key=lambda e: np.mean([c.ninety - c.ten for c in own if c.emotion == e]),
    ):
        some = [change for change in own if change.emotion == emotion]
        rise, speed = (
            mean_cell([c.ninety - c.ten for c in some]),
            mean_cell([c.speed for c in some]),
        )
        print(f"| {EMOTIONS[emotion]} | {len(some)} | {rise} | {speed} |")


def _cells(changes: list[Change]) -> list[str]:
    columns = [
        [c.ten for c in changes],
        [c.half for c in changes],
        [c.ninety for c in changes],
        [c.ninety - c.ten for c in changes],
    ]
    columns += [
        [100 * c.overshoot for c in changes],
        [c.speed for c in changes],
        [c.jerk for c in changes],
        [c.step for c in changes],
    ]
    return [
        mean_cell(column, places)
        for column, places in zip(columns, (2, 2, 2, 2, 1, 2, 0, 3), strict=True)
    ]


def draw_track(rng: np.random.Generator) -> EmotionTrack:
    """Six different feelings, one after the other, about every 3.5 s."""
    times = [0.0, *(time + rng.uniform(-JITTER, JITTER) for time in TIMES)]
    feelings = rng.permutation(len(EMOTIONS))[: len(times)]
    return EmotionTrack(
        tuple(
            EmotionKey(t, int(e), float(rng.uniform(6, 15)))
            for t, e in zip(times, feelings, strict=True)
        )
    )


def silence() -> np.ndarray:
    """Twenty seconds of no sound as mel rows."""
    return np.full((round(4 * FPS * SECONDS), 80), MEL_SILENCE, np.float32)


def babble(seed: int) -> np.ndarray:
    """Twenty seconds of voice-like rows: four syllables a second of a spectrum that changes from
    one to the next.
    """
    rng = np.random.default_rng([seed, 1])
    rows = round(4 * FPS * SECONDS)
    bands = np.interp(
        np.arange(rows), np.arange(0, rows + 25, 25), np.arange(rows // 25 + 1)
    ).astype(int)
    shape = rng.normal(0.0, 1.0, (rows // 25 + 2, 80)) - 4.5 - np.linspace(0, 2, 80)
    loud = np.log(0.02 + np.sin(np.pi * np.arange(rows) / 25) ** 2)
    return (shape[bands] + loud[:, None]).astype(np.float32)


def follow(talker: Any, track: EmotionTrack, rows: np.ndarray) -> list[Change]:
    """Every change of a track, in what the emotion adds to the EXP of the same sound said
    neutrally.
    """
    felt = expression(talker, track, rows) - expression(
        talker, EmotionTrack.constant("neutral", 1), rows
    )
    return [_change(felt, before, after) for before, after in itertools.pairwise(track.keys)]


def expression(talker: Any, track: EmotionTrack, rows: np.ndarray) -> np.ndarray:
    """EXP ``(T, 28)`` of a face that is neutral of itself."""
    source = Coefficients(
        BUILTIN, {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
    )
    pieces = talker.generate([rows], source, track, head_motion=False)
    exp = np.concatenate([piece["exp"] for piece in pieces])
    return exp[
        :, [i for i, name in enumerate(BUILTIN.exp_names) if not name.startswith("AU45")]
    ].astype(np.float64)


def _change(felt: np.ndarray, before: EmotionKey, after: EmotionKey) -> Change:
    """Measure one change along the line from what was felt before it to what is felt after it."""
    times = np.arange(len(felt)) / FPS - after.time
    here = (times >= -BEFORE) & (times <= AFTER)
    start, end = (felt[here][part].mean(axis=0) for part in (slice(0, 3), slice(-3, None)))
    way = end - start
    share, when = (felt[here] - start) @ way / (way @ way), times[here]
    speed, jerk = (np.abs(np.diff(felt[here], n=order, axis=0)).max() for order in (1, 3))
    ten, half, ninety = (_reach(when, share, level) for level in (0.1, 0.5, 0.9))
    beyond = max(share.max() - 1.0, -share.min(), 0.0)
    return Change(
        after.emotion, before.emotion, ten, half, ninety, beyond, speed * FPS, jerk * FPS**3, speed
    )


def _reach(times: np.ndarray, share: np.ndarray, level: float) -> float:
    """When the share first reaches a level, between two frames."""
    at = max(int(np.argmax(share >= level)), 1)
    low, high = share[at - 1], share[at]
    return float(
        times[at - 1] + (times[at] - times[at - 1]) * (level - low) / max(high - low, 1e-9)
    )
