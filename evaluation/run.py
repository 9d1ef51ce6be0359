"""``emo eval``: scores folders of videos against their references and writes results.json, per_clip.csv, report.html and report.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emo_lightning.errors import UserError
from evaluation import report, results
from evaluation.pairs import pair
from evaluation.protocol import REFERENCE
from evaluation.suite import SUITE, choose
from evaluation.tracks import judge_infos
from evaluation.workers import Progress, score_all

NOTHING_SCORED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``emo eval``."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--generated", type=Path, metavar="DIR", help="videos of one system")
    which.add_argument("--systems", nargs="+", metavar="NAME=DIR", help="videos of several systems, one row each")
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="real videos, paired by file stem or by manifest.csv; without it only metrics that need none"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results.json, per_clip.csv, report.html and report.md go")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="processes that share the clips (default 1)")
    parser.add_argument("--metrics", metavar="A,B", help=f"some of {','.join(SUITE)} (default all)")
    parser.add_argument("--resume", action="store_true", help="take over what an interrupted run of the same inputs has scored")


def main(args: argparse.Namespace) -> int:
    """Run with parsed arguments; 0 when at least one clip was scored, 1 when none could be.

    Raises:
        UserError: a mistake in the arguments.
    """
    if args.systems is not None:
        systems = parse_systems(args.systems)
    else:
        name = args.generated.resolve().name
        systems = {name if name != REFERENCE else "generated": args.generated}
    metrics = [m.strip() for m in args.metrics.split(",") if m.strip()] if args.metrics is not None else None
    found = evaluate(systems, args.reference, args.out, args.devices, metrics, args.resume, print_progress)
    print(report.text_table(found))
    print(f"\n{len(found['failures'])} failures listed; report: {args.out / 'report.html'}")
    return 0 if scored(found) else NOTHING_SCORED


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
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Score systems against their references and write the results and the report.

    Args:
        systems: name -> folder of generated videos.
        reference: folder of real videos, or None.
        out: where the four files go; made if it is missing.
        devices: processes that share the clips; the results do not depend on it.
        metrics: names in :data:`evaluation.suite.SUITE`; all by default.
        resume: take over what an interrupted run of the same inputs found.
        progress: called with clips done and clips in all.

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
    records, lost = score_all(groups, list(entries), out, devices, resume, progress)
    rows = [REFERENCE, *systems] if reference is not None else list(systems)
    environment = results.environment(devices, time.perf_counter() - started)
    found = results.build(records, [*failures, *lost], entries, judge_infos(), rows, environment)
    results.write_text(out / "per_clip.csv", results.per_clip(records, entries))
    results.write_text(out / "results.json", results.dump(found))
    report.write(out)
    return found


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        writable = os.access(out, os.W_OK)
    except OSError as error:
        raise UserError("--out", out, "a folder that can be written", f"cannot be made ({error.strerror})") from None
    if not writable:
        raise UserError("--out", out, "a folder that can be written", "cannot be written")


def print_progress(done: int, total: int) -> None:
    """One line that renews itself on a terminal, plain lines elsewhere."""
    line = f"scored {done} of {total} clips"
    if sys.stderr.isatty():
        print(f"\r{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
