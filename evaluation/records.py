"""The plain data that passes between scoring, merging and the results: columns and one record a scored clip."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    """One column of the results table.

    ``higher_is_better`` is None where a value is to be near another one; ``low`` and ``high`` are what a score can reach, so
    that no interval leaves it.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool | None
    judge: str | None
    decimals: int
    about: str
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Record:
    """What was found for one clip of one system.

    Attributes:
        system, clip, emotion, level, extra: as in the pairing.
        values: metric -> score, finite or infinite, never nan.
        missing: metric -> why it has no score.
        features: name -> one vector, for metrics over sets and for the report's details.
        facts: numbers of frames, framing, hashes.
        failure: why the whole clip could not be scored.
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

    def put(self, metric: str, value: float) -> None:
        """Store a score; one that is not a number is stored as missing."""
        if math.isnan(value):
            self.missing[metric] = "the computation gave no number"
        else:
            self.values[metric] = value

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Record:
        """The inverse of :meth:`to_json`; TypeError for other fields."""
        return Record(**data)


@dataclass(frozen=True)
class SetResult:
    """What a metric over a set found: for each column its samples (their mean is the score) or the reason for none, and details."""

    samples: dict[str, list[float]]
    reasons: dict[str, str]
    details: dict[str, Any]
