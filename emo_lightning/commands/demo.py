"""The whole path on one machine: corpus, three short trainings, talking videos, their evaluation.

Every step is an ordinary emo command, printed as it would be typed. The photograph is
scikit-image's astronaut (NASA, public domain); the speech is our own sample.
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
from typing import TYPE_CHECKING

from emo_lightning.commands.arguments import integer
from emo_lightning.core.progress import note, result
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL

if TYPE_CHECKING:
    from datamodules.shards.export import ExportedClip

SUMMARY = "corpus, training, videos and evaluation in small, in four minutes"
STEPS = ("corpus", "train", "generate", "evaluate")
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SHOWN_LEVELS = (1, 8, 15)
MAX_PROCESSES = 4
"""Processes that make videos at the same time; each takes some 600 MB."""
EVALUATED_EMOTIONS = ("angry", "happy", "sad")
"""Emotions whose response to the levels the evaluation shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    add, out = parser.add_argument, Path("demo")
    add("--out", type=Path, default=out, metavar="DIR", help="folder for all results (demo)")
    clips = "clips in its corpus (default 48)"
    add("--clips", type=integer("--clips", 1), default=48, metavar="N", help=clips)
    held_out = "held-out clips that are generated anew and scored (default 6)"
    add("--held-out", type=integer("--held-out", 1), default=6, metavar="N", help=held_out)
    add("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="parts to run (default all)")
    add("--seed", type=integer("--seed", 0), default=0, metavar="N", help="default 0")


def run(args: argparse.Namespace) -> None:
    """Run the steps asked for; exit code 1 when one of their commands fails."""
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    steps = {"corpus": _corpus, "train": _train, "generate": _generate, "evaluate": _evaluate}
    try:
        for number, name in enumerate(args.steps, start=1):
            note(f"\n=== {number}/{len(args.steps)} {name}")
            steps[name](args)
    except subprocess.CalledProcessError as error:
        note(f"emo: the demo stopped at this command: {shlex.join(map(str, error.cmd))}")
        sys.exit(1)
    found = {
        "the talking video": args.out / "astronaut.mp4",
        "eight emotions, three levels": args.out / "emotions.png",
        "video by the weights just trained": args.out / "keypoint.mp4",
        "evaluation report": args.out / "evaluation" / "report.html",
    }
    result(f"\nDone in {time.perf_counter() - started:.0f} s. Look at:")
    for what, path in found.items():
        if path.exists():
            result(f"  {what:<34} {path}")


def write_astronaut(out: Path) -> Path:
    """Write the portrait of the demo to a folder."""
    from PIL import Image
    from skimage import data

    path = out / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


def sample_speech() -> Path:
    """The recording that ships with the package."""
    return Path(str(files("emo_lightning") / "samples" / "speech.flac"))


def _emo(*arguments: str | Path) -> None:
    """Print and run one ``emo`` command; raise CalledProcessError when it fails."""
    words = [str(word) for word in arguments]
    note(f"$ emo {shlex.join(words)}")
    command = [sys.executable, "-m", "emo_lightning.cli", *words]
    subprocess.run(command, check=True, env={**os.environ, "WANDB_SILENT": "true"})


def _emo_parallel(commands: Sequence[Sequence[str | Path]]) -> None:
    """Run independent commands, one for each processor; raise the failure of one at the end."""
    with ThreadPoolExecutor(min(MAX_PROCESSES, os.cpu_count() or 1)) as pool:
        for done in [pool.submit(_emo, *command) for command in commands]:
            done.result()


def _corpus(args: argparse.Namespace) -> None:
    """The embedded corpus, with the astronaut among its faces."""
    corpus = args.out / "corpus"
    if (corpus / "index.json").exists():
        note(f"{corpus} exists already")
    else:
        _emo("corpus", "--out", corpus, "--clips", str(args.clips), "--seed", str(args.seed))


def _train(args: argparse.Namespace) -> None:
    """The three stages at debug size: a check of the path, no weights to keep."""
    common = ["size=debug", f"data={args.out / 'corpus'}", f"seed={args.seed}", "resume=never"]
    weights, before = args.out / "weights", []
    weights.mkdir(exist_ok=True)
    for number, product in enumerate(("decoupler", "heads", "renderer"), start=1):
        folder = args.out / f"stage{number}"
        _emo("train", EXPERIMENTS / f"stage{number}.yaml", *common, f"out={folder}", *before)
        shutil.copy2(folder / f"{product}.safetensors", weights)
        before = [f"{product}={weights / product}.safetensors"]


def _generate(args: argparse.Namespace) -> None:
    """The astronaut speaks: by the shipped weights, by those just trained, and at all emotions."""
    from evaluation.report.contact_sheet import contact_sheet

    inputs = ["--portrait", write_astronaut(args.out), "--audio", sample_speech()]
    common = ["generate", *inputs, "--seed", str(args.seed)]
    happy = [*common, "--emotion", "happy", "--level", "12", "--out"]
    _emo(*happy, args.out / "astronaut.mp4")
    trained = ["--renderer", "keypoint", "--checkpoint-dir", args.out / "weights", "--size", "128"]
    _emo(*happy, args.out / "keypoint.mp4", *trained)
    folder, commands = args.out / "levels", []
    folder.mkdir(exist_ok=True)
    for emotion in EMOTIONS:
        for level in SHOWN_LEVELS[: 1 if emotion == EMOTIONS[NEUTRAL] else None]:
            face = ["--emotion", emotion, "--level", str(level), "--size", "192", "--view", "crop"]
            commands.append([*common, *face, "--out", folder / f"{emotion}-{level:02d}.mp4"])
    _emo_parallel(commands)
    contact_sheet(folder, args.out / "emotions.png", SHOWN_LEVELS)


def _evaluate(args: argparse.Namespace) -> None:
    """Held-out clips generated anew against the clips, and one at several emotions and levels."""
    from datamodules.shards.export import export_clips, write_manifest
    from evaluation.runner.pairs import ALONE

    reference, generated = args.out / "reference", args.out / "generated"
    generated.mkdir(exist_ok=True)
    clips = export_clips(args.out / "corpus", reference, split="test", limit=args.held_out)
    commands = []
    for clip in clips:
        emotion = clip.emotion or EMOTIONS[NEUTRAL]
        commands.append(_speak(clip, emotion, clip.level, generated / f"{clip.key}.mp4"))
    manifest, first = write_manifest(clips, generated), clips[0]
    with manifest.open("a", newline="", encoding="utf-8") as stream:
        for emotion in EVALUATED_EMOTIONS:
            for level in SHOWN_LEVELS:
                name = f"{emotion}-{level:02d}.mp4"
                commands.append(_speak(first, emotion, level, generated / name))
                # The clip was never recorded with this emotion, so there is no reference.
                csv.writer(stream).writerow([name, ALONE, emotion, level, first.speaker, ""])
    _emo_parallel(commands)
    paths = ["--systems", f"demo={generated}", "--reference", reference]
    processes = str(min(2, os.cpu_count() or 1))
    _emo("eval", *paths, "--out", args.out / "evaluation", "--devices", processes)


def _speak(clip: ExportedClip, emotion: str, level: float | None, out: Path) -> list[str | Path]:
    """The command that generates a clip anew with an emotion; neutral has no level."""
    words = ["generate", "--portrait", clip.portrait, "--audio", clip.audio, "--emotion", emotion]
    if level is not None and emotion != EMOTIONS[NEUTRAL]:
        words += ["--level", f"{level:g}"]
    return [*words, "--view", "crop", "--out", out]
