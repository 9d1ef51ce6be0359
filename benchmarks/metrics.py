"""Seconds a frame of each image metric, and the metrics written here beside reference packages."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from skimage.data import astronaut
from torch import Tensor

from emo_lightning.core.errors import UserError
from evaluation.judges.image_networks import InceptionJudge, open_lpips, open_st_lpips
from evaluation.metrics.fid import fid
from evaluation.metrics.psnr import squared_error
from evaluation.metrics.ssim import ssim

SIDE, BATCH = 256, 4
LPIPS = ("alex", "vgg", "squeeze")


def swaying_head(count: int, noise: float) -> Tensor:
    """Frames of a swaying head from a public-domain photograph, ``(count, 3, 256, 256)`` uint8."""
    generator = np.random.default_rng(0)
    image = cv2.resize(astronaut()[:300, 75:375], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    frames = []
    for t in range(count):
        shift = np.float32([[1, 0, 9 * np.sin(t / 3)], [0, 1, 7 * np.cos(t / 4)]])
        moved = cv2.warpAffine(image, shift, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        noisy = np.clip(moved + generator.normal(0, noise, moved.shape), 0, 255)
        frames.append(noisy.astype(np.uint8).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(frames))


def _inception() -> Callable[[Tensor, Tensor], object]:
    judge = InceptionJudge()
    return lambda generated, reference: judge.features(generated)


def fastest(run: Callable[[], object], repeats: int = 3) -> tuple[float, object]:
    """Seconds of the fastest of some runs after one to warm up, and the result."""
    found, seconds = run(), []
    for _ in range(repeats):
        start = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def frame_rows(generated: Tensor, reference: Tensor) -> list[str]:
    """One row a metric of image pairs: name and milliseconds a frame."""
    opened: dict[str, Callable[[], Callable[[Tensor, Tensor], object]]] = {
        "PSNR": lambda: squared_error,
        "SSIM": lambda: ssim,
        "ST-LPIPS": lambda: open_st_lpips().distance,
        **{f"LPIPS, {net}": lambda net=net: open_lpips(net).distance for net in LPIPS},
        "Inception (FID, KID)": _inception,
    }
    rows = []
    for name, make in opened.items():
        try:
            function = make()
        except UserError as error:
            rows.append(f"| {name} | – | {error} |")
            continue
        seconds, _ = fastest(lambda f=function: f(generated[:BATCH], reference[:BATCH]))
        rows.append(f"| {name} | {1000 * seconds / BATCH:.2f} | |")
    return rows


def reference_rows(generated: Tensor, reference: Tensor) -> list[str]:
    """Our FID formula and SSIM beside pytorch-fid and torchmetrics."""
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torchmetrics.functional.image import structural_similarity_index_measure

    judge = InceptionJudge()
    sides = [judge.features(side) for side in (generated, reference)]
    arrays = [side.numpy() for side in sides]
    moments = [m for x in arrays for m in (np.mean(x, axis=0), np.cov(x, rowvar=False))]
    pair = [x[:BATCH].float() / 255 for x in (generated, reference)]
    calls = {
        "FID, features to number": (
            lambda: float(fid(*sides)),
            lambda: float(calculate_frechet_distance(*moments)),
        ),
        "SSIM, batch": (
            lambda: float(ssim(generated[:BATCH], reference[:BATCH]).mean()),
            lambda: float(structural_similarity_index_measure(*pair, data_range=1.0)),
        ),
    }
    rows = []
    for name, (ours, theirs) in calls.items():
        (a, found), (b, expected) = fastest(ours, 1), fastest(theirs, 1)
        rows.append(f"| {name} | {a:.4f} | {b:.4f} | {b / a:.1f} | {found:.4f}, {expected:.4f} |")
    return rows


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks metrics", description=__doc__)
    parser.add_argument("--frames", type=int, default=16, help="frames a side for FID (default 16)")
    cores = os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=cores, help="threads (default all cores)")
    args = parser.parse_args(arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        pair = swaying_head(args.frames, 12.0), swaying_head(args.frames, 0.0)
        frames, references = frame_rows(*pair), reference_rows(*pair)
    finally:
        torch.set_num_threads(before)
    print(
        f"\nCPU, {args.threads} threads, {SIDE} x {SIDE}, batches of {BATCH}, fastest of three.\n"
    )
    print("| metric | ms a frame | |\n|---|---:|---|", *frames, sep="\n")
    print("\n| step | ours, s | reference, s | ratio | values |\n|---|---:|---:|---:|---|")
    print(*references, sep="\n")


if __name__ == "__main__":
    main()
