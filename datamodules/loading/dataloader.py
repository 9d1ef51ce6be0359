"""What hands batches to Lightning: tells what was left out, and remembers its place so that a run can go on there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, IterableDataset

from datamodules.loading.sampler import EvalStream, FailureTable, TrainStream
from emo_lightning.core.errors import UserError


@dataclass(frozen=True)
class Mistake:
    """A user's mistake met in a worker process, on its way to the one that can say so."""

    error: UserError


class Guarded(IterableDataset):
    """A stream whose UserErrors come out as the last item: a loader would turn one raised in a worker into a bare RuntimeError."""

    def __init__(self, stream: TrainStream | EvalStream) -> None:
        super().__init__()
        self.stream = stream

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.stream
        except UserError as error:
            yield Mistake(error)


class Loader:
    """Batches of a stream; with ``say`` the table of samples left out is logged after each pass when it has grown."""

    def __init__(
        self,
        stream: TrainStream | EvalStream,
        workers: int,
        failures: FailureTable,
        say: bool = True,
    ) -> None:
        self.failures, self._say, self._told = failures, say, {}
        self._loader = DataLoader(
            Guarded(stream), batch_size=None, num_workers=workers, persistent_workers=workers > 0
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._loader:
            if isinstance(batch, Mistake):
                raise batch.error
            yield batch
        totals = self.failures.totals()
        if self._say and totals != self._told:
            self._told = totals
            rank_zero_warn(
                "samples left out so far, by reason: "
                + ", ".join(f"{reason} {count}" for reason, count in totals.items())
            )


class TrainLoader(Loader):
    """A loader of known length that Lightning tells the epoch, and whose place within it goes into every checkpoint.

    Its ``sampler`` is itself and has ``set_epoch``.

    Args:
        stream: of this rank.
        workers: reader processes.
        failures: where bad samples are counted.
        facts: what must be the same for a place to mean the same: seed, sizes, ranks, data.
        trained: batches of this epoch that have been trained on, where a trainer knows; else those handed out are counted,
            and samples left out are logged here (see :class:`datamodules.loading.skipped_samples.SkippedSamples` for a trainer's).
    """

    def __init__(
        self,
        stream: TrainStream,
        workers: int,
        failures: FailureTable,
        facts: Mapping[str, Any],
        trained: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(stream, workers, failures, say=trained is None)
        self._stream, self._facts, self._trained = (
            stream,
            {**facts, "number of workers": workers},
            trained,
        )
        self._given, self._resumed = 0, (-1, 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch, first = self._resumed
        self._given = first if epoch == self._stream.epoch else 0
        self._stream.begin(self._stream.epoch, self._given)
        for batch in super().__iter__():
            self._given += 1
            yield batch

    @property
    def sampler(self) -> TrainLoader:
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives: whole, unless a place within it was loaded."""
        self._stream.begin(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The place reached, in plain numbers and words."""
        batch = self._given if self._trained is None else self._trained()
        return {"epoch": self._stream.epoch, "batch": batch, "facts": dict(self._facts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place: the epoch it is in will begin there. Says so where that cannot be exact."""
        other = [name for name, value in self._facts.items() if state["facts"].get(name) != value]
        if other:
            changed = ", ".join(other)
            rank_zero_warn(
                f"resumed with another {changed}: in the epoch broken off, some samples may come twice and some not at all"
            )
        self._resumed = (int(state["epoch"]), int(state["batch"]))

    def __len__(self) -> int:
        return self._stream.batches
