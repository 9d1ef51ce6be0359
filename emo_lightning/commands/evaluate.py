"""Score videos against their references, or compare several systems.

Writes results.json, per_clip.csv, report.html, report.md and table.tex into the output folder. Videos are paired by file
stem or by a manifest.csv in the folder of generated ones. Under torchrun or SLURM the same command shares the clips
over all processes.
"""

from __future__ import annotations

import argparse

from evaluation.runner.arguments import add_arguments

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "score generated videos and write a report"


def run(args: argparse.Namespace) -> None:
    """Score, report, and print the table; exit code 1 when a process died and clips are missing."""
    from evaluation.runner.run import main

    code = main(args)
    if code:
        raise SystemExit(code)
