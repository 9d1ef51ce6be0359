"""The suite: every metric that ``emo eval`` can compute, in the order of the report.

Three kinds, by what they look at. A :class:`FrameMetric` sees pairs of cropped frames; a :class:`TrackMetric` sees what the
judges tracked in a clip (and in its reference); a :class:`SetMetric` sees one system's scored clips together. A new metric
is one file in ``evaluation/metrics`` and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emo_lightning.errors import UserError
from evaluation import levels
from evaluation.judges.action_units import UNITS
from evaluation.metrics.au_error import au_error
from evaluation.metrics.jitter import jitter
from evaluation.metrics.landmark_distance import landmark_distance, mouth_distance
from evaluation.metrics.psnr import from_squared_error, squared_error
from evaluation.metrics.ssim import ssim
from evaluation.protocol import FPS, NotScored
from evaluation.records import Column, Record, SetResult
from evaluation.tracks import Track

TRACKER, FIT = "mediapipe-478", "builtin-fit on mediapipe-478"
MOUTH = slice(48, 68)
"""The mouth among the 68 points."""


@dataclass(frozen=True)
class FrameMetric:
    """Scores cropped frames ``(B, 3, S, S)`` uint8 against the reference's: ``(B,)`` values, whose mean ``finish`` turns into the score."""

    column: Column
    frames: Callable[[Tensor, Tensor], Tensor]
    finish: Callable[[float], float] = float


@dataclass(frozen=True)
class TrackMetric:
    """Scores a clip's track, given the reference's (None where there is none): the score, and features to keep by name."""

    column: Column
    score: Callable[[Track, Track | None], tuple[float, dict[str, list[float]]]]
    needs_reference: bool = True


@dataclass(frozen=True)
class SetMetric:
    """Scores all clips of one system together."""

    name: str
    columns: tuple[Column, ...]
    features: Callable[[Track], dict[str, list[float]]]
    score: Callable[[Sequence[Record]], SetResult]
    about: str = field(default="")


Entry = FrameMetric | TrackMetric | SetMetric


def _psnr(mean_squared_error: float) -> float:
    return float(from_squared_error(torch.tensor(mean_squared_error)))


def _both(track: Track, reference: Track | None) -> tuple[np.ndarray, Track]:
    """Indices of the frames, at equal timestamps, in which both faces were found."""
    if reference is None:
        raise NotScored("no reference")
    shared = min(len(track), len(reference))
    both = np.flatnonzero(track.seen[:shared] & reference.seen[:shared])
    if not len(both):
        raise NotScored("no moment shows a face in both clips")
    return both, reference


def _f_lmd(track: Track, reference: Track | None) -> tuple[float, dict[str, list[float]]]:
    at, reference = _both(track, reference)
    points = torch.from_numpy(track.points_68[at]), torch.from_numpy(reference.points_68[at])
    return float(landmark_distance(*points, torch.tensor(reference.interocular)).mean()), {}


def _m_lmd(track: Track, reference: Track | None) -> tuple[float, dict[str, list[float]]]:
    at, reference = _both(track, reference)
    points = torch.from_numpy(track.points_68[at, MOUTH]), torch.from_numpy(reference.points_68[at, MOUTH])
    return float(mouth_distance(*points, torch.tensor(reference.interocular)).mean()), {}


def _au_error(track: Track, reference: Track | None) -> tuple[float, dict[str, list[float]]]:
    at, reference = _both(track, reference)
    errors = au_error(torch.from_numpy(track.units[at]), torch.from_numpy(reference.units[at]))
    return float(errors.mean()), {"au_error": errors.tolist()}


def _jitter(track: Track, reference: Track | None) -> tuple[float, dict[str, list[float]]]:
    """Over every run of at least three consecutive frames with a face."""
    del reference
    runs = np.split(np.arange(len(track)), np.flatnonzero(np.diff(track.seen)) + 1)
    points, unit = torch.from_numpy(track.points_68), torch.tensor(track.interocular)
    values = [jitter(points[run[0] : run[-1] + 1], unit, FPS) for run in runs if len(run) >= 3 and track.seen[run[0]]]
    if not values:
        raise NotScored("fewer than three consecutive frames show a face")
    return float(torch.cat(values).mean()), {}


def _level_features(track: Track) -> dict[str, list[float]]:
    return {
        "expression": np.nanmean(track.expression, axis=0, dtype=np.float64).tolist(),
        "geometry": np.nanmean(track.geometry, axis=0, dtype=np.float64).tolist(),
    }


SUITE: Mapping[str, Entry] = {
    "psnr": FrameMetric(Column("psnr", "PSNR", "dB", True, None, 2, "pooled over the clip's frames", 0.0), squared_error, _psnr),
    "ssim": FrameMetric(Column("ssim", "SSIM", "", True, None, 3, "Gaussian window 11, sigma 1.5, mean over frames", -1.0, 1.0), ssim),
    "m_lmd": TrackMetric(Column("m_lmd", "M-LMD", "IOD", False, TRACKER, 4, "mouth landmarks, each frame on its own centre", 0.0), _m_lmd),
    "f_lmd": TrackMetric(Column("f_lmd", "F-LMD", "IOD", False, TRACKER, 4, "68 landmarks where they lie in the crop", 0.0), _f_lmd),
    "au_error": TrackMetric(
        Column("au_error", "AU error", "0..1", False, FIT, 4, "mean absolute error over 17 action units", 0.0, 1.0), _au_error
    ),
    "jitter": TrackMetric(
        Column("jitter", "Jitter", "IOD/s²", None, TRACKER, 2, "landmarks' mean acceleration; to be near the reference's", 0.0),
        _jitter,
        False,
    ),
    "level_response": SetMetric("level_response", levels.COLUMNS, _level_features, levels.respond, levels.ABOUT),
}
PER_UNIT = {"au_error": UNITS}
"""Features of a clip that the report breaks down by name."""


def choose(names: Sequence[str] | None) -> dict[str, Entry]:
    """The wanted entries in the suite's order; all of them for None.

    Raises:
        UserError: an unknown metric, or none at all.
    """
    if names is None:
        return dict(SUITE)
    for name in names:
        if name not in SUITE:
            raise UserError("--metrics", name, ", ".join(SUITE), "is not a metric")
    if not names:
        raise UserError("--metrics", "", ", ".join(SUITE), "names no metric")
    return {name: entry for name, entry in SUITE.items() if name in names}


def columns(entries: Mapping[str, Entry]) -> list[Column]:
    """The columns of the results table that these entries fill."""
    return [column for entry in entries.values() for column in (entry.columns if isinstance(entry, SetMetric) else (entry.column,))]


def describe(entries: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """The columns as plain data, for results.json."""
    return [column.to_json() for column in columns(entries)]
