"""Shard sets as LightningDataModules: :class:`AudioShards` for stages 1 and 2, :class:`VideoShards` for stage 3.

An epoch is a whole number of batches, the same on every rank. What it contains is a function of (seed, epoch, rank,
worker), so a run resumed from a checkpoint of any step goes on as if it had never stopped. A sample that cannot be read is
counted by reason and left out; :meth:`failures` has the table, which is also logged after each epoch.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch.distributed
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from datamodules.loader import Loader, TrainLoader
from datamodules.remote import ShardSet, open_set
from datamodules.shards import LIGHT, VIDEO, ShardIndex
from datamodules.stream import MAX_WORKERS, ClipReader, EvalStream, FailureTable, ShardFile, TrainStream
from datamodules.windows import AudioClip, Labels, VideoClip, collate
from emo_lightning.coefficients import LAYOUTS, Layout
from emo_lightning.emotions import EMOTIONS
from emo_lightning.errors import UserError

FPS = 25


class Shards(lightning.LightningDataModule):
    """What both data modules share: indexes, start-up checks, readers.

    Args:
        data: a folder of shards, or another address that :func:`datamodules.remote.open_set` takes, or several.
        batch_size: of one process.
        workers: reader processes of each rank; 0 reads in the training process.
        seed: of all draws.
        layout: name of the coefficient layout that the model expects.
        epoch_batches: batches of an epoch on each rank; by default about one lap over the data.
        cache_mb: memory for decoded clips; a set larger than this is read anew at every lap.
        unlabelled: the emotion that clips without a label count as.
        shard_cache: folder for archives from afar, see :func:`datamodules.remote.open_set`.

    Raises:
        UserError: at :meth:`setup`: no such set, a protocol not known, an archive missing or of another size, an empty train
            split; when a loader is made: fewer samples than processes.
        MismatchError: at :meth:`setup`: another coefficient layout.
    """

    kind = LIGHT

    def __init__(
        self,
        data: str | Sequence[str],
        batch_size: int,
        workers: int,
        seed: int,
        layout: str,
        epoch_batches: int | None,
        cache_mb: int,
        unlabelled: str,
        shard_cache: str | Path | None,
    ) -> None:
        super().__init__()
        self.data = [data] if isinstance(data, (str, Path)) else list(data)
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("epoch_batches", epoch_batches or 1, 1)):
            if value < least or (name == "workers" and value > MAX_WORKERS):
                raise UserError(f"data.{name}", value, f"a whole number from {least}")
        if layout not in LAYOUTS:
            raise UserError("data.layout", layout, ", ".join(LAYOUTS))
        if unlabelled not in EMOTIONS:
            raise UserError("data.unlabelled", unlabelled, ", ".join(EMOTIONS))
        self.batch_size, self.workers, self.seed, self.unlabelled = batch_size, workers, seed, unlabelled
        self.layout: Layout = LAYOUTS[layout]
        self.epoch_batches, self.cache_bytes = epoch_batches, cache_mb << 20
        self.shard_cache = None if shard_cache is None else Path(shard_cache)
        self.sets: list[ShardSet] = []
        self._failures = FailureTable()

    @property
    def indexes(self) -> list[ShardIndex]:
        """The index of each set."""
        return [shards.index for shards in self.sets]

    @property
    def speakers(self) -> list[str]:
        """Every speaker of every split; a batch's ``speaker`` is a place in this list."""
        return sorted({name for index in self.indexes for name in index.speakers})

    def failures(self) -> dict[str, int]:
        """Reason -> bad samples met so far in this process and its workers."""
        return self._failures.totals()

    def setup(self, stage: str | None = None) -> None:
        """Read the indexes and check all that can be wrong before any work starts."""
        if self.sets:
            return
        sets = [open_set(where, "data", self.shard_cache) for where in self.data]
        for shards in sets:
            self.layout.check_same(shards.index.layout, "the model", shards.name)
            shards.check("data")
        self.sets = sets
        if not self._samples("train"):
            named = ", ".join(shards.name for shards in sets)
            raise UserError("data", named, f"{self.kind} shards with a train split", "has nothing to train on")
        if not self._samples("val"):
            rank_zero_warn("the data has no validation split (it takes two speakers): validation is left out")
        unknown = sum(sum(index.emotions.get("unknown", {}).values()) for index in self.indexes)
        if unknown:
            rank_zero_info(f"{unknown} clips have no emotion label and count as {self.unlabelled}")

    def train_dataloader(self) -> TrainLoader:
        """Random draws, a fixed number of batches an epoch."""
        rank, world = self._place()
        batches = self.epoch_batches or max(1, round(self._draws("train") / (self.batch_size * world)))
        workers = self._readers("train", world)
        shards, readers = sum(len(index.of(self.kind, "train")) for index in self.indexes), world * max(1, workers)
        if shards < readers:
            rank_zero_warn(
                f"{shards} train shards for {readers} readers: each goes through all and takes its samples; smaller shards read faster"
            )
        stream = TrainStream(
            self._reader("train", workers), self.draw, self.realise, collate, self.batch_size, batches, self.seed, rank, world
        )
        places = {"seed": self.seed, "batch size": self.batch_size, "epoch length": batches, "number of processes": world}
        return TrainLoader(stream, workers, self._failures, places | {"data": self._digest()}, self._trained if self.trainer else None)

    def val_dataloader(self) -> Loader | list[Loader]:
        """The same batches every time; nothing where there is no val split."""
        return self._eval_loader("val")

    def test_dataloader(self) -> Loader | list[Loader]:
        """The same for the test split."""
        return self._eval_loader("test")

    def draw(self, clip: Any, generator: np.random.Generator) -> Sequence[Any]:
        """What training takes from a clip at one visit."""
        raise NotImplementedError

    def grid(self, clip: Any) -> Sequence[Any]:
        """What validation takes from a clip."""
        raise NotImplementedError

    def realise(self, item: Any) -> dict[str, Any]:
        """The row of a batch that an item stands for."""
        raise NotImplementedError

    def _eval_loader(self, split: str) -> Loader | list[Loader]:
        if not self._samples(split):
            return []
        rank, world = self._place()
        workers = min(self._readers(split, world), 1)
        stream = EvalStream(self._reader(split, workers), self.grid, self.realise, collate, self.batch_size, rank, world)
        return Loader(stream, workers, self._failures)

    def _samples(self, split: str) -> int:
        return sum(shard.samples for index in self.indexes for shard in index.of(self.kind, split))

    def _seconds(self, split: str) -> float:
        return sum(index.splits.get(split, {}).get("seconds", 0.0) for index in self.indexes)

    def _draws(self, split: str) -> float:
        raise NotImplementedError

    def _bytes(self, split: str) -> float:
        raise NotImplementedError

    def _readers(self, split: str, world: int) -> int:
        """Workers that the split can feed, each with a sample at least."""
        samples = self._samples(split)
        if samples < world:
            raise UserError("trainer.devices", world, f"at most {samples}, one for each {split} sample", "are too many processes")
        workers = min(self.workers, samples // world)
        if workers < self.workers:
            rank_zero_warn(f"{samples} {split} samples feed {workers} reader processes a rank, not {self.workers}")
        return workers

    def _digest(self) -> str:
        """Of the archives' contents and order."""
        hashes = [shard.sha256 for index in self.indexes for shard in index.of(self.kind, "train")]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def _trained(self) -> int:
        # Not the batches handed out: a checkpoint may be written in the middle of a step, which is then done again.
        assert self.trainer is not None
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.processed

    def _place(self) -> tuple[int, int]:
        if self.trainer is not None:
            return self.trainer.global_rank, self.trainer.world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _reader(self, split: str, workers: int) -> ClipReader:
        files = [ShardFile(shards.path(shard), shard, shards) for shards in self.sets for shard in shards.index.of(self.kind, split)]
        keep = self._bytes(split) * max(1, workers) <= self.cache_bytes
        clip = AudioClip if self.kind == LIGHT else VideoClip
        parts = ("wave", "au", "coefficients") if self.kind == LIGHT else ("video", "coefficients")
        make = partial(clip.of, labels=Labels(self.speakers, self.unlabelled))
        return ClipReader(files, parts, self.layout, make, keep, self._failures)


class AudioShards(Shards):
    """Windows of sound, AUs and coefficients, for stages 1 and 2.

    A batch: ``mel (B, 4W, 80)``, ``au (B, W, 17)``, each block of the layout ``(B, W, n)`` under its name, ``source
    (B, C)`` (the joined coefficients of another frame of the clip), ``mask (B, W)`` False beyond the clip's end,
    ``emotion``, ``intensity`` (-1 unknown), ``speaker`` int64 ``(B,)``, ``level`` float32 ``(B,)`` (nan unknown), and
    ``key``, a list. In training a clip gives one window, at a random place, for each W frames that it has; in
    validation the windows stand side by side.
    """

    kind = LIGHT

    def __init__(
        self,
        data: str | Sequence[str],
        batch_size: int = 16,
        window: int = 32,
        workers: int = 0,
        seed: int = 0,
        layout: str = "builtin",
        epoch_batches: int | None = None,
        cache_mb: int = 1024,
        unlabelled: str = "neutral",
        shard_cache: str | Path | None = None,
    ) -> None:
        super().__init__(data, batch_size, workers, seed, layout, epoch_batches, cache_mb, unlabelled, shard_cache)
        if not 1 <= window <= 10 * FPS:
            raise UserError("data.window", window, f"frames, 1 to {10 * FPS}")
        self.window = window

    def draw(self, clip: AudioClip, generator: np.random.Generator) -> list[tuple[AudioClip, int, int]]:
        """(clip, first frame, source frame) for each window of this visit."""
        last = max(0, clip.frames - self.window)
        visits = max(1, round(clip.frames / self.window))
        return [(clip, int(generator.integers(last + 1)), int(generator.integers(clip.frames))) for _ in range(visits)]

    def grid(self, clip: AudioClip) -> list[tuple[AudioClip, int, int]]:
        """Windows side by side; each clip's source frame is its own, the same every time."""
        source = zlib.crc32(clip.labels["key"].encode()) % clip.frames
        return [(clip, start, source) for start in range(0, clip.frames, self.window)]

    def realise(self, item: tuple[AudioClip, int, int]) -> dict[str, Any]:
        """Cut the window."""
        clip, start, source = item
        return clip.window(start, self.window, source, self.layout)

    def _draws(self, split: str) -> float:
        return max(self._seconds(split) * FPS / self.window, self._samples(split))

    def _bytes(self, split: str) -> float:
        return self._seconds(split) * FPS * 4 * (4 * 80 + 17 + self.layout.size)


class VideoShards(Shards):
    """Pairs of frames of one clip with the coefficients around them, for stage 3.

    A batch: ``source_image``, ``driving_image`` ``(B, 3, S, S)`` in [0, 1]; ``source_coeffs``, ``driving_coeffs``
    ``(B, K, C)``, K frames centred on the picture's, edges repeated; ``emotion``, ``intensity``, ``speaker``, ``level``
    and ``key`` as in :class:`AudioShards`. Training draws one pair for each second of a clip, validation takes two.
    """

    kind = VIDEO

    def __init__(
        self,
        data: str | Sequence[str],
        batch_size: int = 8,
        size: int = 256,
        workers: int = 0,
        seed: int = 0,
        context: int = 27,
        layout: str = "builtin",
        epoch_batches: int | None = None,
        cache_mb: int = 1024,
        unlabelled: str = "neutral",
        shard_cache: str | Path | None = None,
    ) -> None:
        super().__init__(data, batch_size, workers, seed, layout, epoch_batches, cache_mb, unlabelled, shard_cache)
        if not 16 <= size <= 1024:
            raise UserError("data.size", size, "pixels, 16 to 1024")
        if context < 1 or context % 2 == 0:
            raise UserError("data.context", context, "an odd number of frames")
        self.size, self.context = size, context

    def draw(self, clip: VideoClip, generator: np.random.Generator) -> list[tuple[VideoClip, int, int]]:
        """(clip, source frame, driving frame) for each pair of this visit; two frames of a clip of several are never the same."""
        pairs = []
        for _ in range(max(1, clip.frames // FPS)):
            source = int(generator.integers(clip.frames))
            step = int(generator.integers(1, clip.frames)) if clip.frames > 1 else 0
            pairs.append((clip, source, (source + step) % clip.frames))
        return pairs

    def grid(self, clip: VideoClip) -> list[tuple[VideoClip, int, int]]:
        """The first frame drives to one a third and to one two thirds along the clip."""
        return [(clip, 0, clip.frames // 3), (clip, 0, 2 * clip.frames // 3)]

    def realise(self, item: tuple[VideoClip, int, int]) -> dict[str, Any]:
        """Decode the pair."""
        clip, source, driving = item
        return clip.pair(source, driving, self.size, self.context)

    def _draws(self, split: str) -> float:
        return max(self._seconds(split), self._samples(split))

    def _bytes(self, split: str) -> float:
        return sum(shard.bytes for index in self.indexes for shard in index.of(VIDEO, split))
