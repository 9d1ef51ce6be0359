"""The arguments of ``emo eval``; imports nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from emo_lightning.core.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``emo eval``."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--generated", type=Path, metavar="DIR", help="videos of one system")
    which.add_argument(
        "--systems", nargs="+", metavar="NAME=DIR", help="videos of several systems, one row each"
    )
    about = "real videos, paired by file stem or by manifest.csv; without it only metrics that need none are scored"
    parser.add_argument("--reference", type=Path, metavar="DIR", help=about)
    files = "results.json, per_clip.csv, report.html, report.md and table.tex"
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help=f"folder for {files}; made if it is missing",
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="processes that share the clips (default 1)",
    )
    parser.add_argument(
        "--metrics",
        metavar="A,B",
        help="some metrics of the suite (default all; a wrong name lists them)",
    )
    about = "leave out the controls (the references with other sound, or held still), which are rows of the table otherwise"
    parser.add_argument("--no-controls", dest="controls", action="store_false", help=about)
    about = "face: a clip whose picture was cut anew is seen through a square moved and scaled so that the faces coincide at first"
    parser.add_argument("--align", metavar="A", help=about)
    about = "folder for what judges saw of each clip, used again by later runs (default: cache in --out)"
    parser.add_argument("--cache", type=Path, metavar="DIR", help=about)
    about = "under torchrun or SLURM, seconds without a sign of life after which a process counts as dead (default 60)"
    parser.add_argument("--patience", type=float, default=60.0, metavar="S", help=about)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="take over what an interrupted run of the same inputs has scored",
    )


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


def parse_metrics(text: str | None) -> list[str] | None:
    """``a,b`` as names; None, all metrics, when nothing was said."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
