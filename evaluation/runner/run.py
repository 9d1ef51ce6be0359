"""``emo eval``: scores folders of videos against their references, and writes the results and the report."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emo_lightning.core.atomic_files import publish, staging
from emo_lightning.core.errors import UserError
from evaluation import report
from evaluation.judges.landmark_track import judge_infos
from evaluation.protocol import ALIGNMENTS, CONTROLS, REFERENCE
from evaluation.records import Record
from evaluation.runner import controls, results
from evaluation.runner.arguments import add_arguments, parse_metrics, parse_systems
from evaluation.runner.cache import FeatureCache
from evaluation.runner.distributed import Place, place, score_share
from evaluation.runner.pairs import Failure, pair
from evaluation.runner.partial_results import Job
from evaluation.runner.previews import collect
from evaluation.runner.workers import score_all
from evaluation.suite import choose

__all__ = ["add_arguments", "evaluate", "main"]

FILES = ("per_clip.csv", "previews.json", "report.md", "table.tex", "report.html", "results.json")
CACHE = "cache"
PATIENCE = 60.0


def main(args: argparse.Namespace) -> int:
    """Run with parsed arguments (:func:`evaluation.runner.arguments.add_arguments`).

    Returns:
        0, or 1 when a process died and left clips unscored (the report then lists them).

    Raises:
        UserError: a mistake in the arguments, or not one clip that could be scored (the report then says why of each).
    """
    if args.systems is not None:
        systems = parse_systems(args.systems)
    else:
        name = args.generated.resolve().name
        systems = {name if name != REFERENCE else "generated": args.generated}
    found = evaluate(
        systems, args.reference, args.out, args.devices, parse_metrics(args.metrics), args.resume, args.controls, args.cache, args.patience,
        args.align,
    )  # fmt: skip
    if found is None:
        return 0
    print(report.text_table(found))
    print(
        f"\n{len(found['failures'])} scores missing, each with its reason; report: {args.out / 'report.html'}"
    )
    if found["unscored"]:
        print(
            f"{found['unscored']} clips were not scored, because a process died; the same command with --resume scores them"
        )
        return 1
    if not scored(found):
        argument, folders = (
            ("--systems" if args.systems else "--generated"),
            ", ".join(map(str, systems.values())),
        )
        raise UserError(
            argument,
            folders,
            "videos of a face",
            f"holds no clip that could be scored (reasons: {args.out / 'report.md'})",
        )
    return 0


def scored(found: Mapping[str, Any]) -> int:
    """Number of generated clips that were scored."""
    return sum(
        count
        for system, count in found["clips"].items()
        if found["rows"][system]["kind"] == "system"
    )


def evaluate(
    systems: Mapping[str, Path],
    reference: Path | None,
    out: Path,
    devices: int = 1,
    metrics: Sequence[str] | None = None,
    resume: bool = False,
    with_controls: bool = True,
    cache: Path | None = None,
    patience: float = PATIENCE,
    align: str | None = None,
) -> dict[str, Any] | None:
    """Score systems against their references and write the results and the report.

    Args:
        systems: name -> folder of generated videos.
        reference: folder of real videos, or None.
        out: where the files go; made if it is missing.
        devices: processes that share the clips; the results do not depend on it.
        metrics: names in :data:`evaluation.suite.SUITE`; all by default.
        resume: take over what an interrupted run of the same inputs found.
        with_controls: add rows made of the references (:data:`evaluation.protocol.CONTROLS`).
        cache: folder for features; ``cache`` in ``out`` by default.
        patience: under torchrun or SLURM, seconds of silence after which a process counts as dead.
        align: one of :data:`evaluation.protocol.ALIGNMENTS`; None compares clips where they lie.

    Returns:
        The contents of ``results.json``; None for the processes of torchrun or SLURM that do not report.

    Raises:
        UserError: missing folders, unknown metrics, an output folder that cannot be written.
    """
    started = time.perf_counter()
    entries, here = choose(metrics), place()
    _check(devices, patience, here)
    if align is not None and align not in ALIGNMENTS:
        raise UserError("--align", align, ", ".join(ALIGNMENTS))
    groups, failures = pair(systems, reference)
    planned = controls.plan(groups, entries) if with_controls else groups
    _make_folder(out)
    job = Job(tuple(planned), tuple(entries), out, cache or out / CACHE, align)
    store = FeatureCache(job.cache)
    if here is not None and here.rank > 0:
        score_share(job, here, resume, patience)
        return None
    with staging(out, "--out") as stage:
        records, lost = _score(job, here, devices, resume, patience)
        present = {name for group in planned for name in group.controls}
        rows = [
            *([REFERENCE] if reference is not None else []),
            *systems,
            *(name for name in CONTROLS if name in present),
        ]
        environment = results.environment(
            here.world if here else devices, time.perf_counter() - started
        )
        found = results.build(
            records, [*failures, *lost], entries, judge_infos(), rows, environment, store, align
        )
        found["unscored"] = len(lost)
        (stage / "per_clip.csv").write_text(results.per_clip(records, entries), encoding="utf-8")
        (stage / "results.json").write_text(results.dump(found), encoding="utf-8")
        (stage / "previews.json").write_text(json.dumps(collect(records, store)), encoding="utf-8")
        report.write(stage)
        publish(stage, out, FILES)
    return found


def _score(
    job: Job, here: Place | None, devices: int, resume: bool, patience: float
) -> tuple[list[Record], list[Failure]]:
    found = (
        score_share(job, here, resume, patience)
        if here is not None
        else score_all(job, devices, resume)
    )
    if found is None:
        raise RuntimeError("the first process has nothing to merge")
    return found


def _check(devices: int, patience: float, here: Place | None) -> None:
    if devices < 1:
        raise UserError("--devices", devices, "1 or more")
    if devices > 1 and here is not None:
        raise UserError(
            "--devices",
            devices,
            f"1 under {here.launcher}, which has started {here.world} processes itself",
        )
    if not patience > 0:
        raise UserError("--patience", patience, "more than 0 seconds")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            "--out", out, "a folder that can be written", f"cannot be made ({error.strerror})"
        ) from None
