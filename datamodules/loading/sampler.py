"""The stream of training batches: a pure function of (seed, round, rank, worker).

The stream is endless and divided into rounds of about one lap over the data. A round is a
``webdataset.DataPipeline``: shard list, split by reader, samples, clips, items, shuffle, batches.
It draws nothing from a global generator, so it can begin at any batch. Where the library does not
carry that, a stage of our own does:

- ``split_by_node`` and ``split_by_worker`` know the true worker only, whereas after a resume the
  first worker asked must play the one whose turn it is; and they give nothing to a reader without a
  shard of its own.
- ``batched`` behind ``map`` fills a batch up from later samples when one is bad, so that a batch's
  samples depend on every bad one before it, and a resume would have to decode all that was trained.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
import torch
import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from datamodules.shards.index import ShardInfo
from datamodules.shards.reader import Members, members_for, read_samples
from datamodules.shards.remote import ShardSet
from datamodules.shards.schema import REASONS, Sample, SampleError, decode
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Layout

MAX_WORKERS = 256
SHUFFLE_BUFFER, SHUFFLE_START = 512, 128
"""Items that are shuffled, and the most that are needed before the first comes out."""
MAX_BAD_SAMPLES = 1000


@dataclass(frozen=True)
class ShardFile:
    """A shard to read, and the set it belongs to."""

    source: ShardSet
    info: ShardInfo

    def open(self) -> IO[bytes]:
        """The shard for reading; UserError when it is remote and cannot be had."""
        return self.source.open(self.info)


@dataclass(frozen=True)
class Share:
    """Which of all readers (ranks x workers) this one is."""

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

    @staticmethod
    def current(rank: int, world: int) -> Share:
        """Of this process, a loader's worker or the main one."""
        info = get_worker_info()
        return Share(rank, world, info.id if info else 0, info.num_workers if info else 1)


class FailureTable:
    """Bad samples by reason, counted by several worker processes in shared memory."""

    def __init__(self) -> None:
        self._counts = torch.zeros(MAX_WORKERS, len(REASONS), dtype=torch.int64).share_memory_()

    def add(self, worker: int, error: SampleError) -> None:
        """Count a bad sample of this process's ``worker``."""
        self._counts[worker % MAX_WORKERS, REASONS.index(error.reason)] += 1

    def totals(self) -> dict[str, int]:
        """Reason -> bad samples met so far by all workers; one met again counts again."""
        sums = self._counts.sum(0).tolist()
        return {reason: count for reason, count in zip(REASONS, sums, strict=True) if count}


class Visit(NamedTuple):
    """A shard in its turn of a lap; with ``share`` (n, of) only every of-th sample from n on."""

    shard: int
    position: int
    lap: int
    share: tuple[int, int] | None = None


def shard_lap(shards: int, lap: int, seed: Sequence[int]) -> list[Visit]:
    """All shards in a random order."""
    order = np.random.default_rng([*seed, lap]).permutation(shards).tolist()
    return [Visit(shard, position, lap) for position, shard in enumerate(order)]


def split_by_reader(visits: Iterable[Visit], share: Share, shards: int) -> Iterator[Visit]:
    """Pipeline stage: whole shards where there is one for each reader, else every n-th sample."""
    whole = shards >= share.readers
    for visit in visits:
        if not whole:
            # Another share in every lap, or a reader might meet nothing but bad samples.
            place = (share.place + visit.lap) % share.readers
            yield visit._replace(share=(place, share.readers))
        elif visit.position % share.readers == share.place:
            yield visit


@dataclass
class ClipReader:
    """Reads shards into clips, and keeps them in memory when ``keep`` is set.

    Args:
        shards: of one split.
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
    _kept: dict[tuple[int, tuple[int, int] | None], list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._first = np.cumsum([0, *(shard.info.samples for shard in self.shards)]).tolist()

    def clips(self, visits: Iterable[Visit], worker: int) -> Iterator[Any]:
        """Pipeline stage: the good clips of each visit; bad samples are counted as ``worker``'s."""
        for visit in visits:
            kept = self._kept.get((visit.shard, visit.share))
            yield from self._read(visit, worker) if kept is None else kept

    def samples(self, shard: int) -> Iterator[tuple[str, Members | SampleError]]:
        """Key and members of each sample of a shard, or why it cannot be used."""
        with self.shards[shard].open() as stream:
            yield from read_samples(stream, members_for(self.parts))

    def _read(self, visit: Visit, worker: int) -> Iterator[Any]:
        clips = []
        for number, (key, members) in enumerate(
            self.samples(visit.shard), self._first[visit.shard]
        ):
            if visit.share is not None and number % visit.share[1] != visit.share[0]:
                continue
            try:
                if isinstance(members, SampleError):
                    raise members
                clip = self.make(decode(key, members, self.parts, self.layout))
            except SampleError as error:
                self.failures.add(worker, error)
                continue
            if self.keep:
                clips.append(clip)
            yield clip
        if self.keep:
            self._kept[visit.shard, visit.share] = clips


class EvalStream(IterableDataset):
    """One lap in the shards' own order; ranks and workers take disjoint samples.

    Args:
        reader: of the split.
        items: clip -> the items to take from it; cheap.
        row: item -> row of a batch; may raise SampleError, which is counted.
        collate: rows -> batch.
        batch_size: rows of a batch.
        rank, world: this process among all.
    """

    def __init__(
        self,
        *,
        reader: ClipReader,
        items: Callable[..., Sequence[Any]],
        row: Callable[[Any], Any],
        collate: Callable[[Sequence[Any]], Any],
        batch_size: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__()
        self.reader, self.items, self.row, self.collate = reader, items, row, collate
        self.batch_size, self.rank, self.world = batch_size, rank, world

    def __iter__(self) -> Iterator[Any]:
        share, shards = Share.current(self.rank, self.world), len(self.reader.shards)
        visits = [Visit(shard, shard, 0) for shard in range(shards)]
        yield from wds.DataPipeline(
            partial(iter, visits),
            partial(split_by_reader, share=share, shards=shards),
            partial(self.reader.clips, worker=share.worker),
            partial(_flattened, items=self.items),
            wds.map(self.row, handler=partial(self._count, share.worker)),
            wds.batched(self.batch_size, collation_fn=self.collate),
        )

    def _count(self, worker: int, error: Exception) -> bool:
        if not isinstance(error, SampleError):
            raise error
        self.reader.failures.add(worker, error)
        return True


class TrainStream(EvalStream):
    """Endless training batches of one rank's reader, from any batch on.

    Args:
        round_batches: batches of a round, over all workers of this rank.
        lap_items: items that a reader takes in one lap, about.
        seed: of every draw.
        options: of :class:`EvalStream`; ``items`` takes a generator as well.
    """

    def __init__(self, *, round_batches: int, lap_items: float, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.round_batches, self.seed = round_batches, seed
        self._shuffle_start = max(1, min(SHUFFLE_START, round(lap_items)))
        # Shared, because it is set after worker processes may have been started.
        self._first = torch.zeros((), dtype=torch.int64).share_memory_()

    def begin(self, batch: int) -> None:
        """Choose the batch, counted from the start of the stream, that iteration begins with."""
        self._first.fill_(batch)

    def __iter__(self) -> Iterator[Any]:
        share, first = Share.current(self.rank, self.world), int(self._first)
        batch = first + share.worker
        # A loader asks its workers in turn, worker 0 first: it plays the one whose turn it is.
        share = replace(share, worker=batch % share.workers)
        while True:
            number = batch // self.round_batches
            start = number * self.round_batches
            start += (share.worker - start) % share.workers
            left = range(batch, (number + 1) * self.round_batches, share.workers)
            skip = (batch - start) // share.workers
            yield from itertools.islice(self.round(number, share, skip), len(left))
            batch += len(left) * share.workers

    def round(self, number: int, share: Share, skip: int = 0) -> wds.DataPipeline:
        """One round of a reader, without its first ``skip`` batches."""
        return wds.DataPipeline(
            partial(self._items, number, share),
            partial(self._batches, skip=skip, worker=share.worker),
        )

    def _items(self, number: int, share: Share) -> Iterator[Any]:
        """Shuffled items, lap after lap; UserError after laps of nothing but bad samples."""
        generator = np.random.default_rng([self.seed, number, share.rank, share.worker, 1])
        mixer = random.Random(int(generator.integers(2**63)))
        shards, empty = len(self.reader.shards), 0
        for lap in itertools.count():
            items = wds.DataPipeline(
                partial(shard_lap, shards, lap, (self.seed, number)),
                partial(split_by_reader, share=share, shards=shards),
                partial(self.reader.clips, worker=share.worker),
                partial(_flattened, items=partial(self.items, generator=generator)),
                wds.shuffle(SHUFFLE_BUFFER, initial=self._shuffle_start, rng=mixer),
            )
            empty += 1
            for item in items:
                empty = 0
                yield item
            # In other laps a reader meets other samples.
            if empty > 2 * share.readers:
                counts = self.reader.failures.totals().items()
                reasons = ", ".join(f"{reason} {count}" for reason, count in counts)
                problem = f"gave no sample ({reasons or 'none skipped'})"
                self._raise(problem)

    def _raise(self, problem: str) -> NoReturn:
        where = self.reader.shards[0].source.name
        raise UserError("data", where, "shards with usable samples", problem)

    def _batches(self, items: Iterator[Any], skip: int, worker: int) -> Iterator[Any]:
        """Batch b of items b * size and on; a bad one is replaced by one of a later batch.

        The replacement comes again in its own batch, so that no bad item moves another one, and the
        skipped batches need not be decoded.
        """
        for _ in itertools.islice(items, skip * self.batch_size):
            pass
        ahead: deque[Any] = deque()
        while True:
            rows: list[Any] = []
            bad = 0
            for position in itertools.count():
                if position == len(ahead):
                    ahead.append(next(items))
                try:
                    rows.append(self.row(ahead[position]))
                    bad = 0
                except SampleError as error:
                    bad += self._count(worker, error)
                    if bad == MAX_BAD_SAMPLES:
                        self._raise(f"has {bad} consecutive samples that cannot be decoded")
                if len(rows) == self.batch_size:
                    break
            for _ in range(self.batch_size):
                ahead.popleft()
            yield self.collate(rows)


def _flattened(clips: Iterable[Any], items: Callable[[Any], Sequence[Any]]) -> Iterator[Any]:
    """Pipeline stage: the items of each clip."""
    return itertools.chain.from_iterable(map(items, clips))
