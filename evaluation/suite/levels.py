"""Level response of a system: for each emotion, how the face follows levels 1..15.

The score is read on the emotion's own action units (their mean intensity); the details hold every geometric feature too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges.action_units import signature
from evaluation.judges.geometry import FEATURES
from evaluation.metrics.level_response import MIN_LEVELS, level_response
from evaluation.records import Column, SetResult
from evaluation.suite.base import Clip, ClipSet, SetMetric

ABOUT = "response of each emotion's own action units to the requested level, mean over emotions"
_JUDGE = "fit+blendshapes on mediapipe-478"
COLUMNS = (
    Column(
        "level_rho",
        "Level ρ",
        "",
        True,
        _JUDGE,
        3,
        "Spearman correlation with the level",
        -1.0,
        1.0,
        "level",
    ),
    Column(
        "level_r2", "Level R²", "", True, _JUDGE, 3, "linearity over the levels", 0.0, 1.0, "level"
    ),
    Column(
        "level_range",
        "Level range",
        "AU",
        True,
        _JUDGE,
        3,
        "intensity at the highest level minus at the lowest",
        family="level",
    ),
    Column(
        "level_half",
        "Share at 8",
        "",
        None,
        _JUDGE,
        2,
        "share of the range reached at level 8; 0.5 is even",
        family="level",
    ),
)
NUMBERS = ("rho", "r2", "range", "half")
SIGNATURE = "signature"
FEATURE_LABELS = {SIGNATURE: "the emotion's own action units (mean intensity)", **FEATURES}


def _curve(levels: list[float], values: list[float]) -> dict[str, Any]:
    """One feature's response and the points it was computed from; what is no number becomes null."""
    found = level_response(levels, values)
    numbers = {name: getattr(found, name) for name in NUMBERS}
    order = sorted(range(len(levels)), key=lambda i: levels[i])
    curve = {"levels": [levels[i] for i in order], "values": [values[i] for i in order]}
    return {
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        **curve,
    }


def _moves(curve: dict[str, Any]) -> bool:
    """Whether a curve's ends are apart enough for a share of their distance to mean something, and not wobble over wobble."""
    return abs(curve["range"]) >= 0.5 * (max(curve["values"]) - min(curve["values"]))


def keep(clip: Clip) -> dict[str, list[float]]:
    """What the response is read from: a clip's mean expression and mean geometry."""
    return {
        "expression": np.nanmean(clip.track.expression, axis=0, dtype=np.float64).tolist(),
        "geometry": np.nanmean(clip.track.geometry, axis=0, dtype=np.float64).tolist(),
    }


def respond(clips: ClipSet) -> SetResult:
    """The level response of one system's clips; those without emotion or level play no part.

    Returns:
        One sample an emotion in each column, and ``details[emotion][feature]`` with rho, r2, range, half, levels, values.
    """
    details: dict[str, Any] = {}
    labelled = [
        r for r in clips.records if r.emotion and r.level is not None and "expression" in r.features
    ]
    for emotion in EMOTIONS[1:]:
        mine = [r for r in labelled if r.emotion == emotion]
        if len({r.level for r in mine}) < MIN_LEVELS:
            continue
        levels = [float(r.level) for r in mine if r.level is not None]
        own = [float(signature(np.array(r.features["expression"]), emotion) or 0.0) for r in mine]
        curves = {SIGNATURE: _curve(levels, own)}
        for i, feature in enumerate(FEATURES):
            curves[feature] = _curve(levels, [r.features["geometry"][i] for r in mine])
        details[emotion] = curves
    return _result(details, len(labelled))


def _result(details: dict[str, Any], labelled: int) -> SetResult:
    samples: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for column, number in zip(COLUMNS, NUMBERS, strict=True):
        found = [curves[SIGNATURE] for curves in details.values()]
        samples[column.name] = [
            c[number] for c in found if c[number] is not None and (number != "half" or _moves(c))
        ]
        if not details:
            reasons[column.name] = (
                f"no emotion has clips at {MIN_LEVELS} or more levels"
                if labelled
                else "no clip says its emotion and level"
            )
        elif not samples[column.name]:
            reasons[column.name] = "the faces do not move with the level"
    return SetResult(samples, reasons, details)


ORDER = 70
ENTRIES = {"level_response": SetMetric(COLUMNS, respond, keep=keep, about=ABOUT)}
