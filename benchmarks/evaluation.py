"""Clips a second that ``emo eval`` scores, metric by metric and with several processes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from emo_lightning.video_writer import write_video
from evaluation.run import evaluate
from evaluation.suite import SUITE

CLIPS, FRAMES, SIDE = 6, 50, 256


def sway(seed: int) -> Iterator[np.ndarray]:
    """A swaying head from a public-domain photograph."""
    picture, start = astronaut()[:300, 75:375], float(np.random.default_rng(seed).uniform(0, 6))
    for t in range(FRAMES):
        shift = np.float32([[1, 0, 6 * np.sin(start + t / 6)], [0, 1, 4 * np.cos(start + t / 8)]])
        yield cv2.resize(
            cv2.warpAffine(picture, shift, (300, 300), borderMode=cv2.BORDER_REPLICATE), (SIDE, SIDE), interpolation=cv2.INTER_AREA
        )


def measure(folder: Path, metrics: Sequence[str] | None, processes: int) -> float:
    """Wall seconds of one whole run."""
    start = time.perf_counter()
    evaluate({"system": folder / "generated"}, folder / "reference", folder / "out", processes, metrics)
    return time.perf_counter() - start


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table; takes no arguments."""
    del arguments
    rows: list[tuple[str, int, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, shift in (("generated", 0), ("reference", 100)):
            (folder / part).mkdir()
            for i in range(CLIPS):
                write_video(folder / part / f"{i}.mp4", sway(i + shift))
        measure(folder, ["psnr"], 1)
        rows += [(metric, 1, measure(folder, [metric], 1)) for metric in SUITE]
        rows += [("all", processes, measure(folder, None, processes)) for processes in (1, 2)]
    print(f"\n{CLIPS} clips of {FRAMES} frames, {SIDE} x {SIDE}, each with its reference; tracking of the face is part of every row.\n")
    print("| metrics | processes | seconds | clips/s | frames/s |\n|---|---:|---:|---:|---:|")
    for metric, processes, seconds in rows:
        print(f"| {metric} | {processes} | {seconds:.1f} | {CLIPS / seconds:.2f} | {CLIPS * FRAMES / seconds:.0f} |")


if __name__ == "__main__":
    main()
