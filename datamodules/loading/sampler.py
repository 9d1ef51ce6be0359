"""The order in which samples reach a training step: a pure function of (seed, epoch, rank, worker).

Nothing is drawn from a global generator, so a run that starts again at an epoch, or at a batch within one, sees what the
first run saw, and no two ranks or workers see the same sample in one lap over the shards.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from datamodules.shards.index import ShardInfo
from datamodules.shards.reader import members_for, read_samples
from datamodules.shards.remote import ShardSet
from datamodules.shards.schema import REASONS, Sample, SampleError, decode
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Layout

T = TypeVar("T")
MAX_WORKERS = 256


@dataclass(frozen=True)
class ShardFile:
    """One archive to read: where it is, what the index says of it, and the set it comes from where that must bring it first."""

    path: Path
    info: ShardInfo
    source: ShardSet | None = None

    def open(self) -> IO[bytes]:
        """The archive, for reading; UserError when it lies afar and cannot be had."""
        return open(self.path, "rb") if self.source is None else self.source.open(self.info)

    @property
    def where(self) -> str:
        """The set, for messages."""
        return str(self.path.parent) if self.source is None else self.source.name


@dataclass(frozen=True)
class Share:
    """Which of all readers this one is, over ranks and over each rank's workers."""

    rank: int
    world: int
    worker: int
    workers: int

    @property
    def place(self) -> int:
        return self.rank * self.workers + self.worker

    @property
    def readers(self) -> int:
        return self.world * self.workers


class FailureTable:
    """Bad samples by reason, counted by several worker processes: one row of shared memory each."""

    def __init__(self) -> None:
        self._counts = torch.zeros(MAX_WORKERS, len(REASONS), dtype=torch.int64).share_memory_()

    def add(self, worker: int, reason: str) -> None:
        self._counts[worker % MAX_WORKERS, REASONS.index(reason)] += 1

    def totals(self) -> dict[str, int]:
        """Reason -> how often a bad sample was met, over all workers and laps so far."""
        sums = self._counts.sum(0).tolist()
        return {reason: count for reason, count in zip(REASONS, sums, strict=True) if count}


@dataclass
class ClipReader:
    """Reads shards into clips; keeps them in memory when told to.

    Args:
        shards: the archives of one split.
        parts: parts of a sample that ``make`` needs.
        layout: expected of every sample.
        make: sample -> clip.
        keep: hold decoded clips for the laps to come.
        failures: where bad samples are counted.
    """

    shards: Sequence[ShardFile]
    parts: Collection[str]
    layout: Layout
    make: Callable[[Sample], Any]
    keep: bool
    failures: FailureTable
    _kept: dict[tuple[int, int], list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._first = np.concatenate(
            [[0], np.cumsum([shard.info.samples for shard in self.shards])]
        ).tolist()

    def lap(self, order: Sequence[int], share: Share, worker: int | None = None) -> Iterator[Any]:
        """A share's clips of one lap: whole shards where there are enough for all readers, else every n-th sample.

        Bad samples are counted as ``worker``'s, by default the share's own.
        """
        whole = len(self.shards) >= share.readers
        for shard in order[share.place :: share.readers] if whole else order:
            yield from self._clips(
                shard, None if whole else share, share.worker if worker is None else worker
            )

    def members(self, shard: int) -> Iterator[tuple[str, dict[str, bytes] | SampleError]]:
        """Key and members of each sample of an archive, or why it cannot be had."""
        with self.shards[shard].open() as stream:
            yield from read_samples(stream, members_for(self.parts))

    def _clips(self, shard: int, share: Share | None, worker: int) -> Iterator[Any]:
        slot = (shard, -1 if share is None else share.place)
        if slot in self._kept:
            yield from self._kept[slot]
            return
        clips = []
        for position, (key, members) in enumerate(self.members(shard)):
            if share is not None and (self._first[shard] + position) % share.readers != share.place:
                continue
            try:
                if isinstance(members, SampleError):
                    raise members
                clip = self.make(decode(key, members, self.parts, self.layout))
            except SampleError as error:
                self.failures.add(worker, error.reason)
                continue
            if self.keep:
                clips.append(clip)
            yield clip
        if self.keep:
            self._kept[slot] = clips


class TrainStream(IterableDataset):
    """Endless laps over the shards, shuffled, cut into a fixed number of batches an epoch.

    An epoch can begin at any of its batches. What lies before is drawn and made, for a sample that turns out bad shifts all
    that follow, but not handed on: exact, and quick beside the training steps that it stands for.

    Args:
        reader: of the split.
        draw: (clip, generator) -> the items to take from it at this visit; cheap.
        realise: item -> row of a batch; may raise SampleError, which is counted.
        collate: rows -> batch.
        batch_size: rows of a batch.
        batches: of an epoch, over all workers of this rank.
        seed: of every draw.
        rank, world: this process among all.
        buffer: items held for shuffling.
    """

    def __init__(
        self,
        reader: ClipReader,
        draw: Callable[[Any, np.random.Generator], Sequence[Any]],
        realise: Callable[[Any], Any],
        collate: Callable[[Sequence[Any]], Any],
        batch_size: int,
        batches: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        buffer: int = 512,
    ) -> None:
        super().__init__()
        self.reader, self.draw, self.realise, self.collate = reader, draw, realise, collate
        self.batch_size, self.batches, self.seed, self.rank, self.world, self.buffer = (
            batch_size,
            batches,
            seed,
            rank,
            world,
            buffer,
        )
        # Shared, because workers that live on between epochs have copies of everything else: the epoch, its first batch.
        self._place = torch.zeros(2, dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._place[0])

    def begin(self, epoch: int, batch: int = 0) -> None:
        """Choose what the next iteration gives: this epoch, from this batch on."""
        self._place[0], self._place[1] = epoch, batch

    def __iter__(self) -> Iterator[Any]:
        share, (epoch, first) = current_share(self.rank, self.world), self._place.tolist()
        # A loader takes batches from its workers in turn, worker 0 first: it plays the one whose turn the first batch is.
        share = replace(share, worker=(share.worker + first) % share.workers)
        generator = np.random.default_rng([self.seed, epoch, share.rank, share.worker, 1])
        rows = self._rows(self._items(epoch, share, generator), share.worker)
        for batch in range(share.worker, self.batches, share.workers):
            made = list(itertools.islice(rows, self.batch_size))
            if batch >= first:
                yield self.collate(made)

    def _items(self, epoch: int, share: Share, generator: np.random.Generator) -> Iterator[Any]:
        for lap in itertools.count():
            order = (
                np.random.default_rng([self.seed, epoch, lap])
                .permutation(len(self.reader.shards))
                .tolist()
            )
            # Archives of nothing but bad samples may have fallen to this reader: it goes through all before it gives up.
            for part in (share, Share(0, 1, 0, 1)):
                drawn = (
                    item
                    for clip in self.reader.lap(order, part, share.worker)
                    for item in self.draw(clip, generator)
                )
                empty = True
                for item in shuffled(drawn, self.buffer, generator):
                    empty = False
                    yield item
                if not empty:
                    break
            else:
                reasons = (
                    ", ".join(
                        f"{reason} {count}"
                        for reason, count in self.reader.failures.totals().items()
                    )
                    or "none left out"
                )
                raise UserError(
                    "data",
                    self.reader.shards[0].where,
                    "shards with usable samples",
                    f"gave no sample ({reasons})",
                )

    def _rows(self, items: Iterator[Any], worker: int) -> Iterator[Any]:
        misses = 0
        for item in items:
            try:
                row = self.realise(item)
            except SampleError as error:
                self.reader.failures.add(worker, error.reason)
                misses += 1
                if misses > 1000:
                    where = self.reader.shards[0].where
                    raise UserError(
                        "data",
                        where,
                        "shards with usable samples",
                        f"gave 1000 bad ones on end ({error})",
                    ) from None
                continue
            misses = 0
            yield row


class EvalStream(IterableDataset):
    """One lap in the shards' own order, the same at every epoch; ranks and workers take disjoint samples."""

    def __init__(
        self,
        reader: ClipReader,
        draw: Callable[[Any], Sequence[Any]],
        realise: Callable[[Any], Any],
        collate: Callable[[Sequence[Any]], Any],
        batch_size: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__()
        self.reader, self.draw, self.realise, self.collate = reader, draw, realise, collate
        self.batch_size, self.rank, self.world = batch_size, rank, world

    def __iter__(self) -> Iterator[Any]:
        share = current_share(self.rank, self.world)
        rows: list[Any] = []
        for clip in self.reader.lap(list(range(len(self.reader.shards))), share):
            for item in self.draw(clip):
                try:
                    rows.append(self.realise(item))
                except SampleError as error:
                    self.reader.failures.add(share.worker, error.reason)
                if len(rows) == self.batch_size:
                    yield self.collate(rows)
                    rows = []
        if rows:
            yield self.collate(rows)


def current_share(rank: int, world: int) -> Share:
    """This process's share, as a loader's worker or in the main process."""
    info = get_worker_info()
    return Share(rank, world, info.id if info else 0, info.num_workers if info else 1)


def shuffled(items: Iterator[T], size: int, generator: np.random.Generator) -> Iterator[T]:
    """Items in an order mixed over a buffer of ``size``; all of them, when they end."""
    held: list[T] = []
    for item in items:
        if len(held) < size:
            held.append(item)
            continue
        at = int(generator.integers(size))
        item, held[at] = held[at], item
        yield item
    for at in generator.permutation(len(held)):
        yield held[int(at)]
