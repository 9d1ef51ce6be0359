"""Data: frames/s of preprocessing by part and by workers, clips/s from shards against loose files."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import soundfile
from skimage.data import astronaut

from benchmarks._extraction import parts, scaling
from datamodules.loading.datamodule import AudioShards, VideoShards
from datamodules.shards.schema import Sample, SampleMeta, encode
from datamodules.shards.tar_io import ShardWriter
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.media.video_reader import encode_mp4_bytes


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
