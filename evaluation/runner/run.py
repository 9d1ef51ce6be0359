"""``emo eval``: scores folders of videos against their references, and writes the results and the
report."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo_lightning.core.atomic_files import publish, staging
from emo_lightning.core.device import resolve_device
from emo_lightning.core.errors import UserError
from evaluation import report
from evaluation.judges.landmark_track import judge_infos
from evaluation.protocol import ALIGNMENTS, CONTROLS, REFERENCE
from evaluation.records import Record
from evaluation.runner import controls, results
from evaluation.runner.cache import FeatureCache
from evaluation.runner.distributed import Rank, launched_rank, score_share
from evaluation.runner.pairs import pair
from evaluation.runner.previews import collect
from evaluation.runner.workers import ScoringJob, score_all
from evaluation.suite import choose

FILES = ("per_clip.csv", "previews.json", "report.md", "table.tex", "report.html", "results.json")
CACHE = "cache"


def parse_systems(words: Sequence[str]) -> dict[str, Path]:
    """``NAME=DIR`` words as a mapping; UserError for another shape or a repeated name."""
    systems: dict[str, Path] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not (name and equals and folder):
            raise UserError("--systems", word, "NAME=DIR")
        if name in systems:
            raise UserError("--systems", word, "each name once", "repeats a name")
        systems[name] = Path(folder)
    return systems


def main(args: argparse.Namespace) -> int:
    """Run with the arguments of :mod:`emo_lightning.commands.evaluate`.

    Returns:
        0, or 1 when a process died and left clips unscored (the report then lists them).

    Raises:
        UserError: a mistake in the arguments, or no clip that could be scored (the report says
            why).
    """
    if args.systems is not None:
        systems = parse_systems(args.systems)
    else:
        name = args.generated.resolve().name
        systems = {name if name != REFERENCE else "generated": args.generated}
    names = args.metrics and [name.strip() for name in args.metrics.split(",") if name.strip()]
    found = evaluate(
        systems,
        args.reference,
        args.out,
        devices=args.devices,
        metrics=None if args.metrics is None else names or [],
        resume=args.resume,
        controls=args.controls,
        cache=args.cache,
        worker_timeout=args.worker_timeout,
        align=args.align,
        device=args.device,
    )
    if found is None:
        return 0
    print(report.text_table(found))
    missing, page = len(found["failures"]), args.out / "report.html"
    print(f"\n{missing} scores missing, each with its reason; report: {page}")
    if found["unscored"]:
        lost = f"{found['unscored']} clips were not scored, because a process died"
        print(f"{lost}; the same command with --resume scores them")
        return 1
    kinds = found["rows"]
    if not sum(n for system, n in found["clips"].items() if kinds[system]["kind"] == "system"):
        argument = "--systems" if args.systems else "--generated"
        problem = f"holds no clip that could be scored (reasons: {args.out / 'report.md'})"
        folders = ", ".join(map(str, systems.values()))
        raise UserError(argument, folders, "videos of a face", problem)
    return 0


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of :func:`evaluate`.

    Attributes:
        devices: processes that share the clips; the results do not depend on it.
        metrics: names in :data:`evaluation.suite.SUITE`; all by default.
        resume: use what an interrupted run of the same inputs has scored.
        controls: add rows made of the references (:data:`evaluation.protocol.CONTROLS`).
        cache: folder for features; ``cache`` in ``out`` by default.
        worker_timeout: under torchrun or SLURM, seconds without a heartbeat after which a process
            counts as dead.
        align: one of :data:`evaluation.protocol.ALIGNMENTS`; None compares clips where they lie.
        device: of the judges, see :func:`emo_lightning.core.device.resolve_device`.
    """

    devices: int = 1
    metrics: Sequence[str] | None = None
    resume: bool = False
    controls: bool = True
    cache: Path | None = None
    worker_timeout: float = 60.0
    align: str | None = None
    device: str = "auto"

    def check(self, here: Rank | None) -> None:
        """UserError for a value that is not accepted."""
        if self.devices < 1:
            raise UserError("--devices", self.devices, "1 or more")
        if self.devices > 1 and here is not None:
            accepted = f"1 under {here.launcher}, which has started {here.world} processes itself"
            raise UserError("--devices", self.devices, accepted)
        if not self.worker_timeout > 0:
            raise UserError("--worker-timeout", self.worker_timeout, "more than 0 seconds")
        resolve_device(self.device)
        if self.align is not None and self.align not in ALIGNMENTS:
            raise UserError("--align", self.align, ", ".join(ALIGNMENTS))


def evaluate(
    systems: Mapping[str, Path], reference: Path | None, out: Path, **options: Any
) -> dict[str, Any] | None:
    """Score systems against their references and write the results and the report.

    Args:
        systems: name -> folder of generated videos.
        reference: folder of real videos, or None.
        out: where the files go; made if it is missing.
        options: fields of :class:`EvaluateOptions`.

    Returns:
        The contents of ``results.json``; None for the processes of torchrun or SLURM that do not
        report.

    Raises:
        UserError: missing folders, unknown metrics, no pairs, an output folder that cannot be
            written.
    """
    started, chosen = time.perf_counter(), EvaluateOptions(**options)
    entries, here = choose(chosen.metrics), launched_rank()
    chosen.check(here)
    pairing = pair(systems, reference)
    planned = controls.plan(pairing.groups, entries) if chosen.controls else pairing.groups
    _make_folder(out)
    cache = chosen.cache or out / CACHE
    job = ScoringJob(tuple(planned), tuple(entries), out, cache, chosen.align, chosen.device)
    store = FeatureCache(job.cache)
    if here is not None and here.rank > 0:
        score_share(job, here, chosen.resume, chosen.worker_timeout)
        return None
    with staging(out, "--out") as stage:
        if here is not None:
            records, lost = score_share(job, here, chosen.resume, chosen.worker_timeout)
        else:
            records, lost = score_all(job, chosen.devices, chosen.resume)
        present = {name for group in planned for name in group.controls}
        rows = [REFERENCE] if reference is not None else []
        rows += [*systems, *(name for name in CONTROLS if name in present)]
        seconds = time.perf_counter() - started
        machine = results.environment(here.world if here else chosen.devices, seconds)
        failures = [*pairing.failures, *lost]
        run = results.Run(rows, machine, store, chosen.align)
        found = results.build(records, failures, entries, judge_infos(), run)
        found["unscored"] = len(lost)
        found["notes"] = [*pairing.notes, *found["notes"]]
        _write(stage, found, records, results.per_clip(records, entries), store)
        publish(stage, out, FILES)
    return found


def _write(
    stage: Path,
    found: Mapping[str, Any],
    records: Sequence[Record],
    table: str,
    store: FeatureCache,
) -> None:
    texts = {
        "per_clip.csv": table,
        "results.json": results.dump(found),
        "previews.json": json.dumps(collect(records, store)),
    }
    for name, text in texts.items():
        (stage / name).write_text(text, encoding="utf-8")
    report.write(stage)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made ({error.strerror})"
        raise UserError("--out", out, "a folder that can be written", problem) from None
