"""Frozen features of sound and the questions that probes ask of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.fft import dct

from research._probes import Problem

MFCC = 20
AROUND = 4
"""Frames of the spectrogram before and after the present one; with it the nine of the controller's
window.
"""
SPEECH_DB = 30.0
"""Frames within this of a clip's loudest twentieth are speech."""
ROWS_TO_FIT, LEAST_OF_CLIP, MOST_OF_CLIP, OF_TEST_CLIP = 12_000, 8, 24, 24
"""Frames of speech that a probe of frames is fitted to in all, and how many a clip gives."""
LEVELS = ("low", "mid", "high", "content")


@dataclass(frozen=True)
class Clip:
    """One clip: its labels, ``speech`` (T,) bool, ``phones`` (T,) int or None, and each feature (T,
    D) by name.
    """

    split: str
    speaker: str
    sentence: str
    emotion: int
    intensity: int
    speech: np.ndarray
    phones: np.ndarray | None
    features: dict[str, np.ndarray]


def read(data: Path, nets: Mapping[str, Any]) -> list[Clip]:
    """Every clip of a set with the features of the spectrogram and of each network, as generation
    hears the sound.
    """
    from datamodules.shards.phones import frame_phones
    from datamodules.shards.reader import iter_samples
    from emo_lightning.inference.audio_frontends import open_frontend
    from emo_lightning.media.loudness import levelled
    from emo_lightning.media.spectrogram import log_mel
    from emo_lightning.motion.emotions import EMOTIONS

    ears = {kind: open_frontend(kind) for kind in {net.config.front_end for net in nets.values()}}
    clips = []
    for sample in iter_samples(data, None, ("wave",)):
        wave, meta = levelled(sample.wave), sample.meta
        if meta.emotion is None:
            continue
        mel = log_mel(wave)
        features = {"mel": mel.reshape(-1, 4, 80).mean(axis=1)}
        features["mel + MFCC"] = np.concatenate(
            [features["mel"], cepstrum(features["mel"])], axis=1
        )
        heard = {
            kind: np.concatenate(list(ear.stream([log_mel(wave, kind)])))
            for kind, ear in ears.items()
        }
        for name, net in nets.items():
            features |= levels(net, heard[net.config.front_end], name)
        frames = len(features["mel"])
        marks = meta.extra.get("phones")
        phones = None if marks is None else frame_phones(marks, frames)
        emotion, intensity = EMOTIONS.index(meta.emotion), meta.intensity or 0
        clips.append(
            Clip(
                meta.split,
                meta.speaker,
                meta.sentence or "",
                emotion,
                intensity,
                spoken(wave, frames),
                phones,
                features,
            )
        )
    return clips


def row_name(level: str, net: str) -> str:
    """What a table calls a network's level."""
    return f"{level}, {net}"


@torch.inference_mode()
def levels(net: Any, heard: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """A network's features ``(T, D)`` by name."""
    out = net(torch.from_numpy(heard)[None])
    return {row_name(level, name): getattr(out, level)[0].numpy() for level in LEVELS}


def cepstrum(mel: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients 1..20 of log mel rows."""
    return dct(mel, axis=1, norm="ortho")[:, 1 : MFCC + 1].astype(np.float32)


def spoken(wave: np.ndarray, frames: int) -> np.ndarray:
    """Which video frames hold speech, ``(frames,)`` bool."""
    padded = np.pad(wave, (0, max(0, frames * 640 - len(wave))))[: frames * 640]
    level = 10 * np.log10(
        np.square(padded.reshape(frames, 640).astype(np.float64)).mean(axis=1) + 1e-12
    )
    return level > np.percentile(level, 95) - SPEECH_DB


def clip_rows(clips: Sequence[Clip], name: str) -> np.ndarray:
    """Mean and standard deviation over the frames of speech, ``(clips, 2 D)``."""
    return np.stack(
        [
            np.concatenate(
                [c.features[name][c.speech].mean(axis=0), c.features[name][c.speech].std(axis=0)]
            )
            for c in clips
        ]
    )


def frame_rows(
    clips: Sequence[Clip], name: str, counts: Sequence[int], seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of speech drawn from each clip: features ``(N, D)``, the clip of each row and its
    frame.
    """
    generator = np.random.default_rng([seed, 12])
    rows, owners, places = [], [], []
    for number, (clip, count) in enumerate(zip(clips, counts, strict=True)):
        there = np.flatnonzero(clip.speech)
        chosen = np.sort(generator.choice(there, min(count, len(there)), replace=False))
        feature = clip.features[name]
        if name.startswith("mel"):
            around = np.clip(chosen[:, None] + np.arange(-AROUND, AROUND + 1), 0, len(feature) - 1)
            rows.append(feature[around].reshape(len(chosen), (2 * AROUND + 1) * feature.shape[1]))
        else:
            rows.append(feature[chosen])
        owners.append(np.full(len(chosen), number))
        places.append(chosen)
    return np.concatenate(rows), np.concatenate(owners), np.concatenate(places)


@dataclass(frozen=True)
class Question:
    """What is asked of the features: a label of each clip (-1: not asked), and which clips fit and
    which test.
    """

    name: str
    labels: np.ndarray
    groups: np.ndarray
    train: np.ndarray
    test: np.ndarray


def questions(clips: Sequence[Clip]) -> list[Question]:
    """Emotion, of all intensities and of each, intensity and speaker of the embedded corpus."""
    split = np.array([clip.split for clip in clips])
    train, test = split == "train", split != "train"
    emotion = np.array([clip.emotion for clip in clips])
    intensity = np.array([clip.intensity for clip in clips]) - 1
    speakers, sentences = (
        places([getattr(clip, name) for clip in clips]) for name in ("speaker", "sentence")
    )
    # Names are numbered anew among train's speakers: a class that is never tested would be no
    # class.
    own = np.where(
        train, places([clip.speaker if clip.split == "train" else "" for clip in clips]), -1
    )
    own = own - own[train].min() if train.any() else own
    other = train & (sentences % 4 == 0)
    return [
        Question("emotion", emotion, speakers, train, test),
        *(
            Question(
                f"emotion, intensity {grade}", emotion, speakers, train & chosen, test & chosen
            )
            for grade in (1, 2, 3)
            for chosen in [(intensity == grade - 1) | (emotion == 0)]
        ),
        Question(
            "intensity", intensity, speakers, train & (intensity >= 0), test & (intensity >= 0)
        ),
        Question("speaker", own, sentences, train & ~other, other),
    ]


def ask(clips: Sequence[Clip], name: str, question: Question, reading: str) -> Problem:
    """A question about one feature as a problem for a probe."""
    if reading == "clip":
        rows, owners = clip_rows(clips, name), np.arange(len(clips))
    else:
        rows, owners, _ = frame_rows(clips, name, _counts(question.train, question.test))
    return Problem(
        rows,
        question.labels[owners],
        owners,
        question.groups[owners],
        question.train[owners],
        question.test[owners],
    )


def phone_problem(clips: Sequence[Clip], name: str) -> Problem:
    """Which of the 39 phones a frame is of."""
    train = np.array([clip.split == "train" for clip in clips])
    groups = places([clip.speaker for clip in clips])
    rows, owners, where = frame_rows(clips, name, _counts(train, ~train))
    labels = np.array(
        [clips[owner].phones[place] - 1 for owner, place in zip(owners, where, strict=True)]
    )
    said = labels >= 0
    return Problem(
        rows, labels, owners, groups[owners], train[owners] & said, ~train[owners] & said
    )


def _counts(train: np.ndarray, test: np.ndarray) -> list[int]:
    """Frames to draw from each clip."""
    of_train = int(np.clip(ROWS_TO_FIT // max(1, train.sum()), LEAST_OF_CLIP, MOST_OF_CLIP))
    return np.where(train, of_train, np.where(test, OF_TEST_CLIP, 0)).tolist()


def places(names: Sequence[str]) -> np.ndarray:
    """The number of each name among all of them, sorted."""
    return np.unique(names, return_inverse=True)[1]
