"""What the decoupler's features still say of emotion, intensity, speaker and phone: probes on
frozen features.

    python -m research.decoupling                                   (about five minutes on one core)
    python -m research.decoupling --data SHARDS --ravdess SHARDS --compare NAME=DIR --seeds 3
    --by-intensity
 With no arguments a small embedded corpus is made, the shipped decoupler is probed on it, and so
are three that are trained on it for equally many steps: by ``experiments/stage1.yaml``, by the same
without the AU contrast, and by the paper's contrast alone (``experiments/stage1_contrast.yaml``),
all without a teacher. ``--train STEPS`` says how long, 0 leaves them out, as ``--data`` does by
default. So few steps show the levels, not the recipe: its erasure follows moments over some 130
steps, in which an early network still moves, so content keeps emotion until training is long (3000
steps). ``--compare`` adds decouplers trained to the end.
 SHARDS of ``--data`` are an embedded corpus (``emo corpus``). Probes are fitted to its train split
and tested on its val and test splits, whose speakers and sentences train does not have; the speaker
probe is fitted to train's speakers and tested on sentences of theirs that it was not fitted to. On
``--ravdess`` (``emo preprocess --source ravdess``) probes are fitted to real voices, and tested on
actors held out, in six folds.
 Two readings: *frame*, the vector of one video frame (of the spectrogram: the nine frames that the
controller sees), and *clip*, mean and standard deviation over the frames of speech. Phones are the
39 of the CMU dictionary.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from research._features import (
    LEVELS,
    ROWS_TO_FIT,
    Clip,
    Question,
    ask,
    phone_problem,
    places,
    questions,
    read,
    row_name,
)
from research._probes import KINDS, Problem, Score, difference, probe

CLIPS = 320
"""Of the corpus that is made when none is named."""
STEPS = 250
"""Of training, in the ablation, when no corpus is named."""
TRAINED = {
    "recipe": ("1", []),
    "without AU contrast": ("1", ["loss.contrast=0"]),
    "paper's contrast": ("1_contrast", []),
}
"""What the ablation trains: experiment and what it changes."""
FOLDS = 6
READINGS = ("frame", "clip")
STATISTICS = "mel + MFCC"

Scores = dict[tuple[str, str, str, str], Score]
"""By features, reading, question and probe."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m research.decoupling", description=__doc__, formatter_class=shape
    )
    add = parser.add_argument
    add("--data", type=Path, help=f"shards of the embedded corpus; {CLIPS} clips are made without")
    add("--ravdess", type=Path, help="shards of RAVDESS; left out without")
    add("--checkpoint-dir", type=Path, help="trained weights; those shipped by default")
    add(
        "--compare",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="another decoupler's features beside it; may be given again",
    )
    add(
        "--train",
        type=int,
        metavar="STEPS",
        help=f"train the ablation for so many steps on the data; without --data {STEPS}, with it 0",
    )
    add("--seeds", type=int, default=1, help="probes of each kind (default: %(default)s)")
    add("--by-intensity", action="store_true", help="emotion of each intensity as well")
    args = parser.parse_args(arguments)
    from benchmarks._shared import one_thread, small_corpus

    with one_thread(), tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        data = args.data or small_corpus(Path(folder) / "corpus", CLIPS)
        if args.data is None:
            print(
                f"no --data: an embedded corpus of {CLIPS} clips without video, made in "
                f"{time.monotonic() - start:.0f} s"
            )
        steps = (0 if args.data else STEPS) if args.train is None else args.train
        nets = {
            "shipped" if args.checkpoint_dir is None else args.checkpoint_dir.name: _network(
                args.checkpoint_dir
            )
        }
        nets |= {
            name: _network(Path(where))
            for name, _, where in (pair.partition("=") for pair in args.compare)
        }
        nets |= _trained(data, Path(folder), steps) if steps else {}
        _report(data, args, nets)


def _report(data: Path, args: argparse.Namespace, nets: Mapping[str, Any]) -> None:
    """Both data sets' tables."""
    seeds = range(args.seeds)
    clips = read(data, nets)
    asked = [q for q in questions(clips) if args.by_intensity or not q.name.startswith("emotion, ")]
    scores = corpus_table(clips, asked, seeds)
    goal_table(scores, list(nets))
    if args.ravdess is None:
        print("\nskipped: --ravdess names no shards of RAVDESS")
        return
    real = real_table(read(args.ravdess, nets), seeds)
    real_goal_table(real, list(nets))


def _trained(data: Path, folder: Path, steps: int) -> dict[str, Any]:
    """The ablation's decouplers, trained briefly and alike."""
    from benchmarks._shared import train_stage

    nets, start = {}, time.monotonic()
    # A teacher needs its features in the shards and says nothing about the contrast.
    same = [
        f"data={data}",
        f"trainer.max_steps={steps}",
        f"trainer.val_every={steps}",
        "trainer.val_batches=1",
        "loss.distil=0",
    ]
    for name, (experiment, words) in TRAINED.items():
        path = train_stage(experiment, folder / name.replace(" ", "-"), [*same, *words])
        nets[f"{name}, {steps} steps"] = _network(path.parent)
    print(
        f"{len(nets)} decouplers trained for {steps} steps each in {time.monotonic() - start:.0f} "
        f"s: {', '.join(TRAINED)}"
    )
    return nets


def _network(folder: Path | None) -> Any:
    from emo_lightning.models.checkpoint_io import SHIPPED, load_decoupler, read_network

    path = (folder or SHIPPED) / "decoupler.safetensors"
    return load_decoupler(read_network(path, "decoupler", "--checkpoint-dir")).eval()


def corpus_table(clips: Sequence[Clip], asked: Sequence[Question], seeds: Sequence[int]) -> Scores:
    """Emotion, intensity, speaker and phone from every feature of the embedded corpus."""
    start, scores = time.monotonic(), Scores()
    spelled = all(clip.phones is not None for clip in clips)
    header = [question.name for question in asked] + ["phone"] * spelled
    fitted = sum(clip.split == "train" for clip in clips)
    print(f"\nEmbedded corpus: {fitted} clips to fit ({ROWS_TO_FIT} frames of them, about), {len(clips) - fitted} of other speakers and "
          f"sentences to test, seeds {list(seeds)}; mean recall of the classes, 95 % interval over clips")  # fmt: skip
    print(
        "| features | reading | probe | "
        + " | ".join(header)
        + " |\n|---|---|---|"
        + "---:|" * len(header)
    )
    for name in clips[0].features:
        for reading in READINGS:
            made: dict[str, Problem] = {q.name: ask(clips, name, q, reading) for q in asked}
            if reading == "frame" and spelled:
                made["phone"] = phone_problem(clips, name)
            for kind in KINDS:
                scores |= {
                    (name, reading, key, kind): probe(problem, kind, seeds)
                    for key, problem in made.items()
                }
                cells = [
                    str(scores[name, reading, key, kind]) if key in made else "" for key in header
                ]
                print("| " + " | ".join([name, reading, kind, *cells]) + " |", flush=True)
    tested = [scores[STATISTICS, "frame", key, KINDS[0]] for key in header]
    print(
        "| "
        + " | ".join(
            [
                "*chance, clips tested*",
                "",
                "",
                *(f"{one.chance:.3f}, n {one.clips}" for one in tested),
            ]
        )
        + " |"
    )
    print(f"probes: {time.monotonic() - start:.0f} s")
    return scores


def goal_table(scores: Scores, nets: Sequence[str]) -> None:
    """The figures that the decoupler is held to, in points of recall, each by the stronger probe."""
    print("\n| decoupler | reading | content: emotion less chance (goal: 5 at most) | low: emotion (goal: 80 at least) | "
          "phone: content less the best encoder (goal: -3 at least) |\n|---|---|---:|---:|---:|")  # fmt: skip
    for net in nets:
        for reading in READINGS:
            content, low = (
                best(scores, row_name(level, net), reading, "emotion")
                for level in ("content", "low")
            )
            # Nobody asks a phone of a whole clip.
            phones = {
                level: best(scores, row_name(level, net), reading, "phone")
                for level in LEVELS
                if _said(scores, net, level, reading)
            }
            cells = [
                _points(
                    content.accuracy - content.chance,
                    content.low - content.chance,
                    content.high - content.chance,
                )
            ]
            cells += [_points(low.accuracy, low.low, low.high), ""]
            if phones:
                encoder = max(
                    (level for level in LEVELS if level != "content"),
                    key=lambda level: phones[level].accuracy,
                )
                cells[-1] = (
                    f"{_points(*difference(phones['content'], phones[encoder]))} ({encoder})"
                )
            print("| " + " | ".join([net, reading, *cells]) + " |")


def real_table(clips: Sequence[Clip], seeds: Sequence[int]) -> Scores:
    """Emotion of real voices, actors held out in folds."""
    start, scores = time.monotonic(), Scores()
    actors = places([clip.speaker for clip in clips])
    _, emotion = np.unique([clip.emotion for clip in clips], return_inverse=True)
    fold = np.random.default_rng(0).permutation(actors.max() + 1)[actors] % FOLDS
    print(f"\nReal voices (RAVDESS): {len(clips)} clips, {actors.max() + 1} actors, {FOLDS} folds of actors, {emotion.max() + 1} emotions, "
          f"chance {1 / (emotion.max() + 1):.3f}, seeds {list(seeds)}; mean recall, 95 % interval over clips")  # fmt: skip
    print(
        "| features | "
        + " | ".join(f"{reading}, {kind}" for reading in READINGS for kind in KINDS)
        + " |\n|---|"
        + "---:|" * 4
    )
    for name in clips[0].features:
        for reading in READINGS:
            folds = [
                ask(
                    clips, name, Question("emotion", emotion, actors, fold != k, fold == k), reading
                )
                for k in range(FOLDS)
            ]
            scores |= {
                (name, reading, "emotion", kind): probe(folds, kind, seeds) for kind in KINDS
            }
        cells = [
            str(scores[name, reading, "emotion", kind]) for reading in READINGS for kind in KINDS
        ]
        print("| " + " | ".join([name, *cells]) + " |", flush=True)
    print(f"probes: {time.monotonic() - start:.0f} s")
    return scores


def real_goal_table(scores: Scores, nets: Sequence[str]) -> None:
    """How far content lies below the statistics of the sound, in points, each by the stronger
    probe.
    """
    print(f"\n| decoupler | reading | {STATISTICS} less content (goal: 30 at least) | {STATISTICS} less chance, the most there is | "
          "content less chance |\n|---|---|---:|---:|---:|")  # fmt: skip
    for net in nets:
        for reading in READINGS:
            sound, content = (
                best(scores, name, reading, "emotion")
                for name in (STATISTICS, row_name("content", net))
            )
            above = [
                _points(one.accuracy - one.chance, one.low - one.chance, one.high - one.chance)
                for one in (sound, content)
            ]
            print(
                "| "
                + " | ".join([net, reading, _points(*difference(sound, content)), *above])
                + " |"
            )


def best(scores: Scores, name: str, reading: str, question: str) -> Score:
    """The stronger probe's score."""
    return max(
        (scores[name, reading, question, kind] for kind in KINDS), key=lambda score: score.accuracy
    )


def _said(scores: Scores, net: str, level: str, reading: str) -> bool:
    return (row_name(level, net), reading, "phone", KINDS[0]) in scores


def _points(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    main()
