"""Score videos against their references, or compare several systems.

Writes results.json, per_clip.csv, report.html, report.md and table.tex into the output folder.
Videos are paired by file stem or by a manifest.csv in the folder of generated ones. Systems are
compared on the clips that all of them have. Under torchrun or SLURM the same command shares the
clips over all processes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "score generated videos and write a report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--generated", type=Path, metavar="DIR", help="videos of one system")
    about = "videos of several systems, one row each"
    which.add_argument("--systems", nargs="+", metavar="NAME=DIR", help=about)
    about = "real videos, paired by file stem or by manifest.csv; without it only metrics that need"
    add("--reference", type=Path, metavar="DIR", help=f"{about} no reference are computed")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    about = "processes that share the clips (default 1)"
    add("--devices", type=int, default=1, metavar="N", help=about)
    about = "auto (default: all GPUs, else the CPU), cpu, cuda, cuda:N or mps"
    add("--device", default="auto", metavar="D", help=about)
    about = "some metrics of the suite (default all; a wrong name lists them)"
    add("--metrics", metavar="A,B", help=about)
    about = "no rows of controls (the references with other audio, or held still)"
    add("--no-controls", dest="controls", action="store_false", help=about)
    about = "face: a clip with another crop of the face is moved and scaled onto its reference"
    add("--align", metavar="A", help=about)
    about = "folder for features, used again by later runs (default: cache in --out)"
    add("--cache", type=Path, metavar="DIR", help=about)
    about = (
        "under torchrun or SLURM, seconds without a heartbeat after which a process counts as dead"
    )
    add("--worker-timeout", type=float, default=60.0, metavar="S", help=f"{about} (default 60)")
    about = "use what an interrupted run of the same inputs has scored"
    add("--resume", action="store_true", help=about)


def run(args: argparse.Namespace) -> None:
    """Score, report, and print the table; exit code 1 when a process died and clips are missing."""
    from evaluation.runner.run import main

    code = main(args)
    if code:
        raise SystemExit(code)
