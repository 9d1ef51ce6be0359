"""Inspect, verify and extend shard sets.

emo shards show DIR                       data card; DIR/contact_sheet.png and DIR/histograms.html
emo shards verify DIR --workers 4         hash every shard, decode every sample and frame
emo shards levels DIR --out DIR2          a copy with levels 1 to 15, found from action units
emo shards add-whisper DIR --out DIR2     a copy with features of Whisper's encoder
emo shards labels                         each corpus's emotions and intensities, and ours
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emo_lightning.commands.arguments import integer
from emo_lightning.core.errors import UserError

SUMMARY = "inspect, verify or extend a shard set; print the table of labels"
CONTACT_SHEET, PAGE = "contact_sheet.png", "histograms.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    add = parser.add_argument
    add("action", choices=(*ACTIONS, "labels"), help="the operation")
    add("data", type=Path, metavar="DIR", nargs="?", help="folder of shards; labels needs none")
    outputs = "show: folder for picture and page (default DIR); levels, add-whisper: a new folder"
    add("--out", type=Path, metavar="D", help=outputs)
    clips, measured = integer("--clips", 1, 400), integer("--measured", 1)
    seed, workers = integer("--seed", 0, 2**31), integer("--workers", 1, 256)
    add("--clips", type=clips, default=16, metavar="N", help="show: clips shown (default 16)")
    add("--measured", type=measured, default=2000, metavar="N", help="show: clips behind the "
        "histograms (default about 2000)")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="S", help="show: choice of clips (default 0)")
    add("--workers", type=workers, default=1, metavar="N", help="verify: processes (default 1)")


def run(args: argparse.Namespace) -> None:
    """Run the action."""
    if args.action == "labels":
        from datamodules.sources.labels import table

        print(table())
        return
    if args.data is None:
        raise UserError("DIR", "", "a folder of shards", "is missing")
    ACTIONS[args.action](args)


def show(args: argparse.Namespace) -> None:
    """Print the data card; write the contact sheet and the histogram page."""
    import cv2

    from datamodules.dataset_report.card import collect_statistics, data_card
    from datamodules.dataset_report.contact_sheet import contact_sheet
    from datamodules.dataset_report.histograms import histogram_page
    from datamodules.shards.index import read_index
    from emo_lightning.core.atomic_files import publish, staging
    from emo_lightning.core.progress import Progress

    index = read_index(args.data, "DIR")
    out = args.out or args.data
    if not out.is_dir():
        raise UserError("--out", out, "a folder that exists", "is not a folder")
    print(data_card(index, str(args.data)), flush=True)
    with Progress("measure", None, "shards") as progress:
        statistics = collect_statistics(args.data, index, args.measured, progress.reach)
    with staging(out, "--out") as stage:
        picture = contact_sheet(args.data, index, statistics.clips, args.clips, args.seed)
        cv2.imwrite(str(stage / CONTACT_SHEET), picture)
        page = histogram_page(index, statistics, str(args.data))
        (stage / PAGE).write_text(page, encoding="utf-8")
        publish(stage, out, [CONTACT_SHEET, PAGE])
    print(f"wrote {out / CONTACT_SHEET} and {out / PAGE}")
    for reason, count in sorted(statistics.bad.items()):
        print(f"  {count} could not be read: {reason}; emo shards verify lists them")


def verify(args: argparse.Namespace) -> None:
    """Check everything; print each finding."""
    from datamodules.shards import verify as checks
    from emo_lightning.core.progress import Progress

    with Progress("verify", None, "shards") as progress:
        verdict = checks.verify(args.data, args.workers, progress.reach)
    for finding in verdict.findings:
        print(finding)
    found = f"{len(verdict.findings)} finding{'s' * (len(verdict.findings) != 1)}"
    print(f"{verdict.shards} shards, {verdict.samples} sound samples, {found}")
    if verdict.findings:
        raise UserError("DIR", args.data, "a set that agrees with its index", f"has {found}")


def levels(args: argparse.Namespace) -> None:
    """Write a copy with fine levels; print its data card."""
    from datamodules.dataset_report.card import data_card
    from datamodules.shards.fine_levels import add_levels
    from emo_lightning.core.progress import Progress

    with Progress("levels", None, "shards") as progress:
        index = add_levels(args.data, _out(args), progress.reach)
    print(data_card(index, str(args.out)))


def add_whisper(args: argparse.Namespace) -> None:
    """Write a copy with Whisper's features; print its data card."""
    from datamodules.dataset_report.card import data_card
    from datamodules.shards.add_whisper_features import add_whisper_features
    from emo_lightning.core.progress import Progress
    from emo_lightning.inference.audio_frontends import whisper_teacher

    out = _out(args)
    encoder, about = whisper_teacher()
    with Progress("add-whisper", None, "shards") as progress:
        index = add_whisper_features(args.data, out, encoder, about, progress.reach)
    print(data_card(index, str(out)))


def _out(args: argparse.Namespace) -> Path:
    if args.out is None:
        raise UserError("--out", "", "a new or empty folder", "is missing")
    return args.out


ACTIONS = {"show": show, "verify": verify, "levels": levels, "add-whisper": add_whisper}
