"""Turn videos of talking faces into shards for training.

  emo preprocess --source folder --root VIDEOS --out SHARDS
  emo preprocess --source folder --root VIDEOS --out SHARDS --workers 2 --resume

Each clip gives square crops, landmarks, coefficients, action units and 16 kHz sound. Clips that cannot be used are
counted by reason and listed in SHARDS/failures.jsonl; an interrupted run goes on with --resume.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emo_lightning.commands.arguments import integer
from emo_lightning.errors import UserError

SUMMARY = "turn videos into training shards"
ENGINES = ("local",)
"""What spreads the clips over workers; local: processes on this machine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("--source", required=True, metavar="NAME", help="how the corpus lies on disk (a wrong name lists them)")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="where it lies")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder for the shards")
    workers = integer("--workers", 1, 256)
    parser.add_argument("--workers", type=workers, default=1, metavar="N", help="processes that share the clips (default 1)")
    parser.add_argument("--engine", default="local", metavar="E", help=f"what runs the workers: {', '.join(ENGINES)} (default local)")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted run finished")
    parser.add_argument("--size", type=int, default=256, metavar="S", help="side of the stored crops in pixels (default 256)")
    parser.add_argument("--landmarks", default="mediapipe", metavar="L", help="landmark back-end: mediapipe (default) or face-alignment")
    parser.add_argument("--split-by", default="speaker", metavar="W", help="speaker (default), or clip for a corpus of one speaker")


def run(args: argparse.Namespace) -> None:
    """Extract, pack, and say what came of it."""
    if args.engine not in ENGINES:
        raise UserError("--engine", args.engine, ", ".join(ENGINES), "is not an engine")
    from datamodules.preprocess import FAILURES, Settings, preprocess
    from datamodules.sources import open_source
    from emo_lightning.progress import Progress

    settings = Settings(size=args.size, landmarks=args.landmarks, split_by=args.split_by)
    source = open_source(args.source, args.root)
    with Progress("preprocess", None, "clips") as progress:
        report = preprocess(source, args.out, args.workers, args.resume, settings, progress.reach)
    index = report.index
    print(f"wrote {args.out}: {index.samples} samples, {60 * index.hours:.1f} min, {len(index.speakers)} speakers")
    for reason, count in sorted(index.failures.items()):
        print(f"  {count} clips failed: {reason}")
    if index.failures:
        print(f"  each of them: {args.out / FAILURES}")
    for note in index.notes:
        print(f"  note: {note}")
