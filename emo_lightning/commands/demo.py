"""The whole path on one machine: corpus, three short trainings, talking videos of a photograph, and their evaluation.

``make demo`` runs this. Every step is an ordinary ``emo`` command, printed as it would be typed, so that a reader can
go on from any of them. The photograph is scikit-image's astronaut (NASA, public domain); the speech is our own sample.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from skimage import data as pictures

from datamodules.shards.export import ExportedClip, export_clips, write_manifest
from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL
from evaluation.report.contact_sheet import contact_sheet
from evaluation.runner.pairs import ALONE

STEPS = ("corpus", "train", "generate", "evaluate")
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SHEET_LEVELS = (1, 8, 15)
MOST_AT_ONCE = 4
"""Processes that make videos side by side; each takes some 600 MB."""
SHOWN_EMOTIONS = ("angry", "happy", "sad")
"""Of which the evaluation shows the response to the levels."""


def main(argv: list[str] | None = None) -> int:
    """Run the steps asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="emo_lightning.commands.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        help="folder for everything that the demo makes (default demo)",
    )
    parser.add_argument("--clips", type=int, default=48, help="clips in its corpus (default 48)")
    parser.add_argument(
        "--held-out",
        type=int,
        default=6,
        help="held-out clips that are generated anew and scored (default 6)",
    )
    parser.add_argument(
        "--steps",
        nargs="+",
        choices=STEPS,
        default=list(STEPS),
        help="which parts to run (default all)",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        for number, name in enumerate(args.steps, start=1):
            print(f"\n=== {number}/{len(args.steps)} {name}", flush=True)
            globals()[f"run_{name}"](args)
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(
            f"demo: stopped, because this command failed: {shlex.join(map(str, error.cmd))}",
            file=sys.stderr,
        )
        return 1
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Look at:", flush=True)
    for what, path in results(args.out).items():
        if path.exists():
            print(f"  {what:<34} {path}")
    return 0


def results(out: Path) -> dict[str, Path]:
    """What a person would want to open afterwards."""
    return {
        "the talking video": out / "astronaut.mp4",
        "eight emotions, three levels": out / "emotions.png",
        "video by the weights just trained": out / "keypoint.mp4",
        "evaluation report": out / "evaluation" / "report.html",
    }


def emo(*arguments: str | Path) -> None:
    """Print and run one ``emo`` command; raise CalledProcessError when it fails."""
    words = [str(a) for a in arguments]
    print(f"$ emo {shlex.join(words)}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "emo_lightning.cli", *words],
        check=True,
        env={**os.environ, "WANDB_SILENT": "true"},
    )


def side_by_side(commands: Sequence[Sequence[str | Path]]) -> None:
    """Run :func:`emo` commands that do not need one another, a process for each processor at a time.

    One of the failures is raised when the others have ended.
    """
    with ThreadPoolExecutor(min(MOST_AT_ONCE, os.cpu_count() or 1)) as pool:
        for done in [pool.submit(emo, *command) for command in commands]:
            done.result()


def write_astronaut(out: Path) -> Path:
    """The portrait of the demo as a file."""
    path = out / "astronaut.png"
    cv2.imwrite(str(path), np.ascontiguousarray(pictures.astronaut()[:, :, ::-1]))
    return path


def sample_speech() -> Path:
    """The recording that ships with the package."""
    return Path(str(files("emo_lightning") / "samples" / "speech.flac"))


def run_corpus(args: argparse.Namespace) -> None:
    """The embedded corpus, with the astronaut among its faces."""
    if (args.out / "corpus" / "index.json").exists():
        print(f"{args.out / 'corpus'} is there already")
        return
    emo(
        "corpus", "--out", args.out / "corpus", "--clips", str(args.clips), "--seed", str(args.seed)
    )


def run_train(args: argparse.Namespace) -> None:
    """The three stages at debug size: proof that they train here, not weights to keep."""
    common = ["size=debug", f"data={args.out / 'corpus'}", f"seed={args.seed}", "resume=never"]
    weights, before = args.out / "weights", []
    weights.mkdir(exist_ok=True)
    for number, product in enumerate(("decoupler", "heads", "renderer"), start=1):
        run = args.out / f"stage{number}"
        emo("train", EXPERIMENTS / f"stage{number}.yaml", *common, f"out={run}", *before)
        shutil.copy2(run / f"{product}.safetensors", weights)
        before = [f"{product}={weights / product}.safetensors"]


def run_generate(args: argparse.Namespace) -> None:
    """The astronaut speaks: the shipped weights for the video to keep, the debug weights to show the whole chain."""
    portrait, speech = write_astronaut(args.out), sample_speech()
    said = ["generate", "--portrait", portrait, "--audio", speech, "--seed", str(args.seed)]
    emo(*said, "--emotion", "happy", "--level", "12", "--out", args.out / "astronaut.mp4")
    emo(*said, "--emotion", "happy", "--level", "12", "--renderer", "keypoint", "--checkpoint-dir", args.out / "weights", "--size", "128",
        "--out", args.out / "keypoint.mp4")  # fmt: skip
    levels = args.out / "levels"
    levels.mkdir(exist_ok=True)
    side_by_side(
        [
            [
                *said,
                "--emotion",
                emotion,
                "--level",
                str(level),
                "--size",
                "192",
                "--out",
                levels / f"{emotion}-{level:02d}.mp4",
            ]
            for emotion in EMOTIONS
            for level in (SHEET_LEVELS if emotion != EMOTIONS[NEUTRAL] else SHEET_LEVELS[:1])
        ]
    )
    contact_sheet(levels, args.out / "emotions.png", SHEET_LEVELS)


def run_evaluate(args: argparse.Namespace) -> None:
    """Held-out clips of the corpus spoken anew, against the clips themselves; and one of them at several emotions and levels."""
    reference, generated = args.out / "reference", args.out / "generated"
    generated.mkdir(exist_ok=True)
    clips = export_clips(args.out / "corpus", reference, split="test", limit=args.held_out)
    speaking = [
        _speak(clip, clip.emotion or EMOTIONS[NEUTRAL], clip.level, generated / f"{clip.key}.mp4")
        for clip in clips
    ]
    manifest = write_manifest(clips, generated)
    with manifest.open("a", newline="", encoding="utf-8") as stream:
        for emotion in SHOWN_EMOTIONS:
            for level in SHEET_LEVELS:
                name = f"{emotion}-{level:02d}.mp4"
                speaking.append(_speak(clips[0], emotion, level, generated / name))
                # Nobody has ever said this clip with this feeling, so there is nothing to compare it with.
                csv.writer(stream).writerow([name, ALONE, emotion, level, clips[0].speaker, ""])
    side_by_side(speaking)
    processes = str(min(2, os.cpu_count() or 1))
    emo(
        "eval",
        "--systems",
        f"demo={generated}",
        "--reference",
        reference,
        "--out",
        args.out / "evaluation",
        "--devices",
        processes,
    )


def _speak(clip: ExportedClip, emotion: str, level: float | None, video: Path) -> list[str | Path]:
    """The command by which a clip's portrait says its sound with an emotion; neutral has no level."""
    feeling = ["--emotion", emotion]
    feeling += (
        ["--level", f"{level:g}"] if level is not None and emotion != EMOTIONS[NEUTRAL] else []
    )
    return [
        "generate",
        "--portrait",
        clip.portrait,
        "--audio",
        clip.audio,
        *feeling,
        "--out",
        video,
    ]


if __name__ == "__main__":
    sys.exit(main())
