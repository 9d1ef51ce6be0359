"""Motion of head and eyelids: diversity of the head pose, beat alignment, blinks."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch

from emo_lightning.core.constants import FPS, SAMPLE_RATE
from evaluation.judges.base import JudgeInfo
from evaluation.judges.landmark_track import Track
from evaluation.metrics.beat_alignment import beat_alignment, motion_beats
from evaluation.metrics.blink_rate import blinks, eye_aspect_ratio
from evaluation.metrics.head_motion import head_motion
from evaluation.protocol import NotScored
from evaluation.records import MetricColumn, Scores
from evaluation.suite.base import AudioExtractor, ClipMetric, EvaluatedClip, Features

TRACKER = "mediapipe-478"
ONSETS = "onsets"
ANGLES = ("pitch", "yaw", "roll")
EYES = slice(36, 48)
"""Both eyes among the 68 points."""
HOP = 160
SHORTEST_BLINKS = 4.0
"""Seconds of the shortest clip of which a blink rate is given."""


def head_angles(track: Track) -> np.ndarray:
    """Pitch, yaw and roll of the frames with a face, from bony points (eye corners, nose, temples).

    The axes are the face's own: x through the outer eye corners, y from the nasion's height to the
    chin's, orthogonal to x. The angles are those of these axes in the image, whatever the face's
    shape, up to a constant.

    Returns:
        ``(N, 3)`` radians.
    """
    points = track.in_crop[track.seen].astype(np.float64)
    left, right = [33, 127, 133, 234], [263, 356, 362, 454]
    across = points[:, right].mean(axis=1) - points[:, left].mean(axis=1)
    down = points[:, [168, 6, 197]].mean(axis=1) - points[:, [10, 151]].mean(axis=1)
    x = across / np.linalg.norm(across, axis=1, keepdims=True)
    y = down - (down * x).sum(axis=1, keepdims=True) * x
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    z = np.cross(x, y)
    yaw = np.arcsin(np.clip(x[:, 2], -1.0, 1.0))
    return np.stack([np.arctan2(y[:, 2], z[:, 2]), yaw, np.arctan2(x[:, 1], x[:, 0])], axis=1)


def _head_motion(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    del reference
    angles = head_angles(clip.track)
    if len(angles) < 2:
        raise NotScored("fewer than two frames show a face")
    spread = head_motion(torch.from_numpy(np.unwrap(angles, axis=0)))
    return Scores({"head_motion": float(spread.mean())}, {"head_motion": spread.tolist()})


def _onset_judge() -> JudgeInfo:
    about = f"librosa {version('librosa')}: peaks of spectral flux, hop 10 ms"
    return JudgeInfo("librosa onsets", None, about)


def _open_onsets(device: torch.device) -> Callable[[np.ndarray], Features]:
    del device
    import librosa

    def onsets(wave: np.ndarray) -> Features:
        found = librosa.onset.onset_detect(y=wave, sr=SAMPLE_RATE, hop_length=HOP, units="time")
        return {ONSETS: np.asarray(found, np.float64)}

    return onsets


def _beats(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    del reference
    audio = torch.from_numpy(clip.features(ONSETS)[ONSETS] * FPS - 0.5)
    if not len(audio):
        raise NotScored("the audio has no onset")
    if not clip.track.seen.all():
        raise NotScored("the face is missing in some frames, so the head's beats are not known")
    motion = motion_beats(torch.from_numpy(head_angles(clip.track)), FPS)
    return Scores({"beat_alignment": float(beat_alignment(motion, audio))})


def _blinks(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    del reference
    track = clip.track
    if track.seen.sum() / FPS < SHORTEST_BLINKS:
        raise NotScored(f"less than {SHORTEST_BLINKS:g} s show a face")
    found = blinks(eye_aspect_ratio(torch.from_numpy(track.points_68[:, EYES])), FPS)
    values = {"blink_rate": found.per_minute}
    if not len(found.starts):
        return Scores(values, missing={"blink_duration": "no blink"})
    return Scores({**values, "blink_duration": float(found.durations.quantile(0.5))})


def _column(name: str, label: str, unit: str, decimals: int, about: str) -> MetricColumn:
    return MetricColumn(name, label, about, None, "motion", unit, decimals, TRACKER)


NEAR = "to be near the reference's"
HEAD_MOTION = f"spread of pitch, yaw and roll within a clip; {NEAR}"
BEATS = "audio onsets near moments at which the head rests or turns"
RATE = f"blinks a minute, clips of {SHORTEST_BLINKS:g} s and more; {NEAR}"
LENGTH = "median time that the lids are under 80 % of open"
ORDER = 60
EXTRACTORS = (AudioExtractor(ONSETS, _onset_judge, _open_onsets),)
ENTRIES = {
    "head_motion": ClipMetric(
        (_column("head_motion", "Head motion", "°", 2, HEAD_MOTION),),
        _head_motion,
        needs_reference=False,
        breakdown={"head_motion": ANGLES},
    ),
    "beat_alignment": ClipMetric(
        (MetricColumn("beat_alignment", "Beat align", BEATS, True, "motion", high=1.0),),
        _beats,
        needs=(ONSETS,),
        needs_reference=False,
    ),
    "blinks": ClipMetric(
        (
            _column("blink_rate", "Blinks", "/min", 1, RATE),
            _column("blink_duration", "Blink length", "s", 2, LENGTH),
        ),
        _blinks,
        needs_reference=False,
    ),
}
