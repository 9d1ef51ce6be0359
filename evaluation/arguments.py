"""The arguments of ``emo eval``; imports nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from emo_lightning.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``emo eval``."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--generated", type=Path, metavar="DIR", help="videos of one system")
    which.add_argument("--systems", nargs="+", metavar="NAME=DIR", help="videos of several systems, one row each")
    about = "real videos, paired by file stem or by manifest.csv; without it only metrics that need none are scored"
    parser.add_argument("--reference", type=Path, metavar="DIR", help=about)
    files = "results.json, per_clip.csv, report.html and report.md"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"folder for {files}; made if it is missing")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="processes that share the clips (default 1)")
    parser.add_argument("--metrics", metavar="A,B", help="some metrics of the suite (default all; a wrong name lists them)")
    parser.add_argument("--resume", action="store_true", help="take over what an interrupted run of the same inputs has scored")


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
