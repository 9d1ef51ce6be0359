"""What the landmarks tell beside the reference's: distances of mouth and face, action units, and by themselves: jitter."""

from __future__ import annotations

import numpy as np
import torch

from emo_lightning.core.constants import FPS
from evaluation.judges.action_units import UNITS
from evaluation.judges.geometry import LEFT_EYE, RIGHT_EYE
from evaluation.judges.landmark_track import Track, place_beside
from evaluation.metrics.au_error import au_error
from evaluation.metrics.jitter import jitter
from evaluation.metrics.landmark_distance import landmark_distance, mouth_distance
from evaluation.protocol import NotScored, same_framing
from evaluation.records import Column, Scores
from evaluation.suite.base import Clip, ClipMetric

TRACKER, FIT = "mediapipe-478", "fit+blendshapes on mediapipe-478"
MOUTH = slice(48, 68)
"""The mouth among the 68 points."""


def shared_frames(clip: Clip, reference: Clip | None) -> tuple[np.ndarray, Track]:
    """Indices of the frames, at equal timestamps, in which both faces were found, and the reference's track.

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


def _f_lmd(clip: Clip, reference: Clip | None) -> Scores:
    at, beside = shared_frames(clip, reference)
    points = torch.from_numpy(clip.track.points_68[at]), torch.from_numpy(beside.points_68[at])
    return Scores(
        {"f_lmd": float(landmark_distance(*points, torch.tensor(beside.interocular)).mean())}
    )


def _m_lmd(clip: Clip, reference: Clip | None) -> Scores:
    at, beside = shared_frames(clip, reference)
    points = (
        torch.from_numpy(clip.track.points_68[at, MOUTH]),
        torch.from_numpy(beside.points_68[at, MOUTH]),
    )
    return Scores(
        {"m_lmd": float(mouth_distance(*points, torch.tensor(beside.interocular)).mean())}
    )


def _au_error(clip: Clip, reference: Clip | None) -> Scores:
    at, beside = shared_frames(clip, reference)
    errors = au_error(torch.from_numpy(clip.track.units[at]), torch.from_numpy(beside.units[at]))
    return Scores({"au_error": float(errors.mean())}, {"au_error": errors.tolist()})


def _jitter(clip: Clip, reference: Clip | None) -> Scores:
    """Over every run of at least three consecutive frames with a face."""
    del reference
    track = clip.track
    runs = np.split(np.arange(len(track)), np.flatnonzero(np.diff(track.seen)) + 1)
    points, unit = torch.from_numpy(track.points_68), torch.tensor(track.interocular)
    values = [
        jitter(points[run[0] : run[-1] + 1], unit, FPS)
        for run in runs
        if len(run) >= 3 and track.seen[run[0]]
    ]
    if not values:
        raise NotScored("fewer than three consecutive frames show a face")
    return Scores({"jitter": float(torch.cat(values).mean())})


def _placement(clip: Clip, reference: Clip | None) -> Scores:
    """Where the face is beside the reference's, in pictures brought to one width."""
    if reference is None:
        raise NotScored("no reference")
    mine, theirs = clip.track, reference.track
    if not same_framing(mine.size, theirs.size):
        raise NotScored("the pictures differ in aspect ratio, so places in them do not compare")
    points = mine.points * (theirs.size[0] / mine.size[0])
    found = place_beside(points, theirs)
    frame = int(np.flatnonzero(mine.seen[: len(theirs)] & theirs.seen[: len(mine)])[0])
    eyes = theirs.points[frame, [LEFT_EYE, RIGHT_EYE], :2]
    moved = eyes.mean(axis=0) - (eyes.mean(axis=0) - found.shift) / found.scale
    return Scores(
        {
            "face_shift": float(np.linalg.norm(moved) / np.linalg.norm(eyes[0] - eyes[1])),
            "face_zoom": 1.0 / found.scale,
        }
    )


def _column(
    name: str,
    label: str,
    unit: str,
    better: bool | None,
    judge: str,
    decimals: int,
    about: str,
    high: float | None = None,
) -> Column:
    return Column(name, label, unit, better, judge, decimals, about, 0.0, high, family="landmarks")


ORDER = 40
ENTRIES = {
    "m_lmd": ClipMetric(
        (
            _column(
                "m_lmd",
                "M-LMD",
                "IOD",
                False,
                TRACKER,
                4,
                "mouth landmarks, each frame on its own centre",
            ),
        ),
        _m_lmd,
    ),
    "f_lmd": ClipMetric(
        (
            _column(
                "f_lmd",
                "F-LMD",
                "IOD",
                False,
                TRACKER,
                4,
                "68 landmarks where they lie in the crop",
            ),
        ),
        _f_lmd,
    ),
    "au_error": ClipMetric(
        (
            _column(
                "au_error",
                "AU error",
                "0..1",
                False,
                FIT,
                4,
                "mean absolute error over 17 action units",
                1.0,
            ),
        ),
        _au_error,
        breakdown={"au_error": UNITS},
    ),
    "placement": ClipMetric(
        (
            _column(
                "face_shift",
                "Face shift",
                "IOD",
                False,
                TRACKER,
                2,
                "how far the first face lies from the reference's",
            ),
            _column(
                "face_zoom",
                "Face zoom",
                "",
                None,
                TRACKER,
                2,
                "size of the first face beside the reference's; if not 1, see --align",
            ),
        ),
        _placement,
        still=False,
    ),
    "jitter": ClipMetric(
        (
            _column(
                "jitter",
                "Jitter",
                "IOD/s²",
                None,
                TRACKER,
                2,
                "landmarks' mean acceleration; to be near the reference's",
            ),
        ),
        _jitter,
        needs_reference=False,
    ),
}
