"""Plain data that passes between scoring, merging and the results: columns, records, set
results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FAMILIES: dict[str, str] = {
    "lips": "Lip sync",
    "picture": "Image quality",
    "distribution": "Distribution",
    "identity": "Identity",
    "landmarks": "Landmarks and action units",
    "emotion": "Emotion",
    "motion": "Motion",
    "theval": "Part of THEval",
    "level": "Level response",
}
"""Sections of the results table, in the report's order: name in a column -> heading."""


@dataclass(frozen=True)
class MetricColumn:
    """One column of the results table.

    Attributes:
        name: its key in results.json and per_clip.csv.
        label, unit, about: what the report says of it.
        higher_is_better: None where a value is to be near the ground truth's.
        family: a key of :data:`FAMILIES`.
        decimals: digits shown.
        judge: who scored, where it is always the same; None takes the judges of what the entry
            needs.
        low, high: what a score can reach, so that no interval leaves it.
        histogram: show the clips' values as a histogram too (whole numbers, such as frames).
    """

    name: str
    label: str
    about: str
    higher_is_better: bool | None
    family: str = "picture"
    unit: str = ""
    decimals: int = 3
    judge: str | None = None
    low: float | None = 0.0
    high: float | None = None
    histogram: bool = False

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise ValueError(f"family {self.family!r} of column {self.name} is none of {known}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Scores:
    """A clip metric's scores of one clip.

    Attributes:
        values: column -> score; nan and absent both mean that there is none.
        keep: name -> vector, kept with the clip for metrics over sets and for the report.
        missing: column -> why it has no score while others have.
    """

    values: Mapping[str, float]
    keep: Mapping[str, list[float]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Record:
    """Scores of one clip of one system.

    Attributes:
        system, clip, emotion, level, extra: as in the pairing.
        values: column -> score, finite.
        missing: column -> why it has no score.
        features: name -> one vector, for metrics over sets and for the report's details.
        facts: numbers of frames, framing, hashes.
        failure: why the whole clip could not be scored.
        reference: name of the reference clip, where there is one.
        stored: extractor -> key of its features in the cache.
    """

    system: str
    clip: str
    emotion: str | None = None
    level: float | None = None
    extra: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    features: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None
    reference: str | None = None
    stored: dict[str, str] = field(default_factory=dict)

    def put(self, metric: str, value: float) -> None:
        """Store a score; one that is not a finite number is stored as missing."""
        if math.isfinite(value):
            self.values[metric] = float(value)
        else:
            self.missing[metric] = "the computation gave no number"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SetEstimate:
    """One number of a whole set with its own interval (of a bootstrap, say).

    Attributes:
        value: the score.
        n: what it was computed from; ``unit`` says what that is (``images``, ``clips``).
        std: its standard error, or None.
        ci95: its 95 % interval, or None.
        flag: what a reader must know before trusting it, or None; shown beside the number.
    """

    value: float
    n: int
    unit: str = "clips"
    std: float | None = None
    ci95: tuple[float, float] | None = None
    flag: str | None = None


@dataclass(frozen=True)
class SetResult:
    """Scores of a metric over a set.

    Attributes:
        samples: column -> numbers whose mean is the score, with a Student interval.
        reasons: column -> why there is none.
        details: plain data for the report; see :class:`evaluation.suite.base.SetMetric`.
        estimates: column -> a score that is no mean of samples.
    """

    samples: Mapping[str, list[float]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    estimates: Mapping[str, SetEstimate] = field(default_factory=dict)
