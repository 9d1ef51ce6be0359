"""Means over clips with intervals over people, and the tables that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks._compare_scores import Column, Scores
from benchmarks._small import RESAMPLES


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its 95 % interval, and how many clips and people are behind it."""

    mean: float
    low: float
    high: float
    clips: int
    people: int

    def cell(self, places: int, sign: str = "") -> str:
        """As a table says it."""
        shown = [f"{value:{sign}.{places}f}" for value in (self.mean, self.low, self.high)]
        return f"{shown[0]} [{shown[1]}, {shown[2]}]" if self.clips > 1 else shown[0]


Estimates = dict[str, dict[str, dict[str, Estimate | None]]]
"""Row -> score -> ``mean``, and ``minus``: the paired difference to another row."""


@dataclass
class Drawn:
    """One row's scores of each clip; None for a clip that it could not draw, for the reason given."""

    scores: list[Scores | None]
    reason: str = ""

    @property
    def failed(self) -> int:
        """How many it could not draw."""
        return sum(scores is None for scores in self.scores)


def estimate(values: np.ndarray, people: Sequence[str]) -> Estimate | None:
    """Mean of the clips that have a value; the interval is a bootstrap over people, over clips where there is one person.

    None without any value.
    """
    there = np.isfinite(values)
    if not there.any():
        return None
    names = np.asarray(people)[there]
    drawn = names if len(set(names)) > 1 else np.arange(there.sum()).astype(str)
    rows = np.array(
        [(values[there][drawn == name].sum(), (drawn == name).sum()) for name in sorted(set(drawn))]
    )
    totals = rows[np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))].sum(
        axis=1
    )
    low, high = np.quantile(totals[:, 0] / totals[:, 1], (0.025, 0.975))
    return Estimate(
        float(values[there].mean()), float(low), float(high), int(there.sum()), len(set(names))
    )


def values_of(drawn: Drawn, score: str) -> np.ndarray:
    """One score of every clip, nan where there is none."""
    return np.array(
        [np.nan if scores is None else scores.get(score, np.nan) for scores in drawn.scores]
    )


def estimates(
    rows: Mapping[str, Drawn], columns: Mapping[str, Column], people: Sequence[str], beside: str
) -> Estimates:
    """Every row's scores, and their differences to the row ``beside`` (none where there is no such row)."""
    found: Estimates = {}
    for name, drawn in rows.items():
        found[name] = {}
        for score in columns:
            values = values_of(drawn, score)
            mean = estimate(values, people)
            compared = name != beside and beside in rows
            minus = estimate(values - values_of(rows[beside], score), people) if compared else None
            found[name][score] = {"mean": mean, "minus": minus}
    return found


def to_json(found: Estimates) -> dict:
    """The same as plain values."""
    return {
        row: {
            score: {kind: asdict(value) if value else None for kind, value in both.items()}
            for score, both in scores.items()
        }
        for row, scores in found.items()
    }


def table(found: Estimates, columns: Mapping[str, Column], kind: str) -> list[str]:
    """Markdown: a line for each score that anyone has, a column for each row of the comparison."""
    names = list(found)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for score, column in columns.items():
        values = [found[name][score][kind] for name in names]
        if any(values):
            arrow = {True: " ↑", False: " ↓", None: ""}[column.better]
            cells = [
                value.cell(column.places, "+" if kind == "minus" else "") if value else "–"
                for value in values
            ]
            unit = f", {column.unit}" if column.unit else ""
            lines.append(f"| {column.label}{unit}{arrow} | " + " | ".join(cells) + " |")
    return lines
