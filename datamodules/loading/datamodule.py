"""Shard sets as LightningDataModules: :class:`AudioShards` and :class:`VideoShards`.

The training stream is endless; batch n is a function of (seed, n, rank, worker), so that a run
resumed from a checkpoint of any step goes on as if it had never stopped. A sample that cannot be
read is counted by reason and skipped; :meth:`Shards.failures` has the table, and
:class:`datamodules.loading.dataloader.SkippedSamples` logs it.

Readers, that is ranks x workers, take whole shards. Where there are more ranks than train shards,
every rank reads all shards and keeps its own samples, with a warning. More workers than shards are
an error unless ``share_shards`` allows that as well; by default the number of workers fits.

Pictures travel as uint8; the training modules make floats in [0, 1] of them on the device.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from datamodules.loading.dataloader import EvalLoader, TrainLoader
from datamodules.loading.sampler import (
    MAX_WORKERS,
    ClipReader,
    EvalStream,
    FailureTable,
    ShardFile,
    TrainStream,
)
from datamodules.loading.windows import UNLABELLED, AudioClip, Labels, VideoClip, collate
from datamodules.shards.index import LIGHT, VIDEO, ShardIndex
from datamodules.shards.remote import ShardSet, open_set
from datamodules.shards.schema import Sample
from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import LAYOUTS, Layout

MIN_ROUND = 256
"""Batches of a round at least, so that small sets seldom begin one."""


class Shards(lightning.LightningDataModule):
    """Base of the data modules: indexes, start-up checks, loaders.

    Args:
        data: a folder of shards, or another address of
            :func:`datamodules.shards.remote.open_set`, or several.
        batch_size: of one process.
        workers: reader processes of each rank; 0 reads in the training process. None chooses: 0 on
            a CPU, where training takes the cores, else up to :attr:`default_workers`, at most one
            for each shard that a rank has.
        share_shards: let workers outnumber the train shards: every worker reads all shards and
            keeps its part of the samples.
        seed: of all draws.
        layout: name of the coefficient layout that the model expects.
        epoch_batches: batches of one iteration over the train loader; endless by default.
        cache_mb: memory for decoded clips; a larger set is read again in every lap.

    Raises:
        UserError: at :meth:`setup`: no such set, an unknown protocol, a shard missing or of another
            size, an empty train split; at :meth:`check_ranks` and when a loader is made: fewer
            samples than ranks, more workers than shards.
        MismatchError: at :meth:`setup`: another coefficient layout.
    """

    kind = LIGHT
    parts: tuple[str, ...] = ()
    items_per_second = 1.0
    default_workers = 4

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
    ) -> None:
        super().__init__()
        self.data = [data] if isinstance(data, (str, Path)) else list(data)
        counts = (
            ("loader.batch_size", batch_size, 1),
            ("loader.workers", workers or 0, 0),
            ("trainer.val_every", 1 if epoch_batches is None else epoch_batches, 1),
        )
        for name, value, least in counts:
            if value < least:
                raise UserError(name, value, f"a whole number from {least}")
        if (workers or 0) > MAX_WORKERS:
            raise UserError("loader.workers", workers, f"at most {MAX_WORKERS}")
        if layout not in LAYOUTS:
            raise UserError("layout", layout, ", ".join(LAYOUTS))
        self.batch_size, self.workers, self.share_shards = batch_size, workers, share_shards
        self.seed, self.epoch_batches = seed, epoch_batches
        self.layout: Layout = LAYOUTS[layout]
        self.cache_bytes = cache_mb << 20
        self.sets: list[ShardSet] = []
        self._failures = FailureTable()

    def training_items(self, clip: Any, generator: np.random.Generator) -> Sequence[Any]:
        """Items that training takes from a clip at one visit."""
        raise NotImplementedError

    def validation_items(self, clip: Any) -> Sequence[Any]:
        """Items that validation takes from a clip, the same every time."""
        raise NotImplementedError

    def row(self, item: Any) -> dict[str, Any]:
        """Row of a batch for an item."""
        raise NotImplementedError

    def clip(self, sample: Sample) -> Any:
        """Decoded clip of a sample."""
        raise NotImplementedError

    def clip_bytes(self, split: str) -> float:
        """Memory of a split's decoded clips."""
        return sum(shard.info.bytes for shard in self.files(split))

    def reader(self, split: str, keep: bool) -> ClipReader:
        """Reader of a split's shards into clips."""
        files = self.files(split)
        return ClipReader(files, self.parts, self.layout, self.clip, keep, self._failures)

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

    def samples(self, split: str) -> int:
        """Samples of a split that this module reads."""
        return sum(shard.info.samples for shard in self.files(split))

    def seconds(self, split: str) -> float:
        """Length of a split."""
        return sum(index.splits.get(split, {}).get("seconds", 0.0) for index in self.indexes)

    def files(self, split: str, kind: str | None = None) -> list[ShardFile]:
        """The shards of a split, by default of this module's kind."""
        return [
            ShardFile(shards, shard)
            for shards in self.sets
            for shard in shards.index.of(kind or self.kind, split)
        ]

    def setup(self, stage: str | None = None) -> None:
        """Read the indexes and check everything that can be wrong before any work starts."""
        if self.sets:
            return
        sets = [open_set(where, "data") for where in self.data]
        for shards in sets:
            self.layout.check_same(shards.index.layout, "the model", shards.name)
            shards.check("data")
        self.sets = sets
        if not self.samples("train"):
            named, accepted = (
                ", ".join(s.name for s in sets),
                f"{self.kind} shards with a train split",
            )
            raise UserError("data", named, accepted, "has nothing to train on")
        if not self.samples("val"):
            rank_zero_warn("the data has no validation split (it takes two speakers): none is done")
        unknown = sum(sum(index.emotions.get("unknown", {}).values()) for index in self.indexes)
        if unknown:
            rank_zero_info(f"{unknown} clips have no emotion label and count as {UNLABELLED}")

    def check_ranks(self, world: int) -> None:
        """UserError unless so many processes can be fed; to be called before they are started."""
        for split in ("train", "val"):
            self._check_samples(split, world)
        self.train_workers(world)

    def train_workers(self, world: int) -> int:
        """Workers of each rank: those asked for, which must fit, or as many as do."""
        shards, samples = len(self.files("train")), self.samples("train")
        most = (samples if self.share_shards else shards) // world
        if self.workers is None:
            return min(self.default_workers if self._device() != "cpu" else 0, most)
        # With one worker the ranks alone outnumber the shards, and share them in any case.
        if self.workers > max(1, most):
            few = f"{samples} train samples" if self.share_shards else f"{shards} train shards"
            ways = "" if self.share_shards else ", or smaller shards, or loader.share_shards=true"
            accepted = f"at most {max(1, most)} on {world} rank{'s' * (world > 1)}{ways}"
            problem = f"makes {world * self.workers} readers for {few}"
            raise UserError("loader.workers", self.workers, accepted, problem)
        return self.workers

    def train_dataloader(self) -> TrainLoader:
        """The endless, resumable training stream."""
        world = self._place()[1]
        self._check_samples("train", world)
        workers, shards = self.train_workers(world), len(self.files("train"))
        readers = world * max(1, workers)
        if shards < readers:
            rank_zero_warn(
                f"{shards} train shards for {readers} readers: every worker reads all shards and "
                f"keeps 1/{readers} of the samples; use more, smaller shards"
            )
        items = max(self.seconds("train") * self.items_per_second, self.samples("train"))
        lap = max(1, round(items / (self.batch_size * world)))
        facts = {
            "seed": self.seed,
            "batch size": self.batch_size,
            "round length": lap * -(-MIN_ROUND // lap),
            "number of processes": world,
            "data": self._digest(),
        }
        stream = TrainStream(
            **self._stream_options("train", workers),
            items=self.training_items,
            round_batches=facts["round length"],
            lap_items=items / readers,
            seed=self.seed,
        )
        return TrainLoader(
            stream,
            **self._loader_options(workers),
            facts=facts,
            trained=self._trained if self.trainer else None,
            epoch_batches=self.epoch_batches,
        )

    def val_dataloader(self) -> EvalLoader | list[EvalLoader]:
        """The same batches every time; an empty list where there is no val split."""
        return self._eval_loader("val")

    def test_dataloader(self) -> EvalLoader | list[EvalLoader]:
        """The same for the test split."""
        return self._eval_loader("test")

    def _eval_loader(self, split: str) -> EvalLoader | list[EvalLoader]:
        if not self.samples(split):
            return []
        world = self._place()[1]
        self._check_samples(split, world)
        workers = min(self.train_workers(world), self.samples(split) // world, 1)
        stream = EvalStream(**self._stream_options(split, workers), items=self.validation_items)
        return EvalLoader(stream, **self._loader_options(workers))

    def _stream_options(self, split: str, workers: int) -> dict[str, Any]:
        rank, world = self._place()
        keep = self.clip_bytes(split) * max(1, workers) <= self.cache_bytes
        options = {"reader": self.reader(split, keep), "row": self.row, "collate": collate}
        return options | {"batch_size": self.batch_size, "rank": rank, "world": world}

    def _loader_options(self, workers: int) -> dict[str, Any]:
        options = {"workers": workers, "failures": self._failures, "report": self.trainer is None}
        return options | {"pin_memory": self._device() == "cuda"}

    def _check_samples(self, split: str, world: int) -> None:
        samples = self.samples(split)
        if 0 < samples < world:
            accepted = f"at most {samples}, one for each {split} sample"
            raise UserError("trainer.devices", world, accepted, "are too many processes")

    def _device(self) -> str:
        return "cpu" if self.trainer is None else self.trainer.strategy.root_device.type

    def _digest(self) -> str:
        """Hash of the train shards' contents and order."""
        hashes = "".join(shard.info.sha256 for shard in self.files("train"))
        return hashlib.sha256(hashes.encode()).hexdigest()

    def _trained(self) -> int:
        # Not the batches handed out: some are prefetched, and those of an unfinished step, or of
        # gradients not yet applied, are trained again after a resume.
        assert self.trainer is not None
        return self.trainer.global_step * self.trainer.accumulate_grad_batches

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        if self.trainer is not None:
            return self.trainer.global_rank, self.trainer.world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    @cached_property
    def labels(self) -> Labels:
        """The label encoder of this data, once it is set up."""
        return Labels(tuple(self.speakers))


class AudioShards(Shards):
    """Windows of ``window`` video frames with audio, AUs and coefficients, for stages 1 and 2.

    The other options are those of :class:`Shards`. A batch: ``mel (B, 4W, 80)``, ``au (B, W, 17)``,
    each block of the layout ``(B, W, n)`` under its name, ``source (B, C)`` (the joined
    coefficients of another frame of the clip), ``mask (B, W)`` False beyond the clip's end,
    ``phone (B, W)`` int64 (places in :data:`datamodules.shards.phones.NAMES`, 0 for silence, -1
    unknown), ``emotion``, ``intensity`` (-1 unknown), ``speaker`` int64 ``(B,)``, ``level`` float32
    ``(B,)`` (nan unknown), and ``key``, a list. With ``teacher`` also ``whisper (B, 2W, 384)``,
    from sets that have it. In training a clip gives one window, at a random place, for each W
    frames that it has; in validation the windows stand side by side.
    """

    kind = LIGHT

    def __init__(
        self, data: str | Sequence[str], *, window: int = 32, teacher: bool = False, **options: Any
    ) -> None:
        super().__init__(data, **options)
        if not 1 <= window <= 10 * FPS:
            raise UserError("loader.frames", window, f"video frames, 1 to {10 * FPS}")
        self.window, self.teacher = window, teacher
        self.items_per_second = FPS / window
        self.parts = ("wave", "au", "coefficients", *(("whisper",) if teacher else ()))

    def setup(self, stage: str | None = None) -> None:
        """As :meth:`Shards.setup`; UserError too when a set lacks the teacher's features."""
        super().setup(stage)
        if not self.teacher:
            return
        from datamodules.shards.add_whisper_features import RECORD

        for shards in self.sets:
            if RECORD not in shards.index.provenance:
                accepted = "a set that emo shards add-whisper DIR --out DIR2 wrote"
                raise UserError("data", shards.name, accepted, "has no Whisper features")

    def training_items(
        self, clip: AudioClip, generator: np.random.Generator
    ) -> list[tuple[AudioClip, int, int]]:
        """(clip, first frame, source frame) for each window of this visit."""
        last = max(0, clip.frames - self.window)
        visits = max(1, round(clip.frames / self.window))
        draws = [
            (generator.integers(last + 1), generator.integers(clip.frames)) for _ in range(visits)
        ]
        return [(clip, int(start), int(source)) for start, source in draws]

    def validation_items(self, clip: AudioClip) -> list[tuple[AudioClip, int, int]]:
        """Windows side by side, with one source frame for each clip."""
        source = zlib.crc32(clip.labels["key"].encode()) % clip.frames
        return [(clip, start, source) for start in range(0, clip.frames, self.window)]

    def row(self, item: tuple[AudioClip, int, int]) -> dict[str, Any]:
        """The window."""
        clip, start, source = item
        return clip.window(start, self.window, source, self.layout)

    def clip(self, sample: Sample) -> AudioClip:
        """The clip with its spectrogram."""
        return AudioClip.of(sample, self.labels, self.teacher)

    def clip_bytes(self, split: str) -> float:
        features = 2 * 2 * 384 if self.teacher else 0
        return self.seconds(split) * FPS * (4 * (4 * 80 + 17 + self.layout.size) + features)


class VideoShards(Shards):
    """Pairs of frames of one clip, ``size`` pixels a side, with coefficients, for stage 3.

    The other options are those of :class:`Shards`. A batch: ``source_image``, ``driving_image``
    ``(B, 3, S, S)`` uint8, float32 in [0, 1] in a training step; ``source_coeffs``,
    ``driving_coeffs`` ``(B, K, C)``, the ``context`` frames centred on the picture's, edges
    repeated; ``emotion``, ``intensity``, ``speaker``, ``level`` and ``key`` as in
    :class:`AudioShards`. Training takes one pair for each second of a clip, validation two.
    """

    kind, parts, default_workers = VIDEO, ("video", "coefficients"), 8

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

    def training_items(
        self, clip: VideoClip, generator: np.random.Generator
    ) -> list[tuple[VideoClip, int, int]]:
        """(clip, source frame, driving frame) of each pair; the two differ where they can."""
        pairs = []
        for _ in range(max(1, clip.frames // FPS)):
            source = int(generator.integers(clip.frames))
            step = int(generator.integers(1, clip.frames)) if clip.frames > 1 else 0
            pairs.append((clip, source, (source + step) % clip.frames))
        return pairs

    def validation_items(self, clip: VideoClip) -> list[tuple[VideoClip, int, int]]:
        """The first frame, driven to one a third and to one two thirds along the clip."""
        return [(clip, 0, clip.frames // 3), (clip, 0, 2 * clip.frames // 3)]

    def row(self, item: tuple[VideoClip, int, int]) -> dict[str, Any]:
        """The decoded pair."""
        clip, source, driving = item
        return clip.pair(source, driving, self.size, self.context)

    def clip(self, sample: Sample) -> VideoClip:
        """The clip with its mp4."""
        return VideoClip.of(sample, self.labels)
