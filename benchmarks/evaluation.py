"""Clips a second that ``emo eval`` scores by the whole suite, what the cache saves, and memory against the number of clips."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from emo_lightning.commands.demo import sample_speech
from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.media.audio_reader import load_audio
from emo_lightning.media.video_writer import write_video
from evaluation.runner.run import evaluate

FRAMES, SIDE = 50, 256


def sway(seed: int, blur: float) -> Iterator[np.ndarray]:
    """A swaying head from a public-domain photograph."""
    picture, start = astronaut()[:300, 75:375], float(np.random.default_rng(seed).uniform(0, 6))
    for t in range(FRAMES):
        shift = np.float32([[1, 0, 6 * np.sin(start + t / 6)], [0, 1, 4 * np.cos(start + t / 8)]])
        moved = cv2.warpAffine(picture, shift, (300, 300), borderMode=cv2.BORDER_REPLICATE)
        moved = cv2.GaussianBlur(moved, (0, 0), blur) if blur else moved
        yield cv2.resize(moved, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def make(folder: Path, clips: int) -> None:
    """A reference and two systems, with real speech."""
    speech, length = load_audio(sample_speech()), FRAMES * SAMPLE_RATE // 25
    for part, blur in (("reference", 0.0), ("first", 1.0), ("second", 2.0)):
        (folder / part).mkdir(parents=True)
        for i in range(clips):
            write_video(
                folder / part / f"{i:03d}.mp4",
                sway(i, blur),
                np.roll(speech, -i * SAMPLE_RATE // 4)[:length],
            )


def measure(
    folder: Path, systems: Sequence[str], cache: Path, processes: int, metrics: Sequence[str] | None
) -> tuple[float, float]:
    """Wall seconds of one whole run, and the peak memory of this process in MB."""
    start = time.perf_counter()
    evaluate(
        {s: folder / s for s in systems},
        folder / "reference",
        folder / "out",
        processes,
        metrics,
        cache=cache,
    )
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(*job: object) -> tuple[float, float]:
    """:func:`measure` in a process of its own, whose memory nothing else has used; its start is not counted."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, job)


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks evaluation", description=__doc__)
    parser.add_argument(
        "--clips",
        type=int,
        default=4,
        help="clips of each system (default 4; memory also at four times as many)",
    )
    parser.add_argument(
        "--metrics", nargs="+", help="some metrics (default all that can be computed here)"
    )
    given = parser.parse_args(list(arguments))
    n = given.clips
    with tempfile.TemporaryDirectory() as name:
        few, many, cache = Path(name) / "few", Path(name) / "many", Path(name) / "cache"
        make(few, n)
        make(many, 4 * n)
        rows = [
            (f"{n} references, one system", 2 * n, *apart(few, ["first"], cache, 1, given.metrics)),
            ("the same again", 2 * n, *apart(few, ["first"], cache, 1, given.metrics)),
            (
                "another system beside it",
                n,
                *apart(few, ["first", "second"], cache, 1, given.metrics),
            ),
            (
                f"{4 * n} references, one system",
                8 * n,
                *apart(many, ["first"], Path(name) / "other", 1, given.metrics),
            ),
        ]
        start = time.perf_counter()
        measure(many, ["first"], Path(name) / "third", 2, given.metrics)
        rows.append(
            (
                "the same by two processes, their start included",
                8 * n,
                time.perf_counter() - start,
                float("nan"),
            )
        )
    print(
        f"\nClips of {FRAMES} frames, {SIDE} x {SIDE}, with sound; controls are part of every row.\n"
    )
    print(
        "| run | clips looked at | seconds | clips/s | frames/s | peak MB |\n|---|---:|---:|---:|---:|---:|"
    )
    for what, clips, seconds, peak in rows:
        memory = "" if np.isnan(peak) else f"{peak:.0f}"
        print(
            f"| {what} | {clips} | {seconds:.1f} | {clips / seconds:.2f} | {clips * FRAMES / seconds:.0f} | {memory} |"
        )


if __name__ == "__main__":
    main()
