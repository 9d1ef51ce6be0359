"""Look at a set of shards, hold it to its index, give it fine levels, or a teacher's features of its sound.

emo shards show DIR                   data card; DIR/contact_sheet.png and DIR/histograms.html (elsewhere with --out)
emo shards verify DIR --workers 4     hash every archive, read every sample, decode every frame; exit code 2 when something is wrong
emo shards levels DIR --out DIR2      a copy with levels 1 to 15, from annotated intensities and action units
emo shards teach DIR --out DIR2       a copy with Whisper's features of every sound, to hear with or to learn from
emo shards labels                     how each corpus's emotions and intensities become ours
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emo_lightning.commands.arguments import integer
from emo_lightning.core.errors import UserError

SUMMARY = "show, verify, level or teach a set of shards; print the table of labels"
ACTIONS = ("show", "verify", "levels", "teach", "labels")
SHEET, PAGE = "contact_sheet.png", "histograms.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    add = parser.add_argument
    add("action", choices=ACTIONS, help="what to do")
    add("data", type=Path, metavar="DIR", nargs="?", help="folder of shards; labels needs none")
    add(
        "--out",
        type=Path,
        metavar="D",
        help="show: where the picture and the page go (default DIR); levels, teach: a new or empty folder",
    )
    add(
        "--clips",
        type=integer("--clips", 1, 400),
        default=16,
        metavar="N",
        help="show: clips in the picture (default 16)",
    )
    add(
        "--measured",
        type=integer("--measured", 1),
        default=2000,
        metavar="N",
        help="show: clips behind the histograms (default about 2000)",
    )
    add(
        "--seed",
        type=integer("--seed", 0, 2**31),
        default=0,
        metavar="S",
        help="show: which clips (default 0)",
    )
    add(
        "--workers",
        type=integer("--workers", 1, 256),
        default=1,
        metavar="N",
        help="verify: processes (default 1)",
    )


def run(args: argparse.Namespace) -> None:
    """Do what was asked."""
    if args.action == "labels":
        labels()
        return
    if args.data is None:
        raise UserError("DIR", "", "a folder of shards", "is missing")
    {"show": show, "verify": verify, "levels": levels, "teach": teach}[args.action](args)


def labels() -> None:
    """Print the table that every source maps its labels by."""
    from datamodules.sources.labels import table

    print(table())


def show(args: argparse.Namespace) -> None:
    """Print the data card; write the contact sheet and the histogram page."""
    import cv2

    from datamodules.dataset_report.card import data_card, measure
    from datamodules.dataset_report.contact_sheet import contact_sheet
    from datamodules.dataset_report.histograms import histogram_page
    from datamodules.shards.tar_io import read_index
    from emo_lightning.core.atomic_files import publish, staging
    from emo_lightning.core.progress import Progress

    index = read_index(args.data, "DIR")
    out = args.out or args.data
    if not out.is_dir():
        raise UserError("--out", out, "a folder that exists", "is not a folder")
    print(data_card(index, str(args.data)), flush=True)
    with Progress("measure", None, "shards") as progress:
        measures = measure(args.data, index, args.measured, progress.reach)
    with staging(out, "--out") as stage:
        cv2.imwrite(
            str(stage / SHEET),
            contact_sheet(args.data, index, measures.seen, args.clips, args.seed),
        )
        (stage / PAGE).write_text(histogram_page(index, measures, str(args.data)), encoding="utf-8")
        publish(stage, out, [SHEET, PAGE])
    print(f"wrote {out / SHEET} and {out / PAGE}")
    for reason, count in sorted(measures.bad.items()):
        print(f"  {count} could not be read: {reason}; emo shards verify says which")


def verify(args: argparse.Namespace) -> None:
    """Look at everything; name each thing that is wrong."""
    from datamodules.shards.verify import verify as look
    from emo_lightning.core.progress import Progress

    with Progress("verify", None, "shards") as progress:
        verdict = look(args.data, args.workers, progress.reach)
    for finding in verdict.findings:
        print(finding)
    found = f"{len(verdict.findings)} finding{'s' * (len(verdict.findings) != 1)}"
    print(f"{verdict.shards} shards, {verdict.samples} sound samples, {found}")
    if verdict.findings:
        raise UserError("DIR", args.data, "a set that is what its index says", f"has {found}")


def levels(args: argparse.Namespace) -> None:
    """Rank the clips, write the copy, print how many got which level."""
    from datamodules.dataset_report.card import data_card
    from datamodules.shards.fine_levels import add_levels
    from emo_lightning.core.progress import Progress

    if args.out is None:
        raise UserError("--out", "", "a new or empty folder", "is missing")
    with Progress("levels", None, "shards") as progress:
        index = add_levels(args.data, args.out, progress.reach)
    print(data_card(index, str(args.out)))


def teach(args: argparse.Namespace) -> None:
    """Write the copy with Whisper's features."""
    from datamodules.dataset_report.card import data_card
    from datamodules.shards.add_whisper_features import add_teacher
    from emo_lightning.core.progress import Progress
    from emo_lightning.inference.audio_frontends import whisper_teacher

    if args.out is None:
        raise UserError("--out", "", "a new or empty folder", "is missing")
    teacher, about = whisper_teacher()
    with Progress("teach", None, "shards") as progress:
        index = add_teacher(args.data, args.out, teacher, about, progress.reach)
    print(data_card(index, str(args.out)))
