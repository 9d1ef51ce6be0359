"""Training clips of the lip-sync judge: read from shards, and made different every time.
 There is one real speaker and a cast of synthetic ones, and the judge is to hear and see anyone. So
every draw changes the voice (tempo, formants, pitch, timbre, noise, echo) and the mouth (tempo,
size, proportions, liveliness, side, tremble), lips and sound together in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from datamodules.shards.reader import iter_samples
from emo_lightning.core.errors import UserError
from emo_lightning.face.regions import LIP_INNER, LIP_OUTER
from emo_lightning.media.spectrogram import MEL_FLOOR, N_MELS, log_mel
from evaluation.judges.lip_sync import ROWS
from evaluation.judges.mouth import CHIN_LINE, POINTS, mouth_shape

FRAMES = 60
"""Frames of a training clip."""
LEAD = {"corpus": 0.9}
"""Frames by which a source's lips lead their sound more than GRID's do, as a judge trained on
that source alone measured it on GRID; its sound is taken that much later, so that all sources
agree with the real recordings on what offset 0 is."""


@dataclass(frozen=True)
class Clip:
    """``shape (T, 45, 3)`` float32 and ``mel (4 T, 80)`` float32 of one clip, and how many frames
    later its sound is taken.
    """

    shape: np.ndarray
    mel: np.ndarray
    lead: float


def read_clips(folder: Path, split: str = "train") -> list[Clip]:
    """Every clip of a shard set's split that is long enough.

    Raises:
        UserError: no shard set, or no such clip in it.
    """
    clips = []
    for sample in iter_samples(folder, split, ("wave", "landmarks"), argument="--data"):
        points, wave = sample.landmarks, sample.wave
        if points is None or wave is None or len(points) < 0.8 * FRAMES or points.shape[1] < 468:
            continue
        mel = np.full((ROWS * len(points), N_MELS), math.log(MEL_FLOOR), np.float32)
        heard = log_mel(wave)[: len(mel)]
        mel[: len(heard)] = heard
        clips.append(
            Clip(mouth_shape(points.astype(np.float32)), mel, LEAD.get(sample.meta.source, 0.0))
        )
    if not clips:
        raise UserError(
            "--data",
            folder,
            f"a shard set with clips of {0.8 * FRAMES:g} frames and more in its {split} split",
            "has none",
        )
    return clips


def draw_batch(clips: Sequence[Clip], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each clip's changed copy: shapes ``(B, 60, 45, 3)`` and mels ``(B, 240, 80)``, float32."""
    pairs = [change(clip, rng) for clip in clips]
    return np.stack([p[0] for p in pairs]).astype(np.float32), np.stack(
        [p[1] for p in pairs]
    ).astype(np.float32)


def change(clip: Clip, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One clip's changed copy: ``(60, 45, 3)`` and ``(240, 80)``."""
    length = len(clip.shape)
    tempo = rng.uniform(0.75, 1.3) if rng.random() < 0.7 else 1.0
    tempo = float(np.clip(tempo, 0.5, (length - 1) / FRAMES))
    start = rng.uniform(0.0, max(0.0, length - 1 - FRAMES * tempo))
    shape = _at(clip.shape.reshape(length, -1), start + tempo * np.arange(FRAMES)).reshape(
        FRAMES, -1, 3
    )
    # Mel row k is centred on frame (k + 0.5) / 4.
    rows = start + tempo * (np.arange(ROWS * FRAMES) + 0.5) / ROWS + clip.lead
    return _other_mouth(shape, rng), _other_voice(_at(clip.mel, ROWS * rows - 0.5), rng)


def hold(shapes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each of ``(B, T, 45, 3)`` mouths as one of its own frames shows it, for as long, with some of
    a tracker's noise.
    """
    at = rng.integers(shapes.shape[1], size=len(shapes))
    still = np.repeat(shapes[np.arange(len(shapes)), at][:, None], shapes.shape[1], axis=1)
    noise = rng.uniform(0.0, 0.003, (len(shapes), 1, 1, 1)) * (
        rng.random((len(shapes), 1, 1, 1)) < 0.5
    )
    return (still + noise * rng.standard_normal(still.shape)).astype(np.float32)


def _at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows of ``(N, C)`` at fractional places, ends repeated."""
    places = np.clip(places, 0, len(values) - 1)
    low = np.minimum(places.astype(int), len(values) - 2)
    share = (places - low)[:, None]
    return values[low] * (1 - share) + values[low + 1] * share


def _other_mouth(shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another face, another manner, another tracker's noise."""
    if rng.random() < 0.5:
        shape = shape[:, mirrored()] * np.array([-1.0, 1.0, 1.0])
    rest = np.median(shape, axis=0)
    movement = (
        (shape - rest) * math.exp(rng.uniform(-0.6, 0.45)) * np.exp(rng.uniform(-0.2, 0.2, 3))
    )
    if rng.random() < 0.3:
        movement[1:-1] = (movement[:-2] + 2 * movement[1:-1] + movement[2:]) / 4
    movement += rng.uniform(0.0, 0.006) * rng.standard_normal(movement.shape)
    return rest * (1 + rng.uniform(-0.1, 0.1, 3)) + movement


def _other_voice(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another vocal tract, another microphone, another room."""
    bands = np.arange(N_MELS)
    mel = _at(mel.T, bands * (1 + rng.uniform(-0.12, 0.12)) + rng.uniform(-6.0, 6.0)).T + _curve(
        rng, 1.2, 5
    )
    if rng.random() < 0.6:
        noise = (
            mel.mean()
            + rng.uniform(-4.0, 0.5)
            + _curve(rng, 1.0, 4)
            + 0.3 * rng.standard_normal(mel.shape)
        )
        mel = np.logaddexp(mel, noise)
    if rng.random() < 0.3:
        fall = math.log(rng.uniform(0.3, 0.75))
        # An echo that loses ``fall`` a row: the running maximum in a frame of reference that falls
        # with it.
        ramp = fall * np.arange(len(mel))[:, None]
        mel = np.maximum.accumulate(mel - ramp, axis=0) + ramp
    return mel


def _curve(rng: np.random.Generator, size: float, terms: int) -> np.ndarray:
    """A smooth curve over the bands."""
    order = np.arange(1, terms)[:, None]
    return (
        (rng.standard_normal((terms - 1, 1)) * size / order)
        * np.cos(order * np.pi * np.arange(N_MELS) / N_MELS)
    ).sum(axis=0)


@lru_cache(maxsize=1)
def mirrored() -> np.ndarray:
    """For each point of the mouth the row of the one on the face's other side."""
    chin = np.array(CHIN_LINE)
    pairs = [(row, row[::-1]) for row in (*LIP_INNER, *LIP_OUTER)] + [(chin, chin[[0, 2, 1, 4, 3]])]
    other = {int(a): int(b) for left, right in pairs for a, b in zip(left, right, strict=True)}
    place = {int(vertex): row for row, vertex in enumerate(POINTS)}
    return np.array([place[other[int(vertex)]] for vertex in POINTS])
