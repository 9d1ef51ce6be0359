"""One cell of the results table: a score with its spread, its interval, its number of clips and its judge, or the reason for none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from evaluation.judges.base import JudgeInfo
from evaluation.records import Column, Estimate


def empty(column: Column, judges: Sequence[JudgeInfo], reason: str) -> dict[str, Any]:
    """A cell without a number."""
    cell: dict[str, Any] = {
        "mean": None,
        "std": None,
        "ci95": None,
        "n": 0,
        "higher_is_better": column.higher_is_better,
    }
    names = column.judge or " + ".join(info.name for info in judges) or None
    hashes = " + ".join(info.sha256 for info in judges if info.sha256) or None
    return {**cell, "judge": names, "judge_sha256": hashes, "reason": reason}


def summarise(
    values: Sequence[float],
    column: Column,
    judges: Sequence[JudgeInfo],
    reason: str = "no clip was scored",
) -> dict[str, Any]:
    """The mean of clips.

    Args:
        values: the clips' scores; may hold infinities, never nan.
        column: what they are.
        judges: who scored.
        reason: why there is no number, if there are no values.
    """
    cell = empty(column, judges, reason)
    if not values:
        return cell
    cell["n"] = len(values)
    endless = sum(math.isinf(v) for v in values)
    if endless:
        same = f"infinite: {endless} of {len(values)} clips are equal to their reference in every pixel"
        return {**cell, "infinite": True, "reason": same}
    del cell["reason"]
    cell["mean"] = float(np.mean(values))
    if len(values) > 1:
        cell["std"] = float(np.std(values, ddof=1))
        half = float(stats.t.ppf(0.975, len(values) - 1)) * cell["std"] / math.sqrt(len(values))
        cell["ci95"] = _inside(cell["mean"] - half, cell["mean"] + half, column)
    return cell


def estimated(estimate: Estimate, column: Column, judges: Sequence[JudgeInfo]) -> dict[str, Any]:
    """A number of a whole set with its own interval."""
    if not math.isfinite(estimate.value):
        return empty(column, judges, "the computation gave no number")
    cell = empty(column, judges, "")
    del cell["reason"]
    known = estimate.ci95 is not None and all(map(math.isfinite, estimate.ci95))
    ci95 = _inside(*map(float, estimate.ci95), column) if known else None
    std = float(estimate.std) if estimate.std is not None and math.isfinite(estimate.std) else None
    cell |= {
        "mean": float(estimate.value),
        "std": std,
        "ci95": ci95,
        "n": estimate.n,
        "unit": estimate.unit,
    }
    return {**cell, "flag": estimate.flag} if estimate.flag else cell


def _inside(low: float, high: float, column: Column) -> list[float]:
    """An interval cut to the scores that there can be: a Student interval of few values knows no bounds."""
    least, most = (
        (-math.inf if column.low is None else column.low),
        (math.inf if column.high is None else column.high),
    )
    return [max(low, least), min(high, most)]


def named(
    judges: Sequence[JudgeInfo], column: Column, known: Mapping[str, JudgeInfo]
) -> Sequence[JudgeInfo]:
    """The judges of a column: the one it names, else those of its entry."""
    return [known[column.judge]] if column.judge in known else judges
