"""Turn videos of talking faces into shards for training.

  emo preprocess --source folder --root VIDEOS --out SHARDS
  emo preprocess --source mead --root MEAD --views all --out SHARDS --workers 8 --resume
  emo preprocess --source ravdess --root RAVDESS --out SHARDS
  emo preprocess --source mead --root MEAD --coefficients DEEP3D --keep-silent --out SHARDS
  emo preprocess --source hdtf --root /shared/HDTF --out SHARDS --engine ray --ray-address HOST:6379 --workers 64

Sources: folder (any videos, with an optional manifest.csv), mead, cremad, ravdess, hdtf, grid. A corpus is read by its own
file names, loose or in its tar and zip archives; a file that does not fit them is listed, not guessed. Each clip gives
square crops, landmarks, coefficients, action units and 16 kHz sound; recordings without video give sound alone. Clips that
cannot be used are counted by reason and listed in SHARDS/failures.jsonl; a run that was interrupted, killed or out of disk
space goes on with --resume. It takes about twice the room of the shards until it ends.

--engine ray takes the workers from a Ray cluster (pip install 'emo-lightning[ray]'): --root must be readable at the same path
on all of its machines, which need this package; samples come back over the network, so --out need not be shared. The
shards are the same bytes for every engine and number of workers.
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
"""When more than this share of the clips gave nothing, the command says so at the end, whatever is allowed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    add = parser.add_argument
    add(
        "--source",
        required=True,
        metavar="NAME",
        help="folder, mead, cremad, ravdess, hdtf or grid",
    )
    add("--root", type=Path, required=True, metavar="DIR", help="where the corpus lies")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new or empty folder for the shards",
    )
    add(
        "--workers",
        type=integer("--workers", 1),
        default=1,
        metavar="N",
        help="processes, or actors of Ray, at a time (default 1)",
    )
    add(
        "--engine",
        default="local",
        metavar="E",
        help="what runs the workers: local (processes of this machine; default) or ray",
    )
    address = "Ray cluster: local starts one for the run, auto takes the one of this machine (default RAY_ADDRESS, or local)"
    add("--ray-address", metavar="A", help=address)
    add("--resume", action="store_true", help="keep what an interrupted run finished")
    add(
        "--size",
        type=int,
        default=256,
        metavar="S",
        help="side of the stored crops in pixels (default 256)",
    )
    add(
        "--landmarks",
        default="mediapipe",
        metavar="L",
        help="landmark back-end: mediapipe (default) or face-alignment",
    )
    add(
        "--split-by",
        default="speaker",
        metavar="W",
        help="speaker (default), or clip for a corpus of one speaker",
    )
    add("--views", metavar="V,V", help="camera views of MEAD, or all (default front)")
    add(
        "--keep-silent",
        action="store_true",
        help="keep videos without sound; only stage 3 can use them",
    )
    add(
        "--coefficients",
        type=Path,
        metavar="DIR",
        help="take coefficients from Deep3D .mat files named as the clips",
    )
    add(
        "--aus",
        type=Path,
        metavar="DIR",
        help="take action units from OpenFace .csv files named as the clips",
    )
    add(
        "--clip-timeout",
        type=integer("--clip-timeout", 1),
        default=600,
        metavar="S",
        help="seconds that one clip may take (default 600)",
    )
    add(
        "--max-failures",
        type=_share,
        default=1.0,
        metavar="X",
        help="fail when more than this share of clips gave nothing (default 1)",
    )


def run(args: argparse.Namespace) -> None:
    """Extract, pack, and say what came of it."""
    from datamodules.preprocessing.engines import check_engine
    from datamodules.preprocessing.imported_features import ImportingSource
    from datamodules.preprocessing.pipeline import Settings, preprocess
    from datamodules.sources import open_source
    from emo_lightning.core.progress import Progress

    check_engine(args.engine, args.workers, args.ray_address)
    settings = Settings(
        size=args.size,
        landmarks=args.landmarks,
        split_by=args.split_by,
        keep_silent=args.keep_silent,
    )
    source = open_source(
        args.source, args.root, args.views.split(",") if args.views is not None else None
    )
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
            args.engine,
            args.ray_address,
        )
    _tell(report, args.out)
    if report.lost > args.max_failures * report.clips:
        accepted = (
            f"at most {args.max_failures:g} of the clips; the shards were written all the same"
        )
        raise UserError(
            "--max-failures", f"{report.lost} of {report.clips}", accepted, "gave no sample"
        )


def _tell(report: Report, out: Path) -> None:
    """Print what was written, the failures by reason, and what a reader ought to know."""
    from datamodules.preprocessing.pipeline import FAILURES

    index = report.index
    print(
        f"wrote {out}: {index.samples} samples, {60 * index.hours:.1f} min, {len(index.speakers)} speakers"
    )
    for reason, count in sorted(index.failures.items()):
        print(f"  {count} failed: {reason}")
    if index.failures:
        print(f"  each of them: {out / FAILURES}")
    for note in index.notes:
        print(f"  note: {note}")
    if report.lost > ALARMING * report.clips:
        print(
            f"emo: {report.lost} of {report.clips} clips gave no sample; {out / FAILURES} says why",
            file=sys.stderr,
        )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise UserError("--max-failures", text, "a share from 0 to 1")
    return value
