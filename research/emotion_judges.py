"""How often emotion judges are right on real people: ours, its untrained rules, and those of others
whose weights are there.

    python -m benchmarks emotion --videos DIR [--every 2]
 The emotion of a video is the one named in its path, as a folder or between underscores
(``W009_front_angry_level3_001.mp4``, ``angry/level_1/015.mp4``); videos that name none are left
out. Others' judges look at every fifth frame, or fewer; clips of an emotion that one does not know
are left out of its table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks._shared import external_judges, wilson
from emo_lightning.motion.emotions import EMOTIONS

if TYPE_CHECKING:
    from evaluation.suite.emotion import ExternalJudge


def label(path: Path) -> str | None:
    """The emotion that a path names, the part nearest to the file first."""
    for part in (path.stem, *reversed(path.parent.parts)):
        named = [word for word in part.lower().split("_") if word in EMOTIONS]
        if named:
            return named[0]
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Print accuracy, second guesses and confusions."""
    parser = argparse.ArgumentParser(
        prog="benchmarks emotion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--videos", type=Path, help="a folder of acted videos; without it there is nothing to judge"
    )
    parser.add_argument(
        "--every", type=int, default=1, help="look at every so many frames (default: all)"
    )
    args = parser.parse_args(arguments)
    if args.videos is None:
        print("skipped: --videos names no folder of acted videos")
        return
    from evaluation.judges.emotion import EmotionJudge, rule_probabilities

    clips = [
        (path, label(path.relative_to(args.videos))) for path in sorted(args.videos.rglob("*.mp4"))
    ]
    labelled = [(path, EMOTIONS.index(name)) for path, name in clips if name]
    print(
        f"{len(labelled)} videos with an emotion in their path, {len(clips) - len(labelled)} "
        "without"
    )
    if not labelled:
        return
    wanted = np.array([emotion for _, emotion in labelled])
    others = external_judges()
    shapes, answers = _look([path for path, _ in labelled], max(args.every, 1), others)
    _report("emotion judge", [EmotionJudge.load().probabilities(clip) for clip in shapes], wanted)
    _report("rules", [rule_probabilities(clip) for clip in shapes], wanted)
    for outsider in others:
        known = np.isin(wanted, [EMOTIONS.index(name) for name in outsider.classes])
        _report(
            outsider.label,
            [answers[outsider.name][i] for i in np.flatnonzero(known)],
            wanted[known],
        )
        if not known.all():
            _report(
                "emotion judge on the same",
                [EmotionJudge.load().probabilities(shapes[i]) for i in np.flatnonzero(known)],
                wanted[known],
            )


def _look(
    paths: Sequence[Path], every: int, others: Sequence[ExternalJudge]
) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]]]:
    """Each clip's blendshapes, and what each of the others says of it."""
    import torch

    from emo_lightning.media.video_reader import iter_frames
    from evaluation.judges.blendshapes import blendshapes
    from evaluation.judges.face_crops import clip_probabilities, frame_probabilities
    from evaluation.judges.landmarks import LandmarkJudge
    from evaluation.suite.emotion import EVERY

    judges = [outsider.open(torch.device("cpu")) for outsider in others]
    tracker, step = LandmarkJudge(), max(EVERY // every, 1)
    shapes: list[np.ndarray] = []
    answers: dict[str, list[np.ndarray]] = {outsider.name: [] for outsider in others}
    for path in paths:
        tracker.start()
        points, rows = [], [[] for _ in others]
        for i, frame in enumerate(islice(iter_frames(path), None, None, every)):
            points.append(tracker.place(frame))
            for outsider, judge, found in (
                zip(others, judges, rows, strict=True) if i % step == 0 else ()
            ):
                found.append(
                    frame_probabilities(judge, *_head(frame, points[-1], outsider.view.size))
                )
        shapes.append(blendshapes(np.stack(points)))
        for outsider, found in zip(others, rows, strict=True):
            mean = clip_probabilities(np.concatenate(found))
            answers[outsider.name].append(np.full(len(EMOTIONS), np.nan) if mean is None else mean)
    tracker.close()
    return shapes, answers


def _head(frame: np.ndarray, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The square around the head and the points in it, each as a batch of one."""
    from emo_lightning.face.crop import crop_box, crop_image, to_crop

    if not np.isfinite(points).all():
        return np.zeros((1, size, size, 3), np.uint8), np.full(
            (1, *points.shape), np.nan, np.float32
        )
    box = crop_box(points)
    return crop_image(frame, box, size)[None], ((to_crop(points, box) + 1) / 2 * size)[None]


def _report(name: str, answers: Sequence[np.ndarray], wanted: np.ndarray) -> None:
    """Print what a judge's probabilities ``(8,)`` for each clip amount to."""
    order = np.argsort(-np.stack(answers), axis=1)
    right, second = (
        int((order[:, 0] == wanted).sum()),
        int((order[:, :2] == wanted[:, None]).any(axis=1).sum()),
    )
    low, high = wilson(right, len(wanted))
    print(
        f"\n{name}: right in {right} of {len(wanted)} ({right / len(wanted):.2f}, 95 % "
        f"{low:.2f}-{high:.2f}); among two guesses {second}\n"
    )
    print("| asked for | " + " | ".join(EMOTIONS) + " |\n|---|" + "---:|" * len(EMOTIONS))
    for emotion in np.unique(wanted):
        counts = np.bincount(order[wanted == emotion, 0], minlength=len(EMOTIONS))
        print(f"| {EMOTIONS[emotion]} | " + " | ".join(str(c) if c else "" for c in counts) + " |")


if __name__ == "__main__":
    main()
