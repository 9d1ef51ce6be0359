"""Shard sets as LightningDataModules: :class:`AudioShards` for stages 1 and 2, :class:`VideoShards` for stage 3.

An epoch is a whole number of batches, the same on every rank. What it contains is a function of (seed, epoch, rank,
worker), so a run resumed from a checkpoint of any step goes on as if it had never stopped. A sample that cannot be read is
counted by reason and left out; :meth:`Shards.failures` has the table, and :class:`datamodules.loading.skipped_samples.SkippedSamples` logs it
after each epoch.

LabelProbes, that is ranks x workers, take whole archives. Where there are more ranks than train archives, as with the small
embedded corpus on several GPUs, every rank goes through all archives and takes its own samples, and a notice says so. More
workers than archives are an error when they were asked for, unless ``share_shards`` asks for that sharing as well; left
to itself the number of workers always fits.
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

from datamodules.loading.dataloader import Loader, TrainLoader
from datamodules.loading.sampler import (
    MAX_WORKERS,
    ClipReader,
    EvalStream,
    FailureTable,
    ShardFile,
    TrainStream,
)
from datamodules.loading.windows import AudioClip, Labels, VideoClip, collate
from datamodules.shards.index import LIGHT, VIDEO, ShardIndex
from datamodules.shards.remote import ShardSet, open_set
from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import LAYOUTS, Layout
from emo_lightning.motion.emotions import EMOTIONS


class Shards(lightning.LightningDataModule):
    """What both data modules share: indexes, start-up checks, readers.

    Args:
        data: a folder of shards, or another address that :func:`datamodules.shards.remote.open_set` takes, or several.
        batch_size: of one process.
        workers: reader processes of each rank; 0 reads in the training process. None chooses: 0 on a CPU, where training
            itself takes the cores, else up to :attr:`automatic`, at most one for each archive that a rank has.
        share_shards: let readers outnumber the train archives: each goes through all and takes its own samples.
        seed: of all draws.
        layout: name of the coefficient layout that the model expects.
        epoch_batches: batches of an epoch on each rank; by default about one lap over the data.
        cache_mb: memory for decoded clips; a set larger than this is read anew at every lap.
        unlabelled: the emotion that clips without a label count as.
        shard_cache: folder for archives from afar, see :func:`datamodules.shards.remote.open_set`.

    Raises:
        UserError: at :meth:`setup`: no such set, a protocol not known, an archive missing or of another size, an empty train
            split; at :meth:`check_ranks` and when a loader is made: fewer samples than ranks, more workers than archives.
        MismatchError: at :meth:`setup`: another coefficient layout.
    """

    kind = LIGHT
    automatic = 4

    def __init__(
        self,
        data: str | Sequence[str],
        *,
        batch_size: int = 16,
        workers: int | None = None,
        share_shards: bool = False,
        seed: int = 0,
        layout: str = "builtin",
        epoch_batches: int | None = None,
        cache_mb: int = 1024,
        unlabelled: str = "neutral",
        shard_cache: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.data = [data] if isinstance(data, (str, Path)) else list(data)
        counts = (
            ("loader.batch_size", batch_size, 1),
            ("loader.workers", workers or 0, 0),
            ("trainer.val_every", epoch_batches or 1, 1),
        )
        for name, value, least in counts:
            if value < least:
                raise UserError(name, value, f"a whole number from {least}")
        if (workers or 0) > MAX_WORKERS:
            raise UserError("loader.workers", workers, f"at most {MAX_WORKERS}")
        if layout not in LAYOUTS:
            raise UserError("layout", layout, ", ".join(LAYOUTS))
        if unlabelled not in EMOTIONS:
            raise UserError("unlabelled", unlabelled, ", ".join(EMOTIONS))
        self.batch_size, self.workers, self.share_shards, self.seed, self.unlabelled = (
            batch_size,
            workers,
            share_shards,
            seed,
            unlabelled,
        )
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
        if not self.samples("train"):
            named = ", ".join(shards.name for shards in sets)
            raise UserError(
                "data", named, f"{self.kind} shards with a train split", "has nothing to train on"
            )
        if not self.samples("val"):
            rank_zero_warn(
                "the data has no validation split (it takes two speakers): validation is left out"
            )
        unknown = sum(sum(index.emotions.get("unknown", {}).values()) for index in self.indexes)
        if unknown:
            rank_zero_info(f"{unknown} clips have no emotion label and count as {self.unlabelled}")

    def check_ranks(self, world: int) -> None:
        """UserError unless so many processes can be fed; to be called before they are started."""
        for split in ("train", "val"):
            self._check_samples(split, world)
        self._train_workers(world)

    def train_dataloader(self) -> TrainLoader:
        """Random draws, a fixed number of batches an epoch."""
        rank, world = self._place()
        self._check_samples("train", world)
        batches = self.epoch_batches or max(
            1, round(self._draws("train") / (self.batch_size * world))
        )
        workers, archives = self._train_workers(world), self._archives("train")
        if archives < world * max(1, workers):
            rank_zero_warn(
                f"{archives} train archives for {world * max(1, workers)} readers: each goes through all and takes its own samples; "
                "smaller archives read faster"
            )
        stream = TrainStream(
            self._reader("train", workers),
            self.draw,
            self.realise,
            collate,
            self.batch_size,
            batches,
            self.seed,
            rank,
            world,
        )
        places = {
            "seed": self.seed,
            "batch size": self.batch_size,
            "epoch length": batches,
            "number of processes": world,
        }
        trained = self._trained if self.trainer else None
        return TrainLoader(
            stream, workers, self._failures, places | {"data": self._digest()}, trained
        )

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
        if not self.samples(split):
            return []
        rank, world = self._place()
        self._check_samples(split, world)
        workers = min(self._train_workers(world), self.samples(split) // world, 1)
        stream = EvalStream(
            self._reader(split, workers),
            self.grid,
            self.realise,
            collate,
            self.batch_size,
            rank,
            world,
        )
        return Loader(stream, workers, self._failures, say=self.trainer is None)

    def samples(self, split: str) -> int:
        """Samples of a split that this module reads."""
        return sum(shard.samples for index in self.indexes for shard in index.of(self.kind, split))

    def _seconds(self, split: str) -> float:
        return sum(index.splits.get(split, {}).get("seconds", 0.0) for index in self.indexes)

    def _draws(self, split: str) -> float:
        raise NotImplementedError

    def _bytes(self, split: str) -> float:
        raise NotImplementedError

    def _archives(self, split: str) -> int:
        return sum(len(index.of(self.kind, split)) for index in self.indexes)

    def _check_samples(self, split: str, world: int) -> None:
        samples = self.samples(split)
        if 0 < samples < world:
            raise UserError(
                "trainer.devices",
                world,
                f"at most {samples}, one for each {split} sample",
                "are too many processes",
            )

    def _train_workers(self, world: int) -> int:
        """Workers of each rank: those asked for, which must fit, or as many as do."""
        archives, samples = self._archives("train"), self.samples("train")
        most = (samples if self.share_shards else archives) // world
        if self.workers is None:
            return min(self.automatic if self._accelerated() else 0, most)
        # With one worker the ranks alone outnumber the archives: no number of workers would help, so they share.
        if self.workers > max(1, most):
            few = f"{samples} train samples" if self.share_shards else f"{archives} train archives"
            ways = "" if self.share_shards else ", or smaller archives, or loader.share_shards=true"
            accepted = f"at most {max(1, most)} on {world} rank{'s' * (world > 1)}{ways}"
            raise UserError(
                "loader.workers",
                self.workers,
                accepted,
                f"makes {world * self.workers} readers for {few}",
            )
        return self.workers

    def _accelerated(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type != "cpu"

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
        files = [
            ShardFile(shards.path(shard), shard, shards)
            for shards in self.sets
            for shard in shards.index.of(self.kind, split)
        ]
        keep = self._bytes(split) * max(1, workers) <= self.cache_bytes
        clip = AudioClip if self.kind == LIGHT else VideoClip
        parts = ("wave", "au", "coefficients") if self.kind == LIGHT else ("video", "coefficients")
        make = partial(clip.of, labels=Labels(self.speakers, self.unlabelled))
        return ClipReader(files, parts, self.layout, make, keep, self._failures)


class AudioShards(Shards):
    """Windows of ``window`` video frames with sound, AUs and coefficients, for stages 1 and 2; the options are :class:`Shards`'s.

    A batch: ``mel (B, 4W, 80)``, ``au (B, W, 17)``, each block of the layout ``(B, W, n)`` under its name, ``source
    (B, C)`` (the joined coefficients of another frame of the clip), ``mask (B, W)`` False beyond the clip's end, ``phone
    (B, W)`` int64 (places in :data:`datamodules.shards.phones.NAMES`, 0 for silence, -1 where the clip has no phones),
    ``emotion``, ``intensity`` (-1 unknown), ``speaker`` int64 ``(B,)``, ``level`` float32 ``(B,)`` (nan unknown), and
    ``key``, a list. With ``teacher`` also ``whisper (B, 2W, 384)``, from sets that have it. In training a clip gives one
    window, at a random place, for each W frames that it has; in validation the windows stand side by side.
    """

    kind = LIGHT

    def __init__(
        self, data: str | Sequence[str], *, window: int = 32, teacher: bool = False, **options: Any
    ) -> None:
        super().__init__(data, **options)
        self.teacher = teacher
        if not 1 <= window <= 10 * FPS:
            raise UserError("loader.frames", window, f"video frames, 1 to {10 * FPS}")
        self.window = window

    def setup(self, stage: str | None = None) -> None:
        """As :meth:`Shards.setup`; UserError too when the teacher's features are wanted and a set has none."""
        super().setup(stage)
        if not self.teacher:
            return
        from datamodules.shards.add_whisper_features import RECORD

        for shards in self.sets:
            if RECORD not in shards.index.provenance:
                raise UserError(
                    "data",
                    shards.name,
                    "what emo shards add-whisper DIR --out DIR2 wrote",
                    "holds no features of Whisper",
                )

    def draw(
        self, clip: AudioClip, generator: np.random.Generator
    ) -> list[tuple[AudioClip, int, int]]:
        """(clip, first frame, source frame) for each window of this visit."""
        last = max(0, clip.frames - self.window)
        visits = max(1, round(clip.frames / self.window))
        return [
            (clip, int(generator.integers(last + 1)), int(generator.integers(clip.frames)))
            for _ in range(visits)
        ]

    def grid(self, clip: AudioClip) -> list[tuple[AudioClip, int, int]]:
        """Windows side by side; each clip's source frame is its own, the same every time."""
        source = zlib.crc32(clip.labels["key"].encode()) % clip.frames
        return [(clip, start, source) for start in range(0, clip.frames, self.window)]

    def realise(self, item: tuple[AudioClip, int, int]) -> dict[str, Any]:
        """Cut the window."""
        clip, start, source = item
        return clip.window(start, self.window, source, self.layout)

    def _draws(self, split: str) -> float:
        return max(self._seconds(split) * FPS / self.window, self.samples(split))

    def _bytes(self, split: str) -> float:
        heard = 2 * 2 * 384 if self.teacher else 0
        return self._seconds(split) * FPS * (4 * (4 * 80 + 17 + self.layout.size) + heard)

    def _reader(self, split: str, workers: int) -> ClipReader:
        reader = super()._reader(split, workers)
        if self.teacher:
            reader.parts, reader.make = (
                (*reader.parts, "whisper"),
                partial(reader.make, teacher=True),
            )
        return reader


class VideoShards(Shards):
    """Pairs of frames of one clip, ``size`` pixels a side, with the ``context`` coefficients around each, for stage 3; the
    options are :class:`Shards`'s.

    A batch: ``source_image``, ``driving_image`` ``(B, 3, S, S)`` in [0, 1]; ``source_coeffs``, ``driving_coeffs``
    ``(B, K, C)``, K frames centred on the picture's, edges repeated; ``emotion``, ``intensity``, ``speaker``, ``level``
    and ``key`` as in :class:`AudioShards`. Training draws one pair for each second of a clip, validation takes two.
    """

    kind = VIDEO
    automatic = 8

    def __init__(
        self,
        data: str | Sequence[str],
        *,
        size: int = 256,
        context: int = 27,
        batch_size: int = 8,
        **options: Any,
    ) -> None:
        super().__init__(data, batch_size=batch_size, **options)
        if not 16 <= size <= 1024:
            raise UserError("model.image_size", size, "pixels, 16 to 1024")
        if context < 1 or context % 2 == 0:
            raise UserError("context", context, "an odd number of frames")
        self.size, self.context = size, context

    def draw(
        self, clip: VideoClip, generator: np.random.Generator
    ) -> list[tuple[VideoClip, int, int]]:
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
        return max(self._seconds(split), self.samples(split))

    def _bytes(self, split: str) -> float:
        return sum(shard.bytes for index in self.indexes for shard in index.of(VIDEO, split))
