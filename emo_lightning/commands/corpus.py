"""Make the embedded corpus: talking heads whose coefficients, phones, emotion and level are exact.

  emo corpus --out data/corpus
  emo corpus --out data/corpus --clips 480 --seed 1 --workers 2 --portrait me.jpg --portrait you.png

It needs no data and no network: speech is synthesised; faces are painted, or those given.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emo_lightning.commands.arguments import integer

SUMMARY = "make the embedded training corpus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    add, whole = parser.add_argument, integer
    about = "a new or empty folder for the shards"
    add("--out", type=Path, required=True, metavar="DIR", help=about)
    about = "clips of 2 to 7 s each (default 240)"
    add("--clips", type=whole("--clips", 1), default=240, metavar="N", help=about)
    about = "same seed, same corpus (default 0)"
    add("--seed", type=whole("--seed", 0, 2**31), default=0, metavar="S", help=about)
    about = "side of the frames in pixels (default 128)"
    add("--size", type=whole("--size", 64, 1024, 2), default=128, metavar="S", help=about)
    about = "processes that make clips (default 1)"
    add("--workers", type=whole("--workers", 1, 256), default=1, metavar="N", help=about)
    about = "people with painted heads (default by clips)"
    add("--speakers", type=whole("--speakers", 1), metavar="N", help=about)
    about = "picture whose face joins the painted ones; may be repeated"
    add("--portrait", type=Path, action="append", default=[], metavar="P", help=about)
    about = "light shards alone, enough for stages 1 and 2"
    add("--no-video", action="store_true", help=about)


def run(args: argparse.Namespace) -> None:
    """Make the clips and report."""
    from datamodules.corpus.build import build_corpus

    index = build_corpus(
        args.out,
        clips=args.clips,
        seed=args.seed,
        size=args.size,
        portraits=args.portrait,
        video=not args.no_video,
        speakers=args.speakers,
        workers=args.workers,
    )
    minutes, speakers = 60 * index["hours"], len(index["speakers"])
    print(f"wrote {args.out}: {index['samples']} samples, {minutes:.1f} min, {speakers} speakers")
