"""How the head and the eyelids move: diversity of pose, beats, blinks."""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
import torch

from emo_lightning.core.constants import FPS, SAMPLE_RATE
from evaluation.judges.base import JudgeInfo
from evaluation.judges.landmark_track import Track
from evaluation.metrics.beat_alignment import beat_alignment, motion_beats
from evaluation.metrics.blink_rate import blinks, eye_aspect_ratio
from evaluation.metrics.head_motion import head_motion
from evaluation.protocol import NotScored
from evaluation.records import Column, Scores
from evaluation.suite.base import Clip, ClipMetric, Features, SoundExtractor

TRACKER = "mediapipe-478"
ONSETS = "onsets"
ANGLES = ("pitch", "yaw", "roll")
EYES = slice(36, 48)
"""Both eyes among the 68 points."""
HOP = 160
SHORTEST_BLINKS = 4.0
"""Seconds: a rate over less says nothing."""


def head_angles(track: Track) -> np.ndarray:
    """``(N, 3)`` pitch, yaw, roll in radians of the frames with a face, from points on bone: outer and inner eye corners, nose, temples.

    The axes are the face's own: x through the outer eye corners, y from the nasion's height to the chin's, made square to x; z completes
    them. Angles are therefore those of the axes in the picture, whatever the face's shape, up to a constant.
    """
    points = track.in_crop[track.seen].astype(np.float64)
    across = points[:, [263, 362, 454, 356]].mean(axis=1) - points[:, [33, 133, 234, 127]].mean(
        axis=1
    )
    down = points[:, [168, 6, 197]].mean(axis=1) - points[:, [10, 151]].mean(axis=1)
    x = across / np.linalg.norm(across, axis=1, keepdims=True)
    y = down - (down * x).sum(axis=1, keepdims=True) * x
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    z = np.cross(x, y)
    return np.stack(
        [
            np.arctan2(y[:, 2], z[:, 2]),
            np.arcsin(np.clip(x[:, 2], -1.0, 1.0)),
            np.arctan2(x[:, 1], x[:, 0]),
        ],
        axis=1,
    )


def _head_motion(clip: Clip, reference: Clip | None) -> Scores:
    del reference
    angles = head_angles(clip.track)
    if len(angles) < 2:
        raise NotScored("fewer than two frames show a face")
    spread = head_motion(torch.from_numpy(np.unwrap(angles, axis=0)))
    return Scores({"head_motion": float(spread.mean())}, {"head_motion": spread.tolist()})


def _onset_judge() -> JudgeInfo:
    return JudgeInfo(
        "librosa onsets", None, f"librosa {librosa.__version__}: peaks of spectral flux, hop 10 ms"
    )


def _open_onsets(device: torch.device) -> Callable[[np.ndarray], Features]:
    del device

    def listen(wave: np.ndarray) -> Features:
        found = librosa.onset.onset_detect(y=wave, sr=SAMPLE_RATE, hop_length=HOP, units="time")
        return {ONSETS: np.asarray(found, np.float64)}

    return listen


def _beats(clip: Clip, reference: Clip | None) -> Scores:
    del reference
    audio = torch.from_numpy(clip.features(ONSETS)[ONSETS] * FPS - 0.5)
    if not len(audio):
        raise NotScored("the sound has no onset")
    if not clip.track.seen.all():
        raise NotScored("the face is missing in some frames, so the head's beats are not known")
    return Scores(
        {
            "beat_alignment": float(
                beat_alignment(motion_beats(torch.from_numpy(head_angles(clip.track)), FPS), audio)
            )
        }
    )


def _blinks(clip: Clip, reference: Clip | None) -> Scores:
    del reference
    track = clip.track
    if track.seen.sum() / FPS < SHORTEST_BLINKS:
        raise NotScored(f"the face is seen for less than {SHORTEST_BLINKS:g} s")
    found = blinks(eye_aspect_ratio(torch.from_numpy(track.points_68[:, EYES])), FPS)
    values = {"blink_rate": found.per_minute}
    if not len(found.starts):
        return Scores(values, missing={"blink_duration": "no blink"})
    return Scores({**values, "blink_duration": float(found.durations.quantile(0.5))})


def _column(
    name: str,
    label: str,
    unit: str,
    better: bool | None,
    decimals: int,
    about: str,
    high: float | None = None,
) -> Column:
    judge = None if name == "beat_alignment" else TRACKER
    return Column(name, label, unit, better, judge, decimals, about, 0.0, high, family="motion")


ORDER = 60
EXTRACTORS = (SoundExtractor(ONSETS, _onset_judge, _open_onsets),)
ENTRIES = {
    "head_motion": ClipMetric(
        (_column("head_motion", "Head motion", "°", None, 2, "spread of pitch, yaw and roll within a clip; to be near the reference's"),),
        _head_motion, needs_reference=False, breakdown={"head_motion": ANGLES},
    ),
    "beat_alignment": ClipMetric(
        (_column("beat_alignment", "Beat align", "", True, 3, "onsets of the sound near moments at which the head rests or turns", 1.0),),
        _beats, needs=(ONSETS,), needs_reference=False,
    ),
    "blinks": ClipMetric(
        (
            _column("blink_rate", "Blinks", "/min", None, 1, "blinks a minute, clips of 4 s and more; to be near the reference's"),
            _column("blink_duration", "Blink length", "s", None, 2, "median time that the lids are under 80 % of open"),
        ),
        _blinks, needs_reference=False,
    ),
}  # fmt: skip
