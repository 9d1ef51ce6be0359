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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats

from emo_lightning import provenance
from evaluation import levels
from evaluation.judges.base import JudgeInfo
from evaluation.pairs import Failure
from evaluation.protocol import FPS, PROTOCOL, REFERENCE, SIZE
from evaluation.records import Column, Record
from evaluation.suite import PER_UNIT, Entry, SetMetric, columns

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


def summarise(
    values: Sequence[float], column: Column, judges: Mapping[str, JudgeInfo], reason: str = "no clip was scored"
) -> dict[str, Any]:
    """One cell of the table.

    Args:
        values: the clips' scores; may hold infinities, never nan.
        column: what they are.
        judges: to look the judge's hash up.
        reason: why there is no number, if there are no values.
    """
    judge = judges.get(column.judge or "")
    cell: dict[str, Any] = {"mean": None, "std": None, "ci95": None, "n": len(values), "higher_is_better": column.higher_is_better}
    cell |= {"judge": column.judge, "judge_sha256": judge.sha256 if judge else None}
    if not values:
        return {**cell, "reason": reason}
    endless = sum(math.isinf(v) for v in values)
    if endless:
        same = f"infinite: {endless} of {len(values)} clips are equal to their reference in every pixel"
        return {**cell, "infinite": True, "reason": same}
    cell["mean"] = float(np.mean(values))
    if len(values) > 1:
        cell["std"] = float(np.std(values, ddof=1))
        half = float(stats.t.ppf(0.975, len(values) - 1)) * cell["std"] / math.sqrt(len(values))
        cell["ci95"] = _inside(cell["mean"] - half, cell["mean"] + half, column)
    return cell


def _inside(low: float, high: float, column: Column) -> list[float]:
    """An interval cut to the scores that there can be: a Student interval of few values knows no bounds."""
    least, most = (-math.inf if column.low is None else column.low), (math.inf if column.high is None else column.high)
    return [max(low, least), min(high, most)]


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
            found.append(f"{system}: {own} of {len(mine)} clips do not show their reference's view, so each has its own crop")
        if faceless:
            found.append(f"{system}: {faceless} of {len(mine)} clips have frames without a face, which are left out")
    return found


def _missing_reason(records: Sequence[Record], metric: str, system: str) -> str:
    """The most frequent reason among the clips."""
    if system == REFERENCE:
        return "compares with the reference, which is this row"
    reasons = [r.missing[metric] for r in records if metric in r.missing]
    return max(sorted(set(reasons)), key=reasons.count) if reasons else "no clip was scored"


def _system(
    system: str, records: Sequence[Record], entries: Mapping[str, Entry], judges: Mapping[str, JudgeInfo]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One system's cells and details."""
    cells: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for name, entry in entries.items():
        if isinstance(entry, SetMetric):
            found = entry.score(records)
            details[name] = found.details
            for column in entry.columns:
                cells[column.name] = summarise(found.samples[column.name], column, judges, found.reasons.get(column.name, ""))
            continue
        values = [r.values[name] for r in records if name in r.values]
        cells[name] = summarise(values, entry.column, judges, _missing_reason(records, name, system))
        vectors = [r.features[name] for r in records if name in PER_UNIT and name in r.features]
        if vectors:
            details[name] = {unit: float(v) for unit, v in zip(PER_UNIT[name], np.mean(vectors, axis=0), strict=True)}
    return cells, details


def collect_failures(records: Sequence[Record], failures: Sequence[Failure]) -> list[dict[str, str | None]]:
    """Everything that was not scored: what pairing and processes reported, whole clips, single metrics of a clip."""
    found = list(failures)
    for record in records:
        if record.failure is not None:
            found.append(Failure(record.system, record.clip, record.failure))
        elif record.system != REFERENCE:
            found += [Failure(record.system, record.clip, why, name) for name, why in record.missing.items() if why != "no reference"]
    rows = [failure.to_json() for failure in found]
    return sorted(rows, key=lambda row: (row["system"] or "", row["clip"] or "", row["metric"] or "", row["reason"] or ""))


def build(
    records: Sequence[Record],
    failures: Sequence[Failure],
    entries: Mapping[str, Entry],
    judges: Sequence[JudgeInfo],
    systems: Sequence[str],
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """The contents of ``results.json``; plain containers of finite numbers."""
    by_name = {info.name: info for info in judges}
    table: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for system in systems:
        mine = [r for r in records if r.system == system and r.failure is None]
        table[system], details[system] = _system(system, mine, entries, by_name)
    return {
        "protocol": PROTOCOL,
        "commit": _commit(),
        "systems": table,
        "failures": collect_failures(records, failures),
        "environment": dict(environment),
        "details": details,
        "notes": notes(records, systems),
        "columns": [column.to_json() for column in columns(entries)],
        "features": levels.FEATURE_LABELS,
        "judges": [info.to_json() for info in judges],
        "settings": {"fps": FPS, "crop": SIZE, "interval": "95 % Student interval over clips (level response: over emotions)"},
        "clips": {system: sum(r.system == system and r.failure is None for r in records) for system in systems},
    }


def per_clip(records: Sequence[Record], entries: Mapping[str, Entry]) -> str:
    """``per_clip.csv``: one row a clip, empty cells where there is no number, ``inf`` for an infinite PSNR."""
    metrics = [name for name, entry in entries.items() if not isinstance(entry, SetMetric)]
    extra = sorted({key for record in records for key in record.extra})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*LABELS, *metrics, *FACTS, *(f"manifest_{key}" for key in extra), "failure"])
    for r in sorted(records, key=lambda r: (r.system, r.clip)):
        labels = [r.system, r.clip, r.emotion or "", "" if r.level is None else f"{r.level:g}"]
        values = [f"{r.values[name]:.6g}" if name in r.values else "" for name in metrics]
        writer.writerow([*labels, *values, *(r.facts.get(f, "") for f in FACTS), *(r.extra.get(k, "") for k in extra), r.failure or ""])
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
    return {**versions, "cpus": os.cpu_count(), "device": device, "processes": processes, "seconds": round(seconds, 1)}


def dump(results: Mapping[str, Any]) -> str:
    """Strict JSON; ValueError if a number is not finite."""
    return json.dumps(results, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
