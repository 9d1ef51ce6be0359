"""Shards: what it costs to read the same clips from 1 to 1,000 archives, from a folder and through a cache.

python -m benchmarks shards [CLIPS]
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datamodules.loading import AudioShards
from datamodules.schema import Sample, SampleMeta
from datamodules.shards import ShardWriter
from emo_lightning.coefficients import BUILTIN, Coefficients

CLIPS, FRAMES, BATCH = 1000, 25, 16
COUNTS = (1, 10, 100, 1000)


def main(arguments: Sequence[str] = ()) -> None:
    """Make sets of many tiny clips and print the table."""
    clips = int(arguments[0]) if arguments else CLIPS
    print(f"{clips} clips of {FRAMES / 25:g} s, one reader, nothing kept in memory; a batch has {BATCH} windows\n")
    print("| shards | from | set-up, ms | first batch, ms | clips/s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for count in (count for count in COUNTS if count <= clips):
            folder = Path(scratch) / f"set{count}"
            write(folder, clips, -(-clips // count))
            remote = f"pipe:cat {folder}/{{}}"
            for name, data in (("folder", str(folder)), ("pipe:, cache empty", remote), ("pipe:, cached", remote)):
                print(
                    f"| {count} | {name} | " + " | ".join(f"{x:.0f}" for x in measure(data, clips, Path(scratch) / f"cache{count}")) + " |"
                )


def write(folder: Path, clips: int, samples_per_shard: int) -> None:
    """A set of one clip under many names."""
    rng = np.random.default_rng(0)
    values = {block: rng.standard_normal((FRAMES, width)).astype(np.float32) for block, width in BUILTIN.widths}
    wave = (0.1 * rng.standard_normal(FRAMES * 640)).astype(np.float32)
    meta = SampleMeta("benchmark", "s0", FRAMES, BUILTIN.to_dict(), emotion="neutral")
    one = Sample("clip", meta, wave, Coefficients(BUILTIN, values), rng.random((FRAMES, 17)).astype(np.float32))
    with ShardWriter(folder, samples_per_shard=samples_per_shard, video=False) as writer:
        for number in range(clips):
            writer.add(replace(one, key=f"clip{number:06d}"))
        writer.finish()


def measure(data: str, clips: int, cache: Path) -> tuple[float, float, float]:
    """Milliseconds of the set-up and of the first batch, clips a second over one lap."""
    start = time.perf_counter()
    shards = AudioShards(data, batch_size=BATCH, window=FRAMES, cache_mb=0, epoch_batches=clips // BATCH, shard_cache=cache)
    shards.setup()
    loader = iter(shards.train_dataloader())
    ready = time.perf_counter()
    seen = len(next(loader)["key"])
    first = time.perf_counter()
    seen += sum(len(batch["key"]) for batch in loader)
    return 1e3 * (ready - start), 1e3 * (first - ready), seen / (time.perf_counter() - ready)
