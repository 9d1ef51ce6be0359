"""``results.json`` (the source of truth) and ``per_clip.csv``, from scored records.

A score is the mean over clips with its sample deviation and a 95 % Student interval. What could not be computed has
``mean: null`` and a ``reason``. An infinite mean (PSNR of clips equal to their reference) has ``mean: null`` and
``infinite: true``, because JSON has no infinity; ``per_clip.csv`` says ``inf`` for such a clip.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from emo_lightning.core import provenance
from emo_lightning.core.constants import FPS
from evaluation.judges.base import JudgeInfo
from evaluation.protocol import CONTROLS, REFERENCE, SIZE, NotScored, protocol_name
from evaluation.records import FAMILIES, Column, Record, SetResult
from evaluation.runner.cache import FeatureCache
from evaluation.runner.clip_features import StoredSet, scored_sets
from evaluation.runner.clip_metrics import NO_REFERENCE
from evaluation.runner.controls import scored
from evaluation.runner.judge_registry import judges_of, unavailable
from evaluation.runner.pairs import Failure
from evaluation.runner.statistics import empty, estimated, named, summarise
from evaluation.suite import columns, levels
from evaluation.suite.base import ClipMetric, Entry, SetMetric, columns_of

AGAINST_ITSELF = "compares with the reference, which is this row"
OTHER_CONTROL = "says nothing of this control"
INTERVAL = "95 %: Student over clips (level response: over emotions; scores of a whole set: their own, see the column)"
LABELS = ("system", "clip", "emotion", "level")
FACTS = (
    "frames",
    "reference_frames",
    "compared_frames",
    "length_difference_s",
    "frames_without_face",
    "framing",
    "width",
    "height",
    "sha256",
)
PACKAGES = ("numpy", "torch", "mediapipe", "av", "opencv-contrib-python", "torchmetrics")


def notes(records: Sequence[Record], systems: Sequence[str]) -> list[str]:
    """What a reader must know of the clips that were scored: other lengths, other framing, frames without a face."""
    found = []
    for system in systems:
        mine = [r.facts for r in records if r.system == system and r.failure is None]
        lengths = [abs(f["length_difference_s"]) for f in mine if f.get("length_difference_s")]
        faceless = sum(f.get("frames_without_face", 0) > 0 for f in mine)
        own = sum(f.get("framing") == "own" for f in mine)
        if lengths:
            found.append(
                f"{system}: {len(lengths)} of {len(mine)} clips differ in length from their reference, by up to {max(lengths):g} s"
            )
        if own:
            found.append(
                f"{system}: {own} of {len(mine)} clips do not show their reference's view, so each has its own crop"
            )
        if faceless:
            found.append(
                f"{system}: {faceless} of {len(mine)} clips have frames without a face, which are left out"
            )
    return found


def _missing_reason(records: Sequence[Record], column: Column, system: str) -> str:
    """The most frequent reason among the clips."""
    reasons = [r.missing[column.name] for r in records if column.name in r.missing]
    if system == REFERENCE and not reasons:
        return AGAINST_ITSELF
    return max(sorted(set(reasons)), key=reasons.count) if reasons else "no clip was scored"


class Table:
    """Computes rows of the results from scored clips.

    Args:
        entries: the metrics.
        judges: the protocol's own judges.
    """

    def __init__(self, entries: Mapping[str, Entry], judges: Sequence[JudgeInfo]) -> None:
        self._entries, self._blocked = entries, unavailable(entries)
        self._known = {info.name: info for info in judges}
        self._judges = {
            name: [] if name in self._blocked else judges_of(entry)
            for name, entry in entries.items()
        }

    def judges(self) -> list[JudgeInfo]:
        """Everyone who scored, the protocol's own judges first."""
        return list(
            dict.fromkeys(
                [
                    *self._known.values(),
                    *(info for found in self._judges.values() for info in found),
                ]
            )
        )

    def row(self, system: str, clips: StoredSet) -> tuple[dict[str, Any], dict[str, Any]]:
        """One system's cells and details."""
        cells: dict[str, Any] = {}
        details: dict[str, Any] = {}
        for name, entry in self._entries.items():
            reason = self._blocked.get(name) or (
                OTHER_CONTROL if system in CONTROLS and not scored(entry, system) else None
            )
            if reason is not None:
                cells |= {c.name: empty(c, self._who(name, c), reason) for c in columns_of(entry)}
            elif isinstance(entry, SetMetric):
                cells |= self._set(name, entry, system, clips, details)
            else:
                for column in columns_of(entry):
                    values = [
                        r.values[column.name] for r in clips.records if column.name in r.values
                    ]
                    cells[column.name] = summarise(
                        values,
                        column,
                        self._who(name, column),
                        _missing_reason(clips.records, column, system),
                    )
                if isinstance(entry, ClipMetric):
                    details |= _breakdown(entry, clips.records)
        return cells, details

    def _who(self, name: str, column: Column) -> Sequence[JudgeInfo]:
        return named(self._judges[name], column, self._known)

    def _set(
        self, name: str, entry: SetMetric, system: str, clips: StoredSet, details: dict[str, Any]
    ) -> dict[str, Any]:
        """The cells of a metric over a set, whose own details go to ``details``."""
        if entry.needs_reference and clips.reference is None:
            reason = AGAINST_ITSELF if system == REFERENCE else "no clip has a reference"
            return {c.name: empty(c, self._who(name, c), reason) for c in entry.columns}
        try:
            found = entry.score(clips.paired() if entry.needs_reference else clips)
        except NotScored as error:
            found = SetResult(reasons={c.name: str(error) for c in entry.columns})
        except Exception as error:
            # One metric's mistake must not cost hours of scores; it is shown in full as well.
            traceback.print_exc()
            found = SetResult(
                reasons={
                    c.name: f"unexpected {type(error).__name__}: {error}" for c in entry.columns
                }
            )
        if found.details:
            details[name] = _finite(found.details)
        cells = {}
        for column in entry.columns:
            judges = self._who(name, column)
            if column.name in found.estimates:
                cells[column.name] = estimated(found.estimates[column.name], column, judges)
            else:
                reason = found.reasons.get(column.name, "no clip was scored")
                cells[column.name] = summarise(
                    found.samples.get(column.name, []), column, judges, reason
                )
        return cells


def _finite(value: Any) -> Any:
    """Plain containers in which what is no number is null, because JSON knows no other way to say it."""
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
            details[kept] = {
                label: float(v) for label, v in zip(labels, means, strict=True) if np.isfinite(v)
            }
    return details


def collect_failures(
    records: Sequence[Record], failures: Sequence[Failure]
) -> list[dict[str, str | None]]:
    """Everything that was not scored: what pairing and processes reported, whole clips, single metrics of a clip."""
    found = list(failures)
    unusable = {
        record.clip
        for record in records
        if record.system == REFERENCE and record.failure is not None
    }
    for record in records:
        if record.failure is not None:
            if record.system not in CONTROLS or record.clip not in unusable:
                found.append(Failure(record.system, record.clip, record.failure))
        else:
            found += [
                Failure(record.system, record.clip, why, name)
                for name, why in record.missing.items()
                if why != NO_REFERENCE
            ]
    rows = [failure.to_json() for failure in found]
    return sorted(
        rows,
        key=lambda row: (
            row["system"] or "",
            row["clip"] or "",
            row["metric"] or "",
            row["reason"] or "",
        ),
    )


def build(
    records: Sequence[Record],
    failures: Sequence[Failure],
    entries: Mapping[str, Entry],
    judges: Sequence[JudgeInfo],
    systems: Sequence[str],
    environment: Mapping[str, Any],
    cache: FeatureCache | None = None,
    align: str | None = None,
) -> dict[str, Any]:
    """The contents of ``results.json``; plain containers of finite numbers.

    Args:
        records: what was scored, or not.
        failures: what pairing and processes reported.
        entries: the metrics.
        judges: the protocol's own judges.
        systems: the rows, in order.
        environment: from :func:`environment`.
        cache: where features of the records lie, for metrics over sets.
        align: see :mod:`evaluation.protocol`.
    """
    table = Table(entries, judges)
    cells: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for system, clips in scored_sets(records, systems, cache).items():
        cells[system], details[system] = table.row(system, clips)
    return {
        "protocol": protocol_name(align),
        "commit": _commit(),
        "systems": cells,
        "failures": collect_failures(records, failures),
        "environment": dict(environment),
        "details": details,
        "rows": {system: _row(system) for system in systems},
        "notes": notes(records, systems),
        "columns": [column.to_json() for column in columns(entries)],
        "families": FAMILIES,
        "features": levels.FEATURE_LABELS,
        "judges": [info.to_json() for info in table.judges()],
        "settings": {"fps": FPS, "crop": SIZE, "interval": INTERVAL, "align": align},
        "clips": {
            system: sum(r.system == system and r.failure is None for r in records)
            for system in systems
        },
        "inputs": _inputs(records),
    }


def _row(system: str) -> dict[str, str]:
    """What a row is."""
    if system == REFERENCE:
        return {"kind": "reference", "about": "the ground truth itself"}
    return (
        {"kind": "control", "about": CONTROLS[system]}
        if system in CONTROLS
        else {"kind": "system", "about": ""}
    )


def _inputs(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Every file that was looked at, with its hash."""
    real = sorted(
        (r for r in records if r.system not in CONTROLS), key=lambda r: (r.system, r.clip)
    )
    return [
        {
            "system": r.system,
            "clip": r.clip,
            "sha256": r.facts.get("sha256"),
            "reference": r.reference,
        }
        for r in real
    ]


def per_clip(records: Sequence[Record], entries: Mapping[str, Entry]) -> str:
    """``per_clip.csv``: one row a clip, empty cells where there is no number, ``inf`` for an infinite PSNR."""
    metrics = [
        column.name
        for entry in entries.values()
        if not isinstance(entry, SetMetric)
        for column in columns_of(entry)
    ]
    extra = sorted({key for record in records for key in record.extra})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*LABELS, *metrics, *FACTS, *(f"manifest_{key}" for key in extra), "failure"])
    for r in sorted(records, key=lambda r: (r.system, r.clip)):
        labels = [r.system, r.clip, r.emotion or "", "" if r.level is None else f"{r.level:g}"]
        values = [f"{r.values[name]:.6g}" if name in r.values else "" for name in metrics]
        writer.writerow(
            [
                *labels,
                *values,
                *(r.facts.get(f, "") for f in FACTS),
                *(r.extra.get(k, "") for k in extra),
                r.failure or "",
            ]
        )
    return out.getvalue()


def _commit() -> str | None:
    """The checkout's commit, ``-dirty`` after it when files differ; None where the package is not in a checkout."""
    found = provenance.commit()
    return f"{found['commit']}{'-dirty' if found['modified'] else ''}" if found["commit"] else None


def environment(processes: int, seconds: float) -> dict[str, Any]:
    """The machine and the versions behind the numbers."""
    made = provenance.provenance({}, PACKAGES)
    versions = {name: made[name] for name in ("version", "python", "platform", "packages")}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        **versions,
        "cpus": os.cpu_count(),
        "device": device,
        "processes": processes,
        "seconds": round(seconds, 1),
    }


def dump(results: Mapping[str, Any]) -> str:
    """Strict JSON; ValueError if a number is not finite."""
    return json.dumps(results, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
