"""The results table: cells from scored clips, and the clips on which systems are compared."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from evaluation.judges.base import JudgeInfo
from evaluation.protocol import CONTROLS, REFERENCE, NotScored
from evaluation.records import MetricColumn, Record, SetEstimate, SetResult
from evaluation.runner.cache import FeatureCache
from evaluation.runner.controls import applies_to_control
from evaluation.suite import judges_of, unavailable
from evaluation.suite.base import ClipMetric, Entry, Features, SetMetric, columns_of

AGAINST_ITSELF = "compares with the reference, which is this row"
OTHER_CONTROL = "not applicable to this control"
NO_CLIP = "no clip was scored"
OWN_CLIPS = "on its own clips, because the systems have none in common"


def empty_cell(column: MetricColumn, judges: Sequence[JudgeInfo], reason: str) -> dict[str, Any]:
    """A cell without a number."""
    return {
        "mean": None,
        "std": None,
        "ci95": None,
        "n": 0,
        "higher_is_better": column.higher_is_better,
        "judge": column.judge or " + ".join(info.name for info in judges) or None,
        "judge_sha256": " + ".join(info.sha256 for info in judges if info.sha256) or None,
        "reason": reason,
    }


def mean_cell(
    values: Sequence[float],
    column: MetricColumn,
    judges: Sequence[JudgeInfo],
    reason: str = NO_CLIP,
) -> dict[str, Any]:
    """The mean of clips with its sample deviation and Student interval.

    Args:
        values: the clips' scores, finite.
        column: what they are.
        judges: who scored.
        reason: why there is no number, if there are no values.
    """
    cell = empty_cell(column, judges, reason)
    if not values:
        return cell
    del cell["reason"]
    mean, n = float(np.mean(values)), len(values)
    cell |= {"mean": mean, "n": n}
    if n > 1:
        cell["std"] = std = float(np.std(values, ddof=1))
        half = float(stats.t.ppf(0.975, n - 1)) * std / math.sqrt(n)
        cell["ci95"] = _clipped(mean - half, mean + half, column)
    return cell


def estimate_cell(
    estimate: SetEstimate, column: MetricColumn, judges: Sequence[JudgeInfo]
) -> dict[str, Any]:
    """A number of a whole set with its own interval."""
    if not math.isfinite(estimate.value):
        return empty_cell(column, judges, "the computation gave no number")
    cell = empty_cell(column, judges, "")
    del cell["reason"]
    ci95, std = estimate.ci95, estimate.std
    if ci95 is not None and all(map(math.isfinite, ci95)):
        cell["ci95"] = _clipped(*map(float, ci95), column)
    if std is not None and math.isfinite(std):
        cell["std"] = float(std)
    cell |= {"mean": float(estimate.value), "n": estimate.n, "unit": estimate.unit}
    return cell | ({"flag": estimate.flag} if estimate.flag else {})


def _clipped(low: float, high: float, column: MetricColumn) -> list[float]:
    """An interval cut to possible scores: a Student interval of few values knows no bounds."""
    least = -math.inf if column.low is None else column.low
    most = math.inf if column.high is None else column.high
    return [max(low, least), min(high, most)]


class StoredSet:
    """Scored clips of one system, sorted by clip; features are loaded from the cache one clip at a
    time.

    Args:
        records: scored records of one system.
        references: scored reference records by clip; None for the references themselves.
        cache: where features are.
    """

    def __init__(
        self,
        records: Iterable[Record],
        references: Mapping[str, Record] | None,
        cache: FeatureCache | None,
    ) -> None:
        self.records = sorted(records, key=lambda record: record.clip)
        self._references, self._cache = references, cache
        names = sorted({r.reference for r in self.records if r.reference is not None})
        found = [references[name] for name in names if name in references] if references else []
        self.reference = StoredSet(found, None, cache) if found else None

    def paired(self) -> StoredSet:
        """Only the clips that have a reference."""
        mine = (r for r in self.records if r.reference is not None)
        return StoredSet(mine, self._references, self._cache)

    def features(self, extractor: str) -> Iterator[tuple[Record, Features]]:
        """Each clip that has features of this extractor, with them."""
        for record in self.records:
            name = record.stored.get(extractor)
            known = name is not None and self._cache is not None
            found = self._cache.load(name) if known else None
            if found is not None:
                yield record, found


class ComparedClips:
    """The clips on which the rows of one table are compared.

    Clips of different systems are the same clip when they have the same reference, or the same name
    where a reference has several clips in a system.

    Args:
        records: of all systems.
        systems: the rows.
    """

    def __init__(self, records: Sequence[Record], systems: Sequence[str]) -> None:
        self.scored = {s: [] for s in systems}
        for record in records:
            if record.failure is None and record.system in self.scored:
                self.scored[record.system].append(record)
        self.competing = [s for s in systems if s != REFERENCE and s not in CONTROLS]
        mine = [self.scored[s] for s in self.competing]
        self._by_reference = all(
            all(r.reference for r in rows) and len({r.reference for r in rows}) == len(rows)
            for rows in mine
        )

    def name(self, record: Record) -> str:
        """The name that a clip has in every system."""
        return record.reference if self._by_reference and record.reference else record.clip

    def rows(self, column: str | None = None) -> tuple[dict[str, list[Record]], bool]:
        """System -> its records on the common clips, and whether there are such clips.

        The references and controls are those of the common clips. Without a common clip every
        system keeps its own.

        Args:
            column: only clips with a score here count; None takes every scored clip.
        """
        having = {
            system: [r for r in rows if column is None or column in r.values]
            for system, rows in self.scored.items()
        }
        names = [{self.name(r) for r in having[s]} for s in self.competing if having[s]]
        common = set.intersection(*names) if names else set()
        compared = bool(common) or len(names) < 2
        if common:
            for system in self.competing:
                having[system] = [r for r in having[system] if self.name(r) in common]
        references = {r.reference for s in self.competing for r in having[s]} - {None}
        for system in set(having) - set(self.competing) if references else ():
            having[system] = [r for r in having[system] if (r.reference or r.clip) in references]
        return having, compared

    def missing(self) -> dict[str, list[str]]:
        """System -> clips that other systems have a score for and this one lacks."""
        names = {s: {self.name(r) for r in self.scored[s]} for s in self.competing}
        everything = set().union(*names.values())
        return {s: sorted(everything - mine) for s, mine in names.items() if everything - mine}


class Table:
    """Computes the rows of the results from scored clips.

    Args:
        entries: the metrics.
        judges: the protocol's own judges.
        clips: what is compared.
        cache: where features of the records are, for metrics over sets.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        judges: Sequence[JudgeInfo],
        clips: ComparedClips,
        cache: FeatureCache | None,
    ) -> None:
        self._entries, self._blocked = entries, unavailable(entries)
        self._known = {info.name: info for info in judges}
        self._judges = {n: [] if n in self._blocked else judges_of(e) for n, e in entries.items()}
        self._clips = clips
        columns = [c.name for entry in entries.values() for c in columns_of(entry)]
        self._rows = {name: clips.rows(name) for name in columns}
        whole, self._whole_compared = clips.rows()
        references = {record.clip: record for record in clips.scored.get(REFERENCE, ())}
        self._sets = {
            system: StoredSet(rows, None if system == REFERENCE else references, cache)
            for system, rows in whole.items()
        }

    def judges(self) -> list[JudgeInfo]:
        """Every judge that scored, the protocol's own first."""
        others = (info for found in self._judges.values() for info in found)
        return list(dict.fromkeys([*self._known.values(), *others]))

    def row(self, system: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """One system's cells and details."""
        cells: dict[str, Any] = {}
        details: dict[str, Any] = {}
        competes = system in self._clips.competing
        for name, entry in self._entries.items():
            reason = self._blocked.get(name)
            if reason is None and system in CONTROLS and not applies_to_control(entry, system):
                reason = OTHER_CONTROL
            if reason is not None:
                found = {
                    c.name: empty_cell(c, self._who(name, c), reason) for c in columns_of(entry)
                }
                compared = {}
            elif isinstance(entry, SetMetric):
                found = self._set_cells(name, entry, system, details)
                compared = dict.fromkeys(found, self._whole_compared)
            else:
                found = {c.name: self._cell(name, c, system) for c in columns_of(entry)}
                compared = {c: self._rows[c][1] for c in found}
                if isinstance(entry, ClipMetric):
                    details |= _breakdown(entry, self._sets[system].records)
            for column, cell in found.items():
                if competes and cell["mean"] is not None and not compared[column]:
                    cell["own_clips"] = True
                    cell["flag"] = "; ".join(filter(None, (cell.get("flag"), OWN_CLIPS)))
            cells |= found
        return cells, details

    def _who(self, name: str, column: MetricColumn) -> Sequence[JudgeInfo]:
        """The judges of a column: the one it names, else those of its entry."""
        if column.judge in self._known:
            return [self._known[column.judge]]
        return self._judges[name]

    def _cell(self, name: str, column: MetricColumn, system: str) -> dict[str, Any]:
        values = [
            r.values[column.name]
            for r in self._rows[column.name][0][system]
            if column.name in r.values
        ]
        reasons = [
            r.missing[column.name] for r in self._clips.scored[system] if column.name in r.missing
        ]
        reason = max(sorted(set(reasons)), key=reasons.count) if reasons else NO_CLIP
        if system == REFERENCE and not reasons:
            reason = AGAINST_ITSELF
        return mean_cell(values, column, self._who(name, column), reason)

    def _set_cells(
        self, name: str, entry: SetMetric, system: str, details: dict[str, Any]
    ) -> dict[str, Any]:
        """The cells of a metric over a set, whose own details go to ``details``."""
        clips = self._sets[system]
        if entry.needs_reference and clips.reference is None:
            reason = AGAINST_ITSELF if system == REFERENCE else "no clip has a reference"
            return {c.name: empty_cell(c, self._who(name, c), reason) for c in entry.columns}
        try:
            found = entry.score(clips.paired() if entry.needs_reference else clips)
        except NotScored as error:
            found = SetResult(reasons={c.name: str(error) for c in entry.columns})
        except Exception as error:
            # One metric's bug must not cost hours of scores; the traceback is printed.
            traceback.print_exc()
            reason = f"unexpected {type(error).__name__}: {error}"
            found = SetResult(reasons={c.name: reason for c in entry.columns})
        if found.details:
            details[name] = _finite(found.details)
        cells = {}
        for column in entry.columns:
            judges = self._who(name, column)
            if column.name in found.estimates:
                cells[column.name] = estimate_cell(found.estimates[column.name], column, judges)
            else:
                values = found.samples.get(column.name, [])
                reason = found.reasons.get(column.name, NO_CLIP)
                cells[column.name] = mean_cell(values, column, judges, reason)
        return cells


def _finite(value: Any) -> Any:
    """Plain containers in which nan and infinity are null, because JSON has no other form for
    them."""
    if isinstance(value, Mapping):
        return {str(name): _finite(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _breakdown(entry: ClipMetric, records: Sequence[Record]) -> dict[str, Any]:
    """Kept vectors' means over clips, by the names of their numbers."""
    details = {}
    for kept, labels in entry.breakdown.items():
        vectors = [r.features[kept] for r in records if kept in r.features]
        if vectors:
            means = np.nanmean(np.array(vectors, np.float64), axis=0)
            named = zip(labels, means, strict=True)
            details[kept] = {label: float(v) for label, v in named if np.isfinite(v)}
    return details
