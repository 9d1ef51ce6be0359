"""Level response of a system: for each emotion, how the face follows levels 1..15.

The score rests on the emotion's own action units (their mean intensity); the details hold every
geometric feature too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges.action_units import signature
from evaluation.judges.geometry import FEATURES
from evaluation.metrics.level_response import MIN_LEVELS, level_response
from evaluation.records import MetricColumn, SetResult
from evaluation.suite.base import ClipSet, EvaluatedClip, SetMetric

NUMBERS = ("rho", "r2", "range", "half")
SIGNATURE = "signature"
FEATURE_LABELS = {SIGNATURE: "the emotion's own action units (mean intensity)", **FEATURES}


def _curve(levels: Sequence[float], values: Sequence[float]) -> dict[str, Any]:
    """One feature's response and the points it was computed from; what is no number becomes
    null."""
    found = level_response(levels, values)
    numbers = {name: getattr(found, name) for name in NUMBERS}
    points = sorted(zip(levels, values, strict=True), key=lambda point: point[0])
    curve = {"levels": [level for level, _ in points], "values": [value for _, value in points]}
    return {name: v if math.isfinite(v) else None for name, v in numbers.items()} | curve


def _moves(curve: dict[str, Any]) -> bool:
    """Whether a curve's range is at least half of its spread, so that a share of it means
    something."""
    return abs(curve["range"]) >= 0.5 * (max(curve["values"]) - min(curve["values"]))


def keep(clip: EvaluatedClip) -> dict[str, list[float]]:
    """A clip's mean expression and mean geometry."""
    return {
        "expression": np.nanmean(clip.track.expression, axis=0, dtype=np.float64).tolist(),
        "geometry": np.nanmean(clip.track.geometry, axis=0, dtype=np.float64).tolist(),
    }


def level_responses(clips: ClipSet) -> SetResult:
    """The level response of one system's clips; those without emotion or level are skipped.

    Returns:
        One sample an emotion in each column, and ``details[emotion][feature]`` with rho, r2, range,
        half, levels, values.
    """
    details: dict[str, Any] = {}
    labelled = [
        r for r in clips.records if r.emotion and r.level is not None and "expression" in r.features
    ]
    for emotion in EMOTIONS[1:]:
        mine = [r for r in labelled if r.emotion == emotion]
        levels = [float(r.level) for r in mine]
        if len(set(levels)) < MIN_LEVELS:
            continue
        own = [float(signature(np.array(r.features["expression"]), emotion) or 0.0) for r in mine]
        geometry = zip(*(r.features["geometry"] for r in mine), strict=True)
        values = {SIGNATURE: own} | dict(zip(FEATURES, geometry, strict=True))
        details[emotion] = {feature: _curve(levels, series) for feature, series in values.items()}
    return _result(details, len(labelled))


def _result(details: dict[str, Any], labelled: int) -> SetResult:
    samples: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    own = [curves[SIGNATURE] for curves in details.values()]
    for column, number in zip(COLUMNS, NUMBERS, strict=True):
        known = [c for c in own if c[number] is not None and (number != "half" or _moves(c))]
        samples[column.name] = [c[number] for c in known]
        if not details:
            few = f"no emotion has clips at {MIN_LEVELS} or more levels"
            reasons[column.name] = few if labelled else "no clip has an emotion and a level"
        elif not known:
            reasons[column.name] = "the faces do not move with the level"
    return SetResult(samples, reasons, details)


def _column(
    number: str, label: str, about: str, better: bool | None, low: float | None = None
) -> MetricColumn:
    unit, high = ("AU", None) if number == "range" else ("", None if low is None else 1.0)
    judge = "fit+blendshapes on mediapipe-478"
    decimals = 2 if number == "half" else 3
    return MetricColumn(
        f"level_{number}", label, about, better, "level", unit, decimals, judge, low, high
    )


COLUMNS = (
    _column("rho", "Level ρ", "Spearman correlation with the level", True, -1.0),
    _column("r2", "Level R²", "linearity over the levels", True, 0.0),
    _column("range", "Level range", "intensity at the highest level minus at the lowest", True),
    _column("half", "Share at 8", "share of the range reached at level 8; 0.5 is even", None),
)
ORDER = 70
ENTRIES = {"level_response": SetMetric(COLUMNS, level_responses, keep=keep)}
