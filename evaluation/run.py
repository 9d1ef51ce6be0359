"""``emo eval``: scores folders of videos against their references and writes results.json, per_clip.csv, report.html and report.md."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emo_lightning.errors import UserError
from emo_lightning.outputs import publish, staging
from evaluation import report, results
from evaluation.arguments import add_arguments, parse_metrics, parse_systems
from evaluation.pairs import pair
from evaluation.protocol import REFERENCE
from evaluation.suite import choose
from evaluation.tracks import judge_infos
from evaluation.workers import score_all

__all__ = ["add_arguments", "evaluate", "main"]

FILES = ("per_clip.csv", "report.md", "report.html", "results.json")


def main(args: argparse.Namespace) -> int:
    """Run with parsed arguments (:func:`evaluation.arguments.add_arguments`); returns 0.

    Raises:
        UserError: a mistake in the arguments, or not one clip that could be scored (the report then says why of each).
    """
    if args.systems is not None:
        systems = parse_systems(args.systems)
    else:
        name = args.generated.resolve().name
        systems = {name if name != REFERENCE else "generated": args.generated}
    found = evaluate(systems, args.reference, args.out, args.devices, parse_metrics(args.metrics), args.resume)
    print(report.text_table(found))
    print(f"\n{len(found['failures'])} failures listed; report: {args.out / 'report.html'}")
    if not scored(found):
        argument, folders = ("--systems" if args.systems else "--generated"), ", ".join(map(str, systems.values()))
        raise UserError(argument, folders, "videos of a face", f"holds no clip that could be scored (reasons: {args.out / 'report.md'})")
    return 0


def scored(found: Mapping[str, Any]) -> int:
    """Number of generated clips that were scored."""
    return sum(count for system, count in found["clips"].items() if system != REFERENCE)


def evaluate(
    systems: Mapping[str, Path],
    reference: Path | None,
    out: Path,
    devices: int = 1,
    metrics: Sequence[str] | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Score systems against their references and write the results and the report.

    Args:
        systems: name -> folder of generated videos.
        reference: folder of real videos, or None.
        out: where the four files go; made if it is missing.
        devices: processes that share the clips; the results do not depend on it.
        metrics: names in :data:`evaluation.suite.SUITE`; all by default.
        resume: take over what an interrupted run of the same inputs found.

    Returns:
        The contents of ``results.json``.

    Raises:
        UserError: missing folders, unknown metrics, an output folder that cannot be written.
    """
    started = time.perf_counter()
    entries = choose(metrics)
    if devices < 1:
        raise UserError("--devices", devices, "1 or more")
    groups, failures = pair(systems, reference)
    _make_folder(out)
    with staging(out, "--out") as stage:
        records, lost = score_all(groups, list(entries), out, devices, resume)
        rows = [REFERENCE, *systems] if reference is not None else list(systems)
        environment = results.environment(devices, time.perf_counter() - started)
        found = results.build(records, [*failures, *lost], entries, judge_infos(), rows, environment)
        (stage / "per_clip.csv").write_text(results.per_clip(records, entries), encoding="utf-8")
        (stage / "results.json").write_text(results.dump(found), encoding="utf-8")
        report.write(stage)
        publish(stage, out, FILES)
    return found


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("--out", out, "a folder that can be written", f"cannot be made ({error.strerror})") from None
