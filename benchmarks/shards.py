"""Shards: what it costs to read the same clips from loose files, from 1 to 1,000 archives, and through a cache.

python -m benchmarks shards [CLIPS]
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datamodules.loading.datamodule import AudioShards
from datamodules.loading.windows import AudioClip, Labels, collate
from datamodules.shards.schema import Sample, SampleMeta, decode, encode
from datamodules.shards.tar_io import ShardWriter, members_for
from emo_lightning.face.coefficients import BUILTIN, Coefficients

CLIPS, FRAMES, BATCH, TRIES = 1000, 25, 16, 2
COUNTS = (1, 10, 100, 1000)
PARTS = ("wave", "au", "coefficients")


def main(arguments: Sequence[str] = ()) -> None:
    """Make sets of many tiny clips and print the table; every ratio is of clips/s, of the faster of two tries."""
    clips = int(arguments[0]) if arguments else CLIPS
    print(
        f"{clips} clips of {FRAMES / 25:g} s, one reader, nothing kept in memory; a batch has {BATCH} windows\n"
    )
    print(
        "| shards | from | set-up, ms | first batch, ms | clips/s | to loose files | to 1 shard |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_loose(Path(scratch) / "loose", clips)
        list(
            loose_batches(Path(scratch) / "loose", clips // 10)
        )  # the first clip pays for the spectrogram's tables
        loose, one = (
            fastest([measure_loose(Path(scratch) / "loose", clips) for _ in range(TRIES)]),
            0.0,
        )
        row("-", "loose files", loose, loose[2], one)
        for count in (count for count in COUNTS if count <= clips):
            folder, caches = (
                Path(scratch) / f"set{count}",
                [Path(scratch) / f"cache{count}.{number}" for number in range(TRIES)],
            )
            write(folder, clips, -(-clips // count))
            remote = f"pipe:cat {folder}/{{}}"
            for name, data in (
                ("folder", str(folder)),
                ("pipe:, cache empty", remote),
                ("pipe:, cached", remote),
            ):
                measured = fastest([measure(data, clips, cache) for cache in caches])
                one = one or measured[2]
                row(str(count), name, measured, loose[2], one)


def fastest(tries: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """The try with the most clips a second: what else the machine does can only slow one."""
    return max(tries, key=lambda measured: measured[2])


def row(
    shards: str, name: str, measured: tuple[float, float, float], loose: float, one: float
) -> None:
    """Print a line of the table."""
    ratio = f"{measured[2] / one:.2f}" if one else "-"
    print(
        f"| {shards} | {name} | "
        + " | ".join(f"{x:.0f}" for x in measured)
        + f" | {measured[2] / loose:.2f} | {ratio} |",
        flush=True,
    )


def made() -> Sample:
    """The clip that every set holds under many names."""
    rng = np.random.default_rng(0)
    values = {
        block: rng.standard_normal((FRAMES, width)).astype(np.float32)
        for block, width in BUILTIN.widths
    }
    wave = (0.1 * rng.standard_normal(FRAMES * 640)).astype(np.float32)
    meta = SampleMeta("benchmark", "s0", FRAMES, BUILTIN.to_dict(), emotion="neutral")
    return Sample(
        "clip",
        meta,
        wave,
        Coefficients(BUILTIN, values),
        rng.random((FRAMES, 17)).astype(np.float32),
    )


def write(folder: Path, clips: int, samples_per_shard: int) -> None:
    """A shard set of the clip."""
    one = made()
    with ShardWriter(folder, samples_per_shard=samples_per_shard, video=False) as writer:
        for number in range(clips):
            writer.add(replace(one, key=f"clip{number:06d}"))
        writer.finish()


def write_loose(folder: Path, clips: int) -> None:
    """The same members as files, a folder of them for each clip."""
    members = encode(made())
    for number in range(clips):
        (folder / f"clip{number:06d}").mkdir(parents=True)
        for name, data in members.items():
            (folder / f"clip{number:06d}" / name).write_bytes(data)


def loose_batches(folder: Path, clips: int) -> Iterator[dict[str, object]]:
    """Batches as :class:`AudioShards` makes them, of loose files in random order: the same checks, the same work on each clip."""
    labels, rows, wanted = Labels(["s0"], "neutral"), [], members_for(PARTS)
    for number in np.random.default_rng(0).permutation(clips):
        place = folder / f"clip{number:06d}"
        members = {path.name: path.read_bytes() for path in place.iterdir() if path.name in wanted}
        clip = AudioClip.of(decode(place.name, members, PARTS, BUILTIN), labels)
        rows.append(clip.window(0, FRAMES, 0, BUILTIN))
        if len(rows) == BATCH:
            yield collate(rows)
            rows = []


def measure_loose(folder: Path, clips: int) -> tuple[float, float, float]:
    """As :func:`measure`; there is nothing to set up."""
    start = time.perf_counter()
    batches = loose_batches(folder, clips)
    seen = len(next(batches)["key"])  # type: ignore[arg-type]
    first = time.perf_counter()
    seen += sum(len(batch["key"]) for batch in batches)  # type: ignore[arg-type, misc]
    return 0.0, 1e3 * (first - start), seen / (time.perf_counter() - start)


def measure(data: str, clips: int, cache: Path) -> tuple[float, float, float]:
    """Milliseconds of the set-up and of the first batch, clips a second over one lap."""
    start = time.perf_counter()
    shards = AudioShards(
        data,
        batch_size=BATCH,
        window=FRAMES,
        workers=0,
        cache_mb=0,
        epoch_batches=clips // BATCH,
        shard_cache=cache,
    )
    shards.setup()
    loader = iter(shards.train_dataloader())
    ready = time.perf_counter()
    seen = len(next(loader)["key"])
    first = time.perf_counter()
    seen += sum(len(batch["key"]) for batch in loader)
    return 1e3 * (ready - start), 1e3 * (first - ready), seen / (time.perf_counter() - ready)
