"""Preprocessing frames/s by part and by workers; clips/s from shards against loose files."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import soundfile
from skimage.data import astronaut

from datamodules.loading.datamodule import AudioShards, VideoShards
from datamodules.preprocessing.extraction import Extractor
from datamodules.preprocessing.pipeline import preprocess
from datamodules.shards.schema import Sample, SampleMeta, encode
from datamodules.shards.writer import ShardWriter
from datamodules.sources import Clip, open_source
from emo_lightning.core.constants import FPS
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.media.video_writer import encode_mp4_bytes, write_video

FRAMES = 125
SIZES = ((256, 256), (512, 512), (1920, 1080))
PARTS = (
    "probe",
    "sound",
    "decode",
    "landmarks",
    "crop",
    "fit",
    "texture",
    "quality",
    "encode",
)
CLOCKS: tuple[tuple[str, Callable[[], float]], ...] = (
    ("elapsed", time.perf_counter),
    ("CPU", time.process_time),
)


def parts(folder: Path, videos: Sequence[Path] = ()) -> None:
    """Print milliseconds a frame of each part in one process, elapsed and processor time."""
    extractor = Extractor("benchmark")
    for width, height in SIZES:
        write_video(folder / f"{width}x{height}.mp4", moving(width, height), noise())
    extractor.extract(Clip("warm", folder / "256x256.mp4", "s"))
    print("preprocessing, one process; ms a frame")
    heads = " ".join(f"{part:>9}" for part in PARTS)
    print(f"{'input':>16} {'clock':>7} {'frames/s':>8} {'Mbit/s':>6}  {heads}")
    for path in [folder / f"{width}x{height}.mp4" for width, height in SIZES] + list(videos):
        for name, clock in CLOCKS:
            extractor.clock = clock
            begin = clock()
            result = extractor.extract(Clip("clip", path, "s"))
            seconds = clock() - begin
            label = f"{path.stem[-16:]:>16}"
            if not result.samples:
                print(f"{label} {', '.join(failure.reason for failure in result.failures)}")
                break
            rate = path.stat().st_size * 8 / 1e6 / (result.frames / FPS)
            row = " ".join(f"{1000 * result.seconds[p] / result.frames:9.2f}" for p in PARTS)
            speed = result.frames / seconds
            print(f"{label} {name:>7} {speed:8.1f} {rate:6.2f}  {row}", flush=True)
    extractor.landmarker.close()


def scaling(folder: Path, videos: int) -> None:
    """Frames/s of the whole command with one worker and with two; what starting takes is given
    apart.

    Starting is the time of the same command for as many clips as it has workers, of ten frames
    each.
    """
    short, long = folder / "short", folder / "long"
    short.mkdir()
    long.mkdir()
    write_video(short / "0.mp4", moving(256, 256)[:10], noise()[:6400])
    shutil.copy(short / "0.mp4", short / "1.mp4")
    for number in range(videos):
        shutil.copy(folder / "1920x1080.mp4", long / f"{number}.mp4")
    frames = videos * FRAMES
    print(
        f"\n{'workers':>8}  {'frames/s':>8}  {'after start':>11}  {'start, s':>8}   ({videos} "
        f"videos of 1920x1080, {frames} frames)"
    )
    rates = []
    for workers in (1, 2):
        start = _timed(short, folder / f"short-{workers}", workers)
        seconds = _timed(long, folder / f"long-{workers}", workers)
        rates.append((frames / seconds, frames / max(seconds - start, 1e-9)))
        print(f"{workers:8d}  {rates[-1][0]:8.1f}  {rates[-1][1]:11.1f}  {start:8.2f}", flush=True)
    print(f"{'2 : 1':>8}  {rates[1][0] / rates[0][0]:8.2f}  {rates[1][1] / rates[0][1]:11.2f}")


def _timed(root: Path, out: Path, workers: int) -> float:
    begin = time.perf_counter()
    preprocess(open_source("folder", root), out, workers=workers)
    return time.perf_counter() - begin


def noise() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(FRAMES * 640).astype(np.float32)


def moving(width: int, height: int) -> list[np.ndarray]:
    """A photograph of a person that drifts and nods, filling the frame's height."""
    picture, zoom, frames = astronaut()[:400, 30:430], height / 400, []
    for t in range(FRAMES):
        turn = cv2.getRotationMatrix2D((200, 260), 4 * np.sin(t / 11), 1.0 + 0.04 * np.sin(t / 17))
        turn = zoom * turn + np.array(
            [[0, 0, (width - height) / 2 + 0.05 * height * np.sin(t / 9)], [0, 0, 0.0]]
        )
        frame = cv2.warpAffine(
            picture, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        frames.append(frame)
    return frames


def main(arguments: Sequence[str] = ()) -> None:
    """Make media of a moving face, then print the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks data", description=__doc__)
    parser.add_argument("--clips", type=int, default=64, help="clips in the shard set (default 64)")
    parser.add_argument("--workers", type=int, default=0, help="reader processes (default 0)")
    parser.add_argument(
        "--videos",
        type=int,
        default=12,
        help="1080p videos for one worker and for two; 0 leaves that out (default 12)",
    )
    parser.add_argument(
        "--video",
        type=Path,
        action="append",
        default=[],
        help="a video of one face to measure as well",
    )
    given = parser.parse_args(list(arguments))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        parts(Path(folder), given.video)
        if given.videos:
            scaling(Path(folder), given.videos)
        reading(Path(folder), given.clips, given.workers)


def reading(folder: Path, clips: int, workers: int) -> None:
    """Clips a second: loose files, shards at the first lap and from memory."""
    samples = [made(number) for number in range(clips)]
    with ShardWriter(folder / "set", samples_per_shard=16) as writer:
        for sample in samples:
            writer.add(sample)
        writer.finish()
    loose = folder / "loose"
    loose.mkdir()
    for sample in samples:
        for name, data in encode(sample).items():
            (loose / f"{sample.key}.{name}").write_bytes(data)
    keys = [sample.key for sample in samples]
    print(f"\n{'reading':>34}  {'clips/s':>8}  {'windows or pairs/s':>18}")
    _line(
        "loose files, sound and labels", clips, clips, lambda: [_loose(loose, key) for key in keys]
    )
    for name, kind, options in (
        ("audio shards", AudioShards, {"window": 32}),
        ("video shards, 128 px pairs", VideoShards, {"size": 128}),
    ):
        for cache, label in ((0, "from disk"), (1024, "from memory")):
            data = kind(
                str(folder / "set"), batch_size=8, workers=workers, cache_mb=cache, **options
            )
            data.setup()
            loader = data.train_dataloader()
            if cache:
                list(loader)
            _line(f"{name}, {label}", clips, 8 * len(loader), lambda loader=loader: list(loader))


def made(number: int) -> Sample:
    """Four seconds of made-up sound and coefficients, and a small real picture."""
    rng = np.random.default_rng(number)
    frames = 100
    values = {
        block: rng.standard_normal((frames, width)).astype(np.float32)
        for block, width in BUILTIN.widths
    }
    meta = SampleMeta("benchmark", f"s{number % 4}", frames, BUILTIN.to_dict())
    video = encode_mp4_bytes([np.roll(astronaut()[:256, 96:352], t, 1) for t in range(frames)])
    wave = (0.1 * rng.standard_normal(frames * 640)).astype(np.float32)
    points = np.zeros((frames, 478, 3), np.float32)
    return Sample(
        f"clip-{number:05d}",
        meta,
        wave,
        Coefficients(BUILTIN, values),
        rng.random((frames, 17)).astype(np.float32),
        points,
        video,
    )


def _loose(folder: Path, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    SampleMeta.from_json((folder / f"{key}.json").read_bytes())
    wave, _ = soundfile.read(folder / f"{key}.flac", dtype="float32")
    with np.load(folder / f"{key}.coeffs.npz", allow_pickle=False) as archive:
        values = np.concatenate([archive[block] for block in BUILTIN.blocks], axis=1)
    return log_mel(wave), np.load(folder / f"{key}.au.npy", allow_pickle=False), values


def _line(name: str, clips: int, rows: int, read: Callable[[], object]) -> None:
    begin = time.perf_counter()
    read()
    seconds = time.perf_counter() - begin
    print(f"{name:>34}  {clips / seconds:8.0f}  {rows / seconds:18.0f}", flush=True)


if __name__ == "__main__":
    main()
