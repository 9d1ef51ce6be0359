"""Turn videos of talking faces into shards for training.

  emo preprocess --source folder --root VIDEOS --out SHARDS
  emo preprocess --source mead --root MEAD --views all --out SHARDS --workers 8 --resume
  emo preprocess --source ravdess --root RAVDESS --out SHARDS
  emo preprocess --source mead --root MEAD --coefficients DEEP3D --keep-mute --out SHARDS

Sources: folder (any videos, with an optional manifest.csv), mead, cremad, ravdess, hdtf, grid. A corpus is read by its own
file names, loose or in its tar and zip archives; a file that does not fit them is listed, not guessed. Each clip gives
square crops, landmarks, coefficients, action units and 16 kHz sound; recordings without video give sound alone. Clips that
cannot be used are counted by reason and listed in SHARDS/failures.jsonl; an interrupted run goes on with --resume.
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
    add = parser.add_argument
    add("--source", required=True, metavar="NAME", help="folder, mead, cremad, ravdess, hdtf or grid")
    add("--root", type=Path, required=True, metavar="DIR", help="where the corpus lies")
    add("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder for the shards")
    add("--workers", type=integer("--workers", 1, 256), default=1, metavar="N", help="processes that share the clips (default 1)")
    add("--engine", default="local", metavar="E", help=f"what runs the workers: {', '.join(ENGINES)} (default local)")
    add("--resume", action="store_true", help="keep what an interrupted run finished")
    add("--size", type=int, default=256, metavar="S", help="side of the stored crops in pixels (default 256)")
    add("--landmarks", default="mediapipe", metavar="L", help="landmark back-end: mediapipe (default) or face-alignment")
    add("--split-by", default="speaker", metavar="W", help="speaker (default), or clip for a corpus of one speaker")
    add("--views", metavar="V,V", help="camera views of MEAD, or all (default front)")
    add("--keep-mute", action="store_true", help="keep videos without sound; only stage 3 can use them")
    add("--coefficients", type=Path, metavar="DIR", help="take coefficients from Deep3D .mat files named as the clips")
    add("--aus", type=Path, metavar="DIR", help="take action units from OpenFace .csv files named as the clips")
    add("--clip-timeout", type=integer("--clip-timeout", 1), default=600, metavar="S", help="seconds that one clip may take (default 600)")
    add("--max-failures", type=_share, default=1.0, metavar="X", help="fail when more than this share of the clips failed (default 1)")


def run(args: argparse.Namespace) -> None:
    """Extract, pack, and say what came of it."""
    if args.engine not in ENGINES:
        raise UserError("--engine", args.engine, ", ".join(ENGINES), "is not an engine")
    from datamodules.imports import ImportingSource
    from datamodules.preprocess import FAILURES, Settings, preprocess
    from datamodules.sources import open_source
    from emo_lightning.progress import Progress

    settings = Settings(size=args.size, landmarks=args.landmarks, split_by=args.split_by, keep_mute=args.keep_mute)
    source = open_source(args.source, args.root, args.views.split(",") if args.views is not None else None)
    if args.coefficients or args.aus:
        source = ImportingSource(source, args.coefficients, args.aus)
    with Progress("preprocess", None, "clips") as progress:
        report = preprocess(source, args.out, args.workers, args.resume, settings, progress.reach, args.clip_timeout)
    index = report.index
    print(f"wrote {args.out}: {index.samples} samples, {60 * index.hours:.1f} min, {len(index.speakers)} speakers")
    for reason, count in sorted(index.failures.items()):
        print(f"  {count} failed: {reason}")
    if index.failures:
        print(f"  each of them: {args.out / FAILURES}")
    for note in index.notes:
        print(f"  note: {note}")
    failed = len({failure.clip.partition(" at ")[0] for failure in report.failures})
    if failed > args.max_failures * (failed + index.samples):
        accepted = f"at most {args.max_failures:g} of the clips; the shards were written all the same"
        raise UserError("--max-failures", f"{failed} of {failed + index.samples}", accepted, "failed")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise UserError("--max-failures", text, "a share from 0 to 1")
    return value
