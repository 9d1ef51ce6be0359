"""Landmarks beside the reference's: distances of mouth and face, EAT's versions, action units,
placement, jitter."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from emo_lightning.core.constants import FPS
from evaluation.judges.action_units import UNITS
from evaluation.judges.geometry import LEFT_EYE, RIGHT_EYE
from evaluation.judges.landmark_track import Track, place_beside
from evaluation.metrics.au_error import au_error
from evaluation.metrics.eat_landmark_distance import NAMES, eat_landmark_distances
from evaluation.metrics.jitter import jitter
from evaluation.metrics.landmark_distance import landmark_distance, mouth_distance
from evaluation.protocol import SIZE, NotScored, same_framing
from evaluation.records import MetricColumn, Scores
from evaluation.suite.base import ClipMetric, EvaluatedClip

TRACKER, FIT = "mediapipe-478", "fit+blendshapes on mediapipe-478"
MOUTH = slice(48, 68)
"""The mouth among the 68 points."""


def shared_frames(clip: EvaluatedClip, reference: EvaluatedClip | None) -> tuple[np.ndarray, Track]:
    """Indices of the frames, at equal timestamps, in which both faces were found, and the
    reference's track.

    Raises:
        NotScored: no reference, or no such frame.
    """
    if reference is None:
        raise NotScored("no reference")
    shared = min(len(clip.track), len(reference.track))
    both = np.flatnonzero(clip.track.seen[:shared] & reference.track.seen[:shared])
    if not len(both):
        raise NotScored("no moment shows a face in both clips")
    return both, reference.track


def _points(clip: EvaluatedClip, reference: EvaluatedClip | None) -> tuple[list[Tensor], Tensor]:
    """The 68 points of clip and reference at shared frames, and the reference's inter-ocular
    distance."""
    at, beside = shared_frames(clip, reference)
    points = [torch.from_numpy(track.points_68[at]) for track in (clip.track, beside)]
    return points, torch.tensor(beside.interocular)


def _f_lmd(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    points, unit = _points(clip, reference)
    return Scores({"f_lmd": float(landmark_distance(*points, unit).mean())})


def _m_lmd(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    points, unit = _points(clip, reference)
    mouths = (p[:, MOUTH] for p in points)
    return Scores({"m_lmd": float(mouth_distance(*mouths, unit).mean())})


def _eat(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    points, _ = _points(clip, reference)
    found = eat_landmark_distances(*((p + 1) / 2 * SIZE for p in points))
    return Scores({f"eat_{name}": getattr(found, name) for name in NAMES})


def _au_error(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    at, beside = shared_frames(clip, reference)
    errors = au_error(torch.from_numpy(clip.track.units[at]), torch.from_numpy(beside.units[at]))
    return Scores({"au_error": float(errors.mean())}, {"au_error": errors.tolist()})


def _jitter(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    """Over every run of at least three consecutive frames with a face."""
    del reference
    track = clip.track
    runs = np.split(np.arange(len(track)), np.flatnonzero(np.diff(track.seen)) + 1)
    runs = [run for run in runs if len(run) >= 3 and track.seen[run[0]]]
    if not runs:
        raise NotScored("fewer than three consecutive frames show a face")
    points, unit = torch.from_numpy(track.points_68), torch.tensor(track.interocular)
    values = [jitter(points[run[0] : run[-1] + 1], unit, FPS) for run in runs]
    return Scores({"jitter": float(torch.cat(values).mean())})


def _placement(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    """The face's place beside the reference's, in images brought to one width."""
    if reference is None:
        raise NotScored("no reference")
    mine, theirs = clip.track, reference.track
    if not same_framing(mine.size, theirs.size):
        raise NotScored("the images differ in aspect ratio, so places in them do not compare")
    found = place_beside(mine.points * (theirs.size[0] / mine.size[0]), theirs)
    frame = int(np.flatnonzero(mine.seen[: len(theirs)] & theirs.seen[: len(mine)])[0])
    eyes = theirs.points[frame, [LEFT_EYE, RIGHT_EYE], :2]
    moved = eyes.mean(axis=0) - (eyes.mean(axis=0) - found.shift) / found.scale
    shift = float(np.linalg.norm(moved) / np.linalg.norm(eyes[0] - eyes[1]))
    return Scores({"face_shift": shift, "face_zoom": 1.0 / found.scale})


def _column(
    name: str, label: str, unit: str, decimals: int, about: str, better: bool | None = False
) -> MetricColumn:
    return MetricColumn(name, label, about, better, "landmarks", unit, decimals, TRACKER)


M_LMD = _column("m_lmd", "M-LMD", "IOD", 4, "mouth landmarks, each frame on its own centre")
F_LMD = _column("f_lmd", "F-LMD", "IOD", 4, "68 landmarks where they lie in the crop")
EAT = (
    _column("eat_mouth", "M-LMD (EAT)", "px", 2, "mouth on its own centre, 256 px crop"),
    _column("eat_face", "F-LMD (EAT)", "px", 2, "68 landmarks on their own centre, 256 px crop"),
    _column("eat_mouth_velocity", "M-LVD (EAT)", "px", 2, "mouth's steps from frame to frame"),
    _column(
        "eat_face_velocity",
        "F-LVD (EAT)",
        "px",
        2,
        "as published: the mouth's steps, summed, over 68 landmarks",
    ),
)
AU_ERROR = MetricColumn(
    "au_error",
    "AU error",
    "mean absolute error over 17 action units",
    False,
    "landmarks",
    "0..1",
    4,
    FIT,
    high=1.0,
)
SHIFT = _column("face_shift", "Face shift", "IOD", 2, "distance of the first face's place")
ZOOM_ABOUT = "size of the first face beside the reference's; if not 1, see --align"
ZOOM = _column("face_zoom", "Face zoom", "", 2, ZOOM_ABOUT, None)
JITTER_ABOUT = "landmarks' mean acceleration; to be near the reference's"
JITTER = _column("jitter", "Jitter", "IOD/s²", 2, JITTER_ABOUT, None)
ORDER = 40
ENTRIES = {
    "m_lmd": ClipMetric((M_LMD,), _m_lmd),
    "f_lmd": ClipMetric((F_LMD,), _f_lmd),
    "au_error": ClipMetric((AU_ERROR,), _au_error, breakdown={"au_error": UNITS}),
    "placement": ClipMetric((SHIFT, ZOOM), _placement, still=False),
    "jitter": ClipMetric((JITTER,), _jitter, needs_reference=False),
    "eat_lmd": ClipMetric(EAT, _eat),
}
