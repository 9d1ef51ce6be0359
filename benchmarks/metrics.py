"""Seconds a frame of FID and LPIPS beside pytorch-fid's and lpips' own code, on the same frames and
weights.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.data import astronaut
from torch import Tensor

from benchmarks._references import lpips_package, pytorch_fid_package, st_lpips_package
from emo_lightning.core import assets
from evaluation.judges import inception
from evaluation.judges.inception import InceptionJudge
from evaluation.judges.lpips_net import LpipsNet, read_heads
from evaluation.judges.st_lpips_net import STLpipsJudge
from evaluation.judges.weights import read_state_dict
from evaluation.metrics.fid import fid
from evaluation.metrics.lpips import LAYERS, lpips

SIDE, BATCH = 256, 4
Row = tuple[str, float, float, str]


def sway(count: int, noise: float) -> np.ndarray:
    """A swaying head from a public-domain photograph, ``(count, 256, 256, 3)`` uint8."""
    generator = np.random.default_rng(0)
    picture = cv2.resize(astronaut()[:300, 75:375], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    frames = []
    for t in range(count):
        shift = np.float32([[1, 0, 9 * np.sin(t / 3)], [0, 1, 7 * np.cos(t / 4)]])
        moved = cv2.warpAffine(picture, shift, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        frames.append(
            np.clip(moved + generator.normal(0, noise, moved.shape), 0, 255).astype(np.uint8)
        )
    return np.stack(frames)


def to_torch(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


def best(run: Callable[[], object], repeats: int = 3) -> tuple[float, object]:
    """Seconds of the fastest of some runs, and what it gave; if there are several, one more comes
    first to warm up.
    """
    found = run() if repeats > 1 else None
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def compare_fid(generated: np.ndarray, reference: np.ndarray) -> list[Row]:
    """The whole procedure: pictures from PNG files to the number; and each of its halves."""
    score, network = pytorch_fid_package(inception.read_weights(*inception.find()))
    judge = InceptionJudge()
    with tempfile.TemporaryDirectory() as name:
        files: list[list[Path]] = []
        for side, frames in (("generated", generated), ("reference", reference)):
            (Path(name) / side).mkdir()
            files.append([Path(name) / side / f"{i:04d}.png" for i in range(len(frames))])
            for file, frame in zip(files[-1], frames, strict=True):
                cv2.imwrite(str(file), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

        def theirs() -> list[np.ndarray]:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                # In this process: its workers would only decode PNG files, on cores that are in
                # use.
                return [
                    score.get_activations(side, network, batch_size=BATCH, num_workers=0)
                    for side in files
                ]

        def ours() -> list[np.ndarray]:
            return [
                torch.cat(
                    [judge.features(_read(side[i : i + BATCH])) for i in range(0, len(side), BATCH)]
                ).numpy()
                for side in files
            ]

        (their_seconds, their_features), (our_seconds, our_features) = best(theirs), best(ours)
    their_distance, expected = best(
        lambda: score.calculate_frechet_distance(*_moments(their_features)), 1
    )
    our_distance, found = best(lambda: float(fid(*map(torch.from_numpy, our_features))), 1)
    count = len(generated) + len(reference)
    agreement = f"FID {found:.4f} and {expected:.4f}"
    return [
        (
            f"FID: {count} PNG files to features",
            our_seconds / count,
            their_seconds / count,
            "pytorch-fid, seconds a picture",
        ),
        (
            "FID: features to number",
            our_distance,
            their_distance,
            f"pytorch-fid, seconds; {agreement}",
        ),
    ]


def _moments(sides: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        moment for side in sides for moment in (np.mean(side, axis=0), np.cov(side, rowvar=False))
    ]


def _read(files: Sequence[Path]) -> Tensor:
    return to_torch(
        np.stack([cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files])
    )


def compare_lpips(net: str, generated: Tensor, reference: Tensor) -> Row:
    """One network with random backbone weights and the authors' heads."""
    torch.manual_seed(0)
    mine = LpipsNet(net).eval().requires_grad_(False)
    theirs = lpips_package(
        net, mine.state_dict(), read_state_dict(assets.locate(f"lpips_{net}_heads"), "heads")
    )
    mine = mine.to(memory_format=torch.channels_last)
    heads = read_heads(net)

    def ours() -> Tensor:
        maps = mine(torch.cat([generated, reference]))
        return lpips(
            [m[: len(generated)] for m in maps], [m[len(generated) :] for m in maps], heads
        )

    with torch.inference_mode():
        our_seconds, found = best(ours)
        their_seconds, expected = best(
            lambda: theirs(generated / 127.5 - 1, reference / 127.5 - 1).flatten()
        )
    return (
        f"LPIPS, {net}",
        our_seconds / len(generated),
        their_seconds / len(generated),
        f"lpips, seconds a pair; {_agreement(found, expected)}",
    )


def compare_st_lpips(generated: Tensor, reference: Tensor) -> Row:
    """Network and heads of the authors."""
    judge, theirs = STLpipsJudge(), st_lpips_package()
    with torch.inference_mode():
        our_seconds, found = best(lambda: judge.distance(generated, reference))
        their_seconds, expected = best(
            lambda: theirs(generated / 127.5 - 1, reference / 127.5 - 1).flatten()
        )
    note = f"stlpips-pytorch, seconds a pair; {_agreement(found, expected)}"
    return "ST-LPIPS", our_seconds / len(generated), their_seconds / len(generated), note


def _agreement(found: object, expected: object) -> str:
    assert isinstance(found, Tensor) and isinstance(expected, Tensor)
    return f"differ by {float(((found - expected) / expected).abs().max()):.0e} of the value"


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks metrics", description=__doc__)
    parser.add_argument("--frames", type=int, default=16, help="frames a side for FID (default 16)")
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        help="threads for both (default all cores)",
    )
    args = parser.parse_args(arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        generated, reference = sway(args.frames, 12.0), sway(args.frames, 0.0)
        pair = to_torch(generated[:BATCH]), to_torch(reference[:BATCH])
        rows = compare_fid(generated, reference)
        rows += [*(compare_lpips(net, *pair) for net in LAYERS), compare_st_lpips(*pair)]
    finally:
        torch.set_num_threads(before)
    print(
        f"\nCPU, {args.threads} threads, {SIDE} x {SIDE}, batches of {BATCH}, the fastest of three "
        "runs; a ratio above 1: ours is faster.\n"
    )
    print("| what | ours s | reference s | ratio | reference |\n|---|---:|---:|---:|---|")
    for what, ours, theirs, note in rows:
        print(f"| {what} | {ours:.4f} | {theirs:.4f} | {theirs / ours:.2f} | {note} |")


if __name__ == "__main__":
    main()
