"""Landmark distances and velocities as EAT's evaluation code sums them, in pixels of the 256 x 256 crop."""

from __future__ import annotations

import torch

from evaluation.metrics.eat_landmark_distance import NAMES, eat_landmark_distances
from evaluation.protocol import SIZE
from evaluation.records import Column, Scores
from evaluation.suite.base import Clip, ClipMetric
from evaluation.suite.landmarks import TRACKER, shared_frames

LABELS = {
    "mouth": ("M-LMD (EAT)", "px", "mouth landmarks on their own centre, 256 px crop"),
    "face": ("F-LMD (EAT)", "px", "68 landmarks on their own centre, 256 px crop"),
    "mouth_velocity": ("M-LVD (EAT)", "px", "mouth landmarks' steps from frame to frame"),
    "face_velocity": (
        "F-LVD (EAT)",
        "px",
        "as published: the mouth's steps, summed, over 68 landmarks",
    ),
}


def _score(clip: Clip, reference: Clip | None) -> Scores:
    at, beside = shared_frames(clip, reference)
    pixels = [
        torch.from_numpy((track.points_68[at] + 1) / 2 * SIZE) for track in (clip.track, beside)
    ]
    found = eat_landmark_distances(*pixels)
    return Scores({f"eat_{name}": getattr(found, name) for name in NAMES})


ORDER = 41
ENTRIES = {
    "eat_lmd": ClipMetric(
        tuple(
            Column(f"eat_{name}", label, unit, False, TRACKER, 2, about, 0.0, family="landmarks")
            for name, (label, unit, about) in LABELS.items()
        ),
        _score,
    )
}
