"""Make the embedded corpus: talking heads of which every coefficient, sound of speech, emotion and level is known.

  emo corpus --out data/corpus
  emo corpus --out data/corpus --clips 480 --seed 1 --workers 2 --portrait me.jpg --portrait you.png

It takes no data and no network: speech comes from text, faces are painted or taken from the portraits given.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emo_lightning.commands.arguments import integer

SUMMARY = "make the embedded training corpus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new or empty folder for the shards",
    )
    parser.add_argument(
        "--clips",
        type=integer("--clips", 1),
        default=240,
        metavar="N",
        help="clips of 2 to 7 s each (default 240)",
    )
    parser.add_argument(
        "--seed",
        type=integer("--seed", 0, 2**31),
        default=0,
        metavar="S",
        help="same seed, same corpus (default 0)",
    )
    parser.add_argument(
        "--size",
        type=integer("--size", 64, 1024, 2),
        default=128,
        metavar="S",
        help="side of frames (default 128)",
    )
    workers = integer("--workers", 1, 256)
    parser.add_argument(
        "--workers",
        type=workers,
        default=1,
        metavar="N",
        help="processes that make clips (default 1)",
    )
    parser.add_argument(
        "--speakers",
        type=integer("--speakers", 1),
        metavar="N",
        help="people with painted heads (default by clips)",
    )
    about = "picture whose face joins the painted ones; may be repeated"
    parser.add_argument(
        "--portrait", type=Path, action="append", default=[], metavar="P", help=about
    )
    parser.add_argument(
        "--no-video", action="store_true", help="light shards alone, enough for stages 1 and 2"
    )


def run(args: argparse.Namespace) -> None:
    """Make the clips and say what came of it."""
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
    print(
        f"wrote {args.out}: {index['samples']} samples, {60 * index['hours']:.1f} min, {len(index['speakers'])} speakers"
    )
