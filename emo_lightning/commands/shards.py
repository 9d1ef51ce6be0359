"""Inspect, verify and extend shard sets.

emo shards show DIR                       data card; DIR/contact_sheet.png and DIR/histograms.html
emo shards verify DIR --workers 4         hash every shard, decode every sample and frame
emo shards levels DIR --out DIR2          a copy with levels 1 to 15, found from action units
emo shards add-whisper DIR --out DIR2     a copy with features of Whisper's encoder
emo shards augment-voices DIR --out DIR2  training clips in other voices, --copies of each
emo shards pseudo-label DIR --out DIR2    audio-only clips with coefficients of trained networks
emo shards labels                         each corpus's emotions and intensities, and ours
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emo_lightning.commands.arguments import integer
from emo_lightning.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from datamodules.shards.pseudo_labels import Predictor
    from emo_lightning.face.coefficients import Coefficients
    from emo_lightning.inference.audio_to_motion import AudioToMotion

SUMMARY = "inspect, verify or extend a shard set; print the table of labels"
CONTACT_SHEET, PAGE = "contact_sheet.png", "histograms.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    add = parser.add_argument
    add("action", choices=(*ACTIONS, "labels"), help="the operation")
    add("data", type=Path, metavar="DIR", nargs="?", help="folder of shards; labels needs none")
    outputs = "show: folder for picture and page (default DIR); the others: a new folder"
    add("--out", type=Path, metavar="D", help=outputs)
    clips, measured = integer("--clips", 1, 400), integer("--measured", 1)
    seed, workers = integer("--seed", 0, 2**31), integer("--workers", 1, 256)
    add("--clips", type=clips, default=16, metavar="N", help="show: clips shown (default 16)")
    add("--measured", type=measured, default=2000, metavar="N", help="show: clips behind the "
        "histograms (default about 2000)")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="S", help="show: choice of clips; augment-voices: "
        "of voices (default 0)")  # fmt: skip
    copies = integer("--copies", 1, 100)
    add("--copies", type=copies, default=1, metavar="N", help="augment-voices: of each clip")
    add("--checkpoint-dir", type=Path, action="append", default=[], metavar="D",
        help="pseudo-label: "
        "trained weights (default those shipped for Whisper); repeat for the mean of several"
    )  # fmt: skip
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


def augment_voices(args: argparse.Namespace) -> None:
    """Write copies in other voices; print their data card."""
    from datamodules.corpus.augment_voices import augment_voices as write
    from datamodules.dataset_report.card import data_card
    from emo_lightning.core.progress import Progress

    with Progress("augment-voices", None, "shards") as progress:
        index = write(args.data, _out(args), args.copies, args.seed, progress.reach)
    print(data_card(index, str(args.out)))


def pseudo_label(args: argparse.Namespace) -> None:
    """Write audio-only clips with predicted coefficients; print their data card."""
    from datamodules.dataset_report.card import data_card
    from datamodules.shards.pseudo_labels import add_pseudo_labels
    from emo_lightning.core.progress import Progress
    from emo_lightning.core.provenance import sha256_of
    from emo_lightning.inference.weights import SHIPPED_WEIGHTS, load_audio_to_motion, weight_files

    out, folders = _out(args), args.checkpoint_dir or [SHIPPED_WEIGHTS["whisper"]]
    predictor = mean_predictor([load_audio_to_motion(folder) for folder in folders])
    about = {"weights": [sha256_of(path) for folder in folders for path in weight_files(folder)]}
    with Progress("pseudo-label", None, "shards") as progress:
        index = add_pseudo_labels(args.data, out, predictor, about, progress.reach)
    print(data_card(index, str(out)))


def mean_predictor(networks: Sequence[AudioToMotion]) -> Predictor:
    """Mean over networks of the neutral face that each makes of a recording, the head still."""
    import numpy as np

    from emo_lightning.face.coefficients import BUILTIN, Coefficients
    from emo_lightning.media.loudness import levelled
    from emo_lightning.media.spectrogram import log_mel
    from emo_lightning.motion.emotion_track import EmotionTrack

    source = Coefficients.from_joined(BUILTIN, np.zeros((1, BUILTIN.size), np.float32))
    track = EmotionTrack.constant("neutral", 1)

    def predict(wave: np.ndarray, frames: int) -> Coefficients:
        made = []
        for network in networks:
            network.voice_gate = False  # labels are the networks' own output
            rows = [log_mel(levelled(wave), network.mel_kind)]
            blocks = network.generate(rows, source, track, head_motion=False, total_frames=frames)
            made.append(np.concatenate([block.joined() for block in blocks]))
        return Coefficients.from_joined(BUILTIN, np.mean(made, axis=0, dtype=np.float32))

    return predict


def _out(args: argparse.Namespace) -> Path:
    if args.out is None:
        raise UserError("--out", "", "a new or empty folder", "is missing")
    return args.out


ACTIONS = {
    "show": show,
    "verify": verify,
    "levels": levels,
    "add-whisper": add_whisper,
    "augment-voices": augment_voices,
    "pseudo-label": pseudo_label,
}
