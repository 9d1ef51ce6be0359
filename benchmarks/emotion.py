"""How often the emotion judge is right on filmed people, beside the untrained rules: its ceiling on ground truth.

    python -m benchmarks emotion --videos DIR [--every 2]

The emotion of a video is the one named in its path, as a folder or between underscores (``W009_front_angry_level3_001.mp4``,
``angry/level_1/015.mp4``); videos that name none are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emo_lightning.emotions import EMOTIONS

CONFIDENCE = 1.96


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927)."""
    share, z = right / count, CONFIDENCE**2 / count
    middle, half = share + z / 2, CONFIDENCE * np.sqrt(share * (1 - share) / count + z / (4 * count))
    return float((middle - half) / (1 + z)), float((middle + half) / (1 + z))


def label(path: Path) -> str | None:
    """The emotion that a path names, the part nearest to the file first."""
    for part in (path.stem, *reversed(path.parent.parts)):
        named = [word for word in part.lower().split("_") if word in EMOTIONS]
        if named:
            return named[0]
    return None


def main(arguments: Sequence[str] = ()) -> None:
    """Print accuracy, second guesses and confusions."""
    parser = argparse.ArgumentParser(prog="benchmarks emotion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="a folder of acted videos; without it there is nothing to judge")
    parser.add_argument("--every", type=int, default=1, help="look at every so many frames (default: all)")
    args = parser.parse_args(arguments)
    if args.videos is None:
        print("skipped: --videos names no folder of acted videos")
        return
    from evaluation.judges.emotion import EmotionJudge, rule_probabilities

    clips = [(path, label(path.relative_to(args.videos))) for path in sorted(args.videos.rglob("*.mp4"))]
    labelled = [(path, EMOTIONS.index(name)) for path, name in clips if name]
    print(f"{len(labelled)} videos with an emotion in their path, {len(clips) - len(labelled)} without")
    if not labelled:
        return
    shapes = _look([path for path, _ in labelled], max(args.every, 1))
    wanted = np.array([emotion for _, emotion in labelled])
    _report("emotion judge", EmotionJudge.load().probabilities, shapes, wanted)
    _report("rules", rule_probabilities, shapes, wanted)


def _look(paths: Sequence[Path], every: int) -> list[np.ndarray]:
    from emo_lightning.video import iter_frames
    from evaluation.judges.blendshapes import blendshapes
    from evaluation.judges.landmarks import LandmarkJudge

    tracker, found = LandmarkJudge(), []
    for path in paths:
        tracker.start()
        found.append(blendshapes(np.stack([tracker.place(frame) for i, frame in enumerate(iter_frames(path)) if i % every == 0])))
    tracker.close()
    return found


def _report(name: str, judge: Callable[[np.ndarray], np.ndarray], shapes: Sequence[np.ndarray], wanted: np.ndarray) -> None:
    order = np.argsort([-judge(clip) for clip in shapes], axis=1)
    right, second = int((order[:, 0] == wanted).sum()), int((order[:, :2] == wanted[:, None]).any(axis=1).sum())
    low, high = wilson(right, len(wanted))
    print(
        f"\n{name}: right in {right} of {len(wanted)} ({right / len(wanted):.2f}, 95 % {low:.2f}-{high:.2f}); among two guesses {second}\n"
    )
    print("| asked for | " + " | ".join(EMOTIONS) + " |\n|---|" + "---:|" * len(EMOTIONS))
    for emotion in np.unique(wanted):
        counts = np.bincount(order[wanted == emotion, 0], minlength=len(EMOTIONS))
        print(f"| {EMOTIONS[emotion]} | " + " | ".join(str(c) if c else "" for c in counts) + " |")


if __name__ == "__main__":
    main()
