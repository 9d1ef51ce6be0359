"""How well lips driven by sound follow the lips that were filmed: correlation of opening and width, a clip at a time.

    python -m benchmarks lips --data SHARDS [--checkpoint-dir D] [--split val]

SHARDS is what ``emo preprocess`` wrote from talking video. A file may carry an offset of its own, so each clip is scored at
its best lag within 6 frames, and again at lag 0. Opening is the gap of the inner lips (vertices 13, 14), width the distance
of the mouth corners (61, 291), both upright in outer eye-corner distances.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MAX_LAG = 6
LEAST_FRAMES = 50
NAMES = ("opening", "width")


def main(arguments: Sequence[str] = ()) -> None:
    """Print one line a clip and the means."""
    parser = argparse.ArgumentParser(prog="benchmarks lips", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="shards of real talking video; without them there is nothing to compare with")
    parser.add_argument("--checkpoint-dir", type=Path, help="trained weights; those shipped by default")
    parser.add_argument("--split", choices=("train", "val", "test"), help="all by default")
    args = parser.parse_args(arguments)
    if args.data is None:
        print("skipped: --data names no shards of real video")
        return
    from datamodules.shards import iter_samples
    from emo_lightning.checkpoints import load_talker

    talker = load_talker(args.checkpoint_dir)
    rows = []
    print(f"{'clip':<40} {'frames':>6} {'lag':>4} {'opening':>8} {'width':>6} {'at 0':>12} {'amplitude':>10}")
    for sample in iter_samples(args.data, args.split, ("wave", "coefficients", "landmarks")):
        if sample.meta.frames < LEAST_FRAMES:
            continue
        row = score(talker, sample)
        rows.append(row)
        lag, best, zero, amplitude = row
        at_zero = f"{zero[0]:.2f}/{zero[1]:.2f}"
        print(f"{sample.key[:40]:<40} {sample.meta.frames:>6} {lag:>4} {best[0]:>8.2f} {best[1]:>6.2f} {at_zero:>12} {amplitude:>10.2f}")
    if rows:
        best, zero = (np.array([row[i] for row in rows]) for i in (1, 2))
        lag, amplitude = np.median([row[0] for row in rows]), np.median([row[3] for row in rows])
        print(f"n {len(rows)}: best lag {best.mean(0)[0]:.3f}/{best.mean(0)[1]:.3f} (median lag {lag:g}), "
              f"lag 0 {zero.mean(0)[0]:.3f}/{zero.mean(0)[1]:.3f}, median amplitude of opening {amplitude:.2f} of the real")  # fmt: skip


def score(talker: object, sample: object) -> tuple[int, np.ndarray, np.ndarray, float]:
    """Best lag in frames (positive: ours comes late), correlations there and at 0, and how large our opening is against the real."""
    from emo_lightning.audio import log_mel
    from emo_lightning.emotions import EmotionTrack
    from emo_lightning.face.builtin import BuiltinFaceModel
    from emo_lightning.loudness import levelled

    mel = log_mel(levelled(sample.wave))
    real = sample.coefficients
    source = real.frames(slice(0, 1))
    pieces = list(talker.generate([mel], source, EmotionTrack.constant("neutral", 1), head_motion=False, total_frames=len(real)))
    exp = np.concatenate([piece["exp"] for piece in pieces])
    model = BuiltinFaceModel.load()
    still = {"id": real["id"], "angle": real["angle"] * 0, "trans": real["trans"] * 0}
    ours = lips(model.vertices(real.replace(exp=exp, **still)))
    theirs = lips(upright(sample.landmarks, real))
    correlations = np.array([[correlation(ours[:, k], theirs[:, k], lag) for k in range(2)] for lag in range(-MAX_LAG, MAX_LAG + 1)])
    best = int(correlations.sum(1).argmax())
    return best - MAX_LAG, correlations[best], correlations[MAX_LAG], float(ours[:, 0].std() / max(theirs[:, 0].std(), 1e-6))


def upright(landmarks: np.ndarray, coefficients: object) -> np.ndarray:
    """Tracked landmarks ``(T, N, 3)`` turned back to the front and scaled to outer eye-corner distances."""
    from emo_lightning.face.pose import rotation

    turned = np.einsum("tji,tnj->tni", rotation(coefficients["angle"]), landmarks.astype(np.float64))
    return turned / np.exp(coefficients["trans"][:, 2])[:, None, None]


def lips(points: np.ndarray) -> np.ndarray:
    """Opening and width ``(T, 2)`` of ``(T, N, 3)`` upright points."""
    return np.stack([points[:, 14, 1] - points[:, 13, 1], np.linalg.norm(points[:, 291] - points[:, 61], axis=1)], 1)


def correlation(ours: np.ndarray, theirs: np.ndarray, lag: int) -> float:
    """Pearson's r when ours is moved ``lag`` frames earlier."""
    ours = ours[max(lag, 0) : len(ours) + min(lag, 0)]
    theirs = theirs[max(-lag, 0) : len(theirs) - max(lag, 0)]
    if min(ours.std(), theirs.std()) < 1e-9:
        return float("nan")
    return float(np.corrcoef(ours, theirs)[0, 1])


if __name__ == "__main__":
    main()
