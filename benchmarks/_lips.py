"""What the table of lips measures: following, closures, stillness, noise, other languages, and the
rendered face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.corpus.visemes import viseme_of
from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import Sample
from emo_lightning.core.constants import FPS, frames_for
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.motion.emotion_track import EmotionTrack
from tools.fit_visemes import phones_of, tracked_lips

MAX_LAG = 6
"""Frames; a file may carry an offset of its own."""
LEAST_FRAMES = 50
TOUCH = 0.012
"""Gap of the inner lips, in outer eye-corner distances beyond the face at rest, below which they
touch.
"""


@dataclass(frozen=True)
class Clip:
    """A recording with the lips that belong to it, ``(T, 2)`` opening and width, and its phones
    where they are known.
    """

    key: str
    person: str
    wave: np.ndarray
    lips: np.ndarray
    source: Coefficients
    phones: list[tuple[str, float, float]]
    track: EmotionTrack


@dataclass(frozen=True)
class Following:
    """Correlations ``(2,)`` at the best lag and at 0, that lag (positive: ours comes late), and our
    spread by the real one ``(2,)``.
    """

    lag: int
    best: np.ndarray
    zero: np.ndarray
    amplitude: np.ndarray


def read(shards: Path, split: str | None, most: int) -> list[Clip]:
    """Up to ``most`` clips of a set, evenly over it; those of the embedded corpus know their
    phones, GRID's their words.
    """
    clips = [
        _clip(s)
        for s in iter_samples(shards, split, ("wave", "coefficients", "landmarks"))
        if s.meta.frames >= LEAST_FRAMES
    ]
    return (
        clips
        if len(clips) <= most
        else [clips[i] for i in np.linspace(0, len(clips) - 1, most).round().astype(int)]
    )


def _clip(sample: Sample) -> Clip:
    meta, real = sample.meta, sample.coefficients
    assert sample.wave is not None and real is not None and sample.landmarks is not None
    phones = [(str(p), float(a), float(b)) for p, a, b in meta.extra.get("phones", ())]
    if meta.extra.get("words"):
        phones = phones_of(meta.extra["words"], meta.frames / FPS)
    track = EmotionTrack.constant(meta.emotion or "neutral", meta.level or 1)
    person = str(meta.extra.get("path", meta.speaker))
    return Clip(
        sample.key,
        person,
        sample.wave,
        tracked_lips(sample.landmarks, real),
        real.frames(slice(0, 1)),
        phones,
        track,
    )


def drive(
    talker: AudioToMotion,
    wave: np.ndarray,
    source: Coefficients,
    track: EmotionTrack,
    frames: int | None = None,
) -> Coefficients:
    """What the talker makes of a recording, the head held still."""
    rows, total = log_mel(levelled(wave), talker.mel_kind), frames or frames_for(len(wave))
    pieces = talker.generate([rows], source, track, head_motion=False, total_frames=total)
    return Coefficients.from_joined(
        talker.layout, np.concatenate([piece.joined() for piece in pieces])
    )


def made_lips(talker: AudioToMotion, clip: Clip, wave: np.ndarray | None = None) -> np.ndarray:
    """Opening and width ``(T, 2)`` of the face that the talker moves to the clip's sound, or to
    another.
    """
    return shape_lips(
        drive(talker, clip.wave if wave is None else wave, clip.source, clip.track, len(clip.lips))
    )


def shape_lips(coefficients: Coefficients) -> np.ndarray:
    """Opening and width ``(T, 2)`` of the face's shape, upright."""
    points = BuiltinFaceModel.load().vertices(coefficients)
    return np.stack(
        [
            points[:, 14, 1] - points[:, 13, 1],
            np.linalg.norm(points[:, 291] - points[:, 61], axis=1),
        ],
        1,
    )


def following(ours: np.ndarray, theirs: np.ndarray) -> Following:
    """How well lips follow others."""
    lags = range(-MAX_LAG, MAX_LAG + 1)
    scores = np.array(
        [[correlation(ours[:, k], theirs[:, k], lag) for k in range(2)] for lag in lags]
    )
    best = int(np.nan_to_num(scores.sum(axis=1), nan=-2.0).argmax())
    return Following(
        best - MAX_LAG,
        scores[best],
        scores[MAX_LAG],
        ours.std(axis=0) / np.maximum(theirs.std(axis=0), 1e-6),
    )


def correlation(ours: np.ndarray, theirs: np.ndarray, lag: int) -> float:
    """Pearson's r when ours is moved ``lag`` frames earlier."""
    ours = ours[max(lag, 0) : len(ours) + min(lag, 0)]
    theirs = theirs[max(-lag, 0) : len(theirs) - max(lag, 0)]
    if min(ours.std(), theirs.std()) < 1e-9:
        return float("nan")
    return float(np.corrcoef(ours, theirs)[0, 1])


def closures(
    opening: np.ndarray, rest: float, phones: Sequence[tuple[str, float, float]]
) -> list[bool]:
    """Whether the lips touch in each p, b and m: the least gap from 60 ms before the phone, when
    they start to close, to its end.
    """
    touched = []
    for symbol, start, end in phones:
        if viseme_of(symbol) == "m":
            part = opening[max(int((start - 0.06) * FPS), 0) : int(end * FPS) + 2]
            if len(part):
                touched.append(bool(part.min() < rest + TOUCH))
    return touched


def at_rest(source: Coefficients) -> float:
    """Gap of the inner lips of the person's face at rest, expression apart."""
    return float(shape_lips(source.replace(exp=source["exp"] * 0.0))[0, 0])


def retracked(talker: AudioToMotion, clips: Sequence[Clip], portrait: Any) -> list[bool]:
    """:func:`closures` on landmarks found anew in rendered pictures of a portrait that says the
    clips.
    """
    from emo_lightning.face.landmarks import open_landmarker
    from emo_lightning.renderers.base import stream
    from emo_lightning.renderers.registry import create

    renderer, landmarker = create("mesh"), open_landmarker(max_faces=1)
    source = renderer.prepare(portrait)
    own = portrait.coefficients
    resting = own.replace(exp=own["exp"] * 0.0)

    def gaps(coefficients: Coefficients) -> np.ndarray:
        found = [landmarker.detect(picture) for picture in stream(renderer, source, [coefficients])]
        points = [faces[0].points if faces else np.full((478, 3), np.nan) for faces in found]
        return np.array(
            [np.linalg.norm(p[14] - p[13]) / np.linalg.norm(p[263] - p[33]) for p in points]
        )

    rest = float(np.nanmean(gaps(resting)))
    touched: list[bool] = []
    for clip in clips:
        touched += closures(
            gaps(drive(talker, clip.wave, own, clip.track, len(clip.lips))), rest, clip.phones
        )
    return touched
