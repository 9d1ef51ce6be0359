"""Turn videos of talking faces into shards for training.

  emo preprocess --source folder --root VIDEOS --out SHARDS
  emo preprocess --source mead --root MEAD --views all --out SHARDS --workers 8 --resume
  emo preprocess --source ravdess --root RAVDESS --out SHARDS
  emo preprocess --source mead --root MEAD --coefficients DEEP3D --keep-silent --out SHARDS
  emo preprocess --source hdtf --root /shared/HDTF --out SHARDS --engine ray --workers 64

Sources: folder (any videos, with an optional manifest.csv), mead, cremad, ravdess, hdtf, grid. A
corpus is read by its own file names, loose or in its tar and zip archives; a file that does not
match them is listed, not guessed. Each clip becomes square crops, landmarks, coefficients, action
units and 16 kHz audio; recordings without video become audio alone. Unusable clips are counted by
reason and listed in SHARDS/failures.jsonl; a run that was interrupted, killed or out of disk space
continues with --resume. Until it ends it takes about twice the room of the shards.

--engine ray takes the workers from a Ray cluster (pip install 'emo-lightning[ray]'): --root must be
readable at the same path on all of its machines, which need this package; samples come back over
the network, so --out need not be shared. Shards are the same for every engine and worker count.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emo_lightning.commands.arguments import integer
from emo_lightning.core.errors import UserError

if TYPE_CHECKING:
    from datamodules.preprocessing.pipeline import Report

SUMMARY = "turn videos into training shards"
ALARMING = 0.5
"""Share of clips without a sample above which the command warns at the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    add = parser.add_argument
    folder = {"type": Path, "required": True, "metavar": "DIR"}
    about = "folder, mead, cremad, ravdess, hdtf or grid"
    add("--source", required=True, metavar="NAME", help=about)
    add("--root", **folder, help="folder of the corpus")
    add("--out", **folder, help="a new or empty folder for the shards")
    about = "processes, or actors of Ray, at a time (default 1)"
    add("--workers", type=integer("--workers", 1), default=1, metavar="N", help=about)
    about = "worker engine: local (processes of this machine; default) or ray"
    add("--engine", default="local", metavar="E", help=about)
    about = (
        "Ray cluster: local starts one for the run, auto takes the one of this machine, "
        "or HOST:PORT (default RAY_ADDRESS, or local)"
    )
    add("--ray-address", metavar="A", help=about)
    add("--resume", action="store_true", help="keep what an interrupted run finished")
    about = "side of the stored crops in pixels (default 256)"
    add("--size", type=int, default=256, metavar="S", help=about)
    about = "landmark back end: mediapipe (default) or face-alignment"
    add("--landmarks", default="mediapipe", metavar="L", help=about)
    about = "weights of the landmark back end (default: its own, downloaded once)"
    add("--landmark-model", type=Path, metavar="FILE", help=about)
    about = "speaker (default), or clip for a corpus of one speaker"
    add("--split-by", default="speaker", metavar="W", help=about)
    add("--views", metavar="V,V", help="camera views of MEAD, or all (default front)")
    about = "keep videos without audio; only stage 3 can use them"
    add("--keep-silent", action="store_true", help=about)
    about = "take coefficients from Deep3D .mat files named as the clips"
    add("--coefficients", type=Path, metavar="DIR", help=about)
    about = "take action units from OpenFace .csv files named as the clips"
    add("--aus", type=Path, metavar="DIR", help=about)
    seconds, about = integer("--clip-timeout", 1), "time limit of one clip in seconds (default 600)"
    add("--clip-timeout", type=seconds, default=600, metavar="S", help=about)
    about = "fail when more than this share of the clips has no sample (default 1)"
    add("--max-failures", type=_share, default=1.0, metavar="X", help=about)


def run(args: argparse.Namespace) -> None:
    """Extract, pack, and report."""
    from datamodules.preprocessing.engines import Engine, check_engine
    from datamodules.preprocessing.imported_features import ImportingSource
    from datamodules.preprocessing.pipeline import Settings, preprocess
    from datamodules.sources import open_source
    from emo_lightning.core.progress import Progress

    engine = Engine(args.engine, args.ray_address)
    check_engine(engine, args.workers)
    settings = Settings(
        size=args.size,
        landmarks=args.landmarks,
        split_by=args.split_by,
        keep_silent=args.keep_silent,
        landmark_model=args.landmark_model,
    )
    views = args.views.split(",") if args.views is not None else None
    source = open_source(args.source, args.root, views)
    if args.coefficients or args.aus:
        source = ImportingSource(source, args.coefficients, args.aus)
    with Progress("preprocess", None, "clips") as progress:
        report = preprocess(
            source,
            args.out,
            args.workers,
            args.resume,
            settings,
            progress.reach,
            args.clip_timeout,
            engine,
        )
    _print_report(report, args.out)
    if report.lost > args.max_failures * report.clips:
        accepted = f"at most {args.max_failures:g} of the clips; the shards were written anyway"
        lost = f"{report.lost} of {report.clips}"
        raise UserError("--max-failures", lost, accepted, "have no sample")


def _print_report(report: Report, out: Path) -> None:
    """Print what was written, failures by reason, and notes."""
    from datamodules.preprocessing.pipeline import FAILURES

    index = report.index
    minutes, speakers = 60 * index.hours, len(index.speakers)
    print(f"wrote {out}: {index.samples} samples, {minutes:.1f} min, {speakers} speakers")
    for reason, count in sorted(index.failures.items()):
        print(f"  {count} failed: {reason}")
    if index.failures:
        print(f"  each of them: {out / FAILURES}")
    for note in index.notes:
        print(f"  note: {note}")
    if report.lost > ALARMING * report.clips:
        lost = f"{report.lost} of {report.clips} clips have no sample"
        print(f"emo: {lost}; see {out / FAILURES}", file=sys.stderr)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise UserError("--max-failures", text, "a share from 0 to 1")
    return value
