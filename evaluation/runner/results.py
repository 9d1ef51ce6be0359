"""``results.json`` (the source of truth) and ``per_clip.csv``, from scored records.

A score is the mean over clips with its sample deviation and a 95 % Student interval. What could not
be computed has ``mean: null`` and a ``reason``.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from emo_lightning.core import provenance
from emo_lightning.core.constants import FPS
from evaluation.judges.base import JudgeInfo
from evaluation.metrics.psnr import CAP
from evaluation.protocol import CONTROLS, REFERENCE, SIZE, protocol_name
from evaluation.records import FAMILIES, Record
from evaluation.runner.cache import FeatureCache
from evaluation.runner.pairs import Unscored
from evaluation.runner.scoring import NO_REFERENCE
from evaluation.runner.table import ComparedClips, Table
from evaluation.suite import columns, levels
from evaluation.suite.base import Entry, SetMetric, columns_of

INTERVAL = "95 %: Student over clips (level response: over emotions; whole sets: see the column)"
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
MOST_NAMES = 8


def notes(clips: ComparedClips) -> list[str]:
    """Remarks on the clips: missing or identical ones, other lengths or framing, faceless
    frames."""
    missing, found, mine = clips.missing(), [], clips.competing
    if clips.scored and len(clips.competing) > 1 and not clips.rows()[1]:
        found.append("The systems have no clip in common, so nothing is ranked")
    for system, records in clips.scored.items():
        facts = [r.facts for r in records]
        lengths = [abs(f["length_difference_s"]) for f in facts if f.get("length_difference_s")]
        faceless = sum(f.get("frames_without_face", 0) > 0 for f in facts)
        own = sum(f.get("framing") == "own" for f in facts)
        equal = sum(r.values.get("psnr", 0.0) >= CAP for r in records) if system in mine else 0
        names = ", ".join(missing.get(system, ())[:MOST_NAMES])
        lacks, of = len(missing.get(system, ())), f"of {len(records)} clips"
        more = ", ..." if lacks > MOST_NAMES else ""
        remarks = {
            f"{lacks} clips of other systems missing: {names}{more}": lacks,
            f"{len(lengths)} {of} differ in length from their reference, by up to "
            f"{max(lengths, default=0):g} s": lengths,
            f"{own} {of} do not show their reference's view, so each has its own crop": own,
            f"{faceless} {of} have frames without a face, which are skipped": faceless,
            f"{equal} {of} equal their reference; PSNR is capped at {CAP:.1f} dB": equal,
        }
        found += [f"{system}: {remark}" for remark, applies in remarks.items() if applies]
    return found


def collect_failures(
    records: Sequence[Record], failures: Sequence[Unscored]
) -> list[dict[str, str | None]]:
    """Everything that was not scored: failures of pairing and processes, whole clips, single
    metrics of a clip."""
    found = list(failures)
    unusable = {r.clip for r in records if r.system == REFERENCE and r.failure is not None}
    for record in records:
        if record.failure is None:
            found += [
                Unscored(record.system, record.clip, why, name)
                for name, why in record.missing.items()
                if why != NO_REFERENCE
            ]
        elif record.system not in CONTROLS or record.clip not in unusable:
            found.append(Unscored(record.system, record.clip, record.failure))
    return sorted((f.to_json() for f in found), key=lambda row: [v or "" for v in row.values()])


@dataclass(frozen=True)
class Run:
    """Facts of a run that its results hold.

    Attributes:
        systems: the rows, in order.
        environment: from :func:`environment`.
        cache: where features of the records are, for metrics over sets.
        align: see :mod:`evaluation.protocol`.
    """

    systems: Sequence[str]
    environment: Mapping[str, Any] = field(default_factory=dict)
    cache: FeatureCache | None = None
    align: str | None = None


def build(
    records: Sequence[Record],
    failures: Sequence[Unscored],
    entries: Mapping[str, Entry],
    judges: Sequence[JudgeInfo],
    run: Run,
) -> dict[str, Any]:
    """The contents of ``results.json``; plain containers of finite numbers.

    Args:
        records: what was scored, or not.
        failures: what pairing and processes reported.
        entries: the metrics.
        judges: the protocol's own judges.
        run: the rows, and where and how they were computed.
    """
    systems = run.systems
    clips = ComparedClips(records, systems)
    table = Table(entries, judges, clips, run.cache)
    rows = {system: table.row(system) for system in systems}
    common, compared = clips.rows()
    shared = min((len(common[s]) for s in clips.competing), default=0) if compared else 0
    return {
        "protocol": protocol_name(run.align),
        "commit": _commit(),
        "systems": {system: cells for system, (cells, _) in rows.items()},
        "failures": collect_failures(records, failures),
        "environment": dict(run.environment),
        "details": {system: details for system, (_, details) in rows.items()},
        "rows": {system: _kind(system) for system in systems},
        "notes": notes(clips),
        "columns": [column.to_json() for column in columns(entries)],
        "families": FAMILIES,
        "features": levels.FEATURE_LABELS,
        "judges": [info.to_json() for info in table.judges()],
        "settings": {"fps": FPS, "crop": SIZE, "interval": INTERVAL, "align": run.align},
        "clips": {system: len(mine) for system, mine in clips.scored.items()},
        "compared": {"clips": shared, "missing": clips.missing()},
        "inputs": _inputs(records),
    }


def _kind(system: str) -> dict[str, str]:
    """A row's kind."""
    if system == REFERENCE:
        return {"kind": "reference", "about": "the ground truth itself"}
    if system in CONTROLS:
        return {"kind": "control", "about": CONTROLS[system]}
    return {"kind": "system", "about": ""}


def _inputs(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Every input file, with its hash."""
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
    """``per_clip.csv``: one row a clip, empty cells where there is no number."""
    scored = (entry for entry in entries.values() if not isinstance(entry, SetMetric))
    metrics = [column.name for entry in scored for column in columns_of(entry)]
    extra = sorted({key for record in records for key in record.extra})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*LABELS, *metrics, *FACTS, *(f"manifest_{key}" for key in extra), "failure"])
    for r in sorted(records, key=lambda r: (r.system, r.clip)):
        labels = [r.system, r.clip, r.emotion or "", "" if r.level is None else f"{r.level:g}"]
        values = [f"{r.values[name]:.6g}" if name in r.values else "" for name in metrics]
        facts = [r.facts.get(fact, "") for fact in FACTS]
        further = [r.extra.get(key, "") for key in extra]
        writer.writerow([*labels, *values, *facts, *further, r.failure or ""])
    return out.getvalue()


def _commit() -> str | None:
    """The checkout's commit, ``-dirty`` after it when files differ; None outside a checkout."""
    found = provenance.commit()
    return f"{found['commit']}{'-dirty' if found['modified'] else ''}" if found["commit"] else None


def environment(processes: int, seconds: float) -> dict[str, Any]:
    """The machine and the versions behind the numbers."""
    made = provenance.provenance({}, PACKAGES)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        **{name: made[name] for name in ("version", "python", "platform", "packages")},
        "cpus": os.cpu_count(),
        "device": device,
        "processes": processes,
        "seconds": round(seconds, 1),
    }


def dump(results: Mapping[str, Any]) -> str:
    """Strict JSON; ValueError if a number is not finite."""
    return json.dumps(results, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
