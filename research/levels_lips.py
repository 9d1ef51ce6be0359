"""Do the lips follow speech as well at level 15 of an emotion as at level 1, and do they still
close?

    python -m research.levels_lips [--data SHARDS] [--phones SHARDS] [--checkpoint-dir D] [--clips
    N]
 SHARDS of --data is real talking video (skipped without), of --phones an embedded corpus (made when
not given), whose held-out clips know where p, b and m are. Each recording is spoken neutrally and
with every emotion at levels 1 and 15. ``r`` is the correlation of the opening and width of the lips
with those real, at the lag at which the neutral face follows them best; the change from level 1 to
15 has its 95 % interval over clips (bootstrap). Closed: share of p, b, m in which the inner lips
touch. Two to five minutes of a core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.motion.emotions import EMOTIONS

if TYPE_CHECKING:
    from benchmarks._lips import Clip

CLIPS, PHONE_CLIPS = 24, 32
LEVELS = (1, 15)
DRAWS = 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m research.levels_lips", description=__doc__, formatter_class=shape
    )
    parser.add_argument("--data", type=Path, help="shards of real talking video")
    parser.add_argument("--phones", type=Path, help="an embedded corpus; made when not given")
    parser.add_argument(
        "--checkpoint-dir", type=Path, help="trained weights; those shipped by default"
    )
    parser.add_argument(
        "--clips",
        type=int,
        default=CLIPS,
        help="at most so many of the real clips (default: %(default)s)",
    )
    args = parser.parse_args(arguments)
    from benchmarks._lips import read
    from emo_lightning.inference.weights import load_audio_to_motion
    from research.levels_corpus import CACHE, small_corpus

    talker = load_audio_to_motion(args.checkpoint_dir)
    if args.data is None:
        print("skipped: --data names no shards of real talking video")
    else:
        following_table(talker, read(args.data, None, args.clips))
    closure_table(talker, read(args.phones or small_corpus(CACHE / "levels"), "test", PHONE_CLIPS))


def spoken_lips(talker: Any, clip: Clip, emotion: str, level: float) -> np.ndarray:
    """Opening and width ``(T, 2)`` of the face that says the clip with an emotion."""
    from benchmarks._lips import made_lips

    return made_lips(talker, replace(clip, track=EmotionTrack.constant(emotion, level)))


def following_table(talker: Any, clips: Sequence[Clip]) -> None:
    """Correlation with real lips and amplitude, at level 1 and 15."""
    from benchmarks._lips import correlation, following

    plain = [following(spoken_lips(talker, clip, "neutral", 1), clip.lips) for clip in clips]
    neutral = np.mean([f.best for f in plain], axis=0)
    print(f"{len(clips)} clips; neutral: opening r {neutral[0]:.3f}, width r {neutral[1]:.3f}\n")
    print(
        "| emotion | opening r, level 1 | 15 | change | width r, level 1 | 15 | change | opening's "
        "spread, 15 by 1 |"
    )
    print("|---|" + "---:|" * 7)
    changes = []
    for emotion in EMOTIONS[1:]:
        rows, spreads = [], []
        for clip, found in zip(clips, plain, strict=True):
            made = [spoken_lips(talker, clip, emotion, level) for level in LEVELS]
            rows.append(
                [
                    [correlation(lips[:, k], clip.lips[:, k], found.lag) for k in range(2)]
                    for lips in made
                ]
            )
            spreads.append(made[1][:, 0].std() / max(float(made[0][:, 0].std()), 1e-6))
        r = np.array(rows)
        changes.append(r[:, 1] - r[:, 0])
        cells = [
            f"{r[:, 0, k].mean():.3f} | {r[:, 1, k].mean():.3f} | {_interval(changes[-1][:, k])}"
            for k in range(2)
        ]
        print(f"| {emotion} | {cells[0]} | {cells[1]} | {np.mean(spreads):.2f} |", flush=True)
    over = np.mean(changes, axis=0)
    print(f"| all | | | {_interval(over[:, 0])} | | | {_interval(over[:, 1])} | |\n")


def closure_table(talker: Any, clips: Sequence[Clip]) -> None:
    """Share of closures in which the lips touch."""
    from benchmarks._lips import at_rest, closures
    from benchmarks._shared import wilson

    print("| emotion | p, b, m | closed at level 1 | at 15 |\n|---|---:|---|---|")
    for emotion in EMOTIONS:
        cells = []
        for level in LEVELS if emotion != "neutral" else LEVELS[:1]:
            hits = [
                h
                for c in clips
                for h in closures(
                    spoken_lips(talker, c, emotion, level)[:, 0], at_rest(c.source), c.phones
                )
            ]
            low, high = wilson(sum(hits), len(hits))
            cells.append(f"{np.mean(hits):.3f} ({low:.2f}-{high:.2f})")
        print(
            f"| {emotion} | {len(hits)} | {' | '.join(cells)} |{' |' if len(cells) == 1 else ''}",
            flush=True,
        )


def _interval(changes: np.ndarray) -> str:
    rng = np.random.default_rng(0)
    means = [changes[rng.integers(len(changes), size=len(changes))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{changes.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
