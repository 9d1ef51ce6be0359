"""Loaders that Lightning iterates: users' errors from workers, skipped samples, exact resume."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import webdataset as wds
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.seed import pl_worker_init_function
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import IterableDataset

from datamodules.loading.sampler import EvalStream, FailureTable, TrainStream
from datamodules.shards.schema import REASONS
from emo_lightning.core.errors import UserError

SKIPPED = "data/skipped"
"""Metric: bad samples skipped in all; ``data/skipped/REASON`` by reason."""


@dataclass(frozen=True)
class _WorkerError:
    """A user's error on its way out of a worker process."""

    error: UserError


class _Guarded(IterableDataset):
    """A stream whose UserErrors are its last item: the loader would make RuntimeErrors of them."""

    def __init__(self, stream: EvalStream) -> None:
        super().__init__()
        self.stream = stream

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.stream
        except UserError as error:
            yield _WorkerError(error)


class EvalLoader:
    """Batches of a stream read by worker processes, which are seeded by rank and worker.

    Args:
        stream: of this rank.
        workers: reader processes.
        failures: where bad samples are counted.
        pin_memory: put batches into page-locked memory, for a GPU.
        report: warn of skipped samples after each pass; a trainer has :class:`SkippedSamples`.
    """

    def __init__(
        self,
        stream: EvalStream,
        workers: int,
        failures: FailureTable,
        *,
        pin_memory: bool = False,
        report: bool = True,
    ) -> None:
        self._failures, self._report = failures, report
        self._reported: dict[str, int] = {}
        self._loader = wds.WebLoader(
            _Guarded(stream),
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=partial(pl_worker_init_function, rank=stream.rank),
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._batches()
        self._warn()

    def _batches(self) -> Iterator[dict[str, Any]]:
        for batch in self._loader:
            if isinstance(batch, _WorkerError):
                raise batch.error
            yield batch

    def _warn(self) -> None:
        totals = self._failures.totals()
        if self._report and totals != self._reported:
            self._reported = totals
            counts = ", ".join(f"{reason} {count}" for reason, count in totals.items())
            rank_zero_warn(f"samples skipped so far, by reason: {counts}")


class TrainLoader(EvalLoader):
    """The endless training stream; its position goes into every checkpoint.

    Validation may come at any step (``val_check_interval=N, check_val_every_n_epoch=None``) and
    does not move the stream. The position is the number of batches trained, from which the
    samples that each worker of each rank has consumed follow.

    Args:
        stream: of this rank.
        workers, options: as of :class:`EvalLoader`.
        facts: what a position depends on: seed, sizes, ranks, data.
        trained: number of batches trained, where a trainer counts them; else those handed out.
        epoch_batches: batches of one iteration, which the next one continues; endless by default.
    """

    def __init__(
        self,
        stream: TrainStream,
        workers: int,
        *,
        facts: Mapping[str, Any],
        trained: Callable[[], int] | None = None,
        epoch_batches: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(stream, workers, **options)
        self._stream, self._trained, self._epoch_batches = stream, trained, epoch_batches
        self._facts = {**facts, "number of workers": workers}
        self._next = 0
        self._running: Iterator[dict[str, Any]] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._running is None:
            if self._trained is not None:
                # Lightning restores its count, but a loader's state only within an epoch.
                self._next = self._trained()
            self._stream.begin(self._next)
            self._running = self._batches()
        size = self._epoch_batches
        for batch in itertools.islice(self._running, size and size - self._next % size):
            self._next += 1
            yield batch
        self._warn()

    def state_dict(self) -> dict[str, Any]:
        """The position reached, in plain numbers and words."""
        batch = self._next if self._trained is None else self._trained()
        return {"batch": batch, "facts": dict(self._facts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position; warns where that cannot be exact."""
        facts = state["facts"]
        changed = [name for name, value in self._facts.items() if facts.get(name) != value]
        if changed:
            rank_zero_warn(
                f"resumed with another {', '.join(changed)}: some samples of this pass over the "
                "data may come twice and some not at all"
            )
        self._next, self._running = int(state["batch"]), None

    def __len__(self) -> int:
        if self._epoch_batches is None:
            raise TypeError("the training stream is endless")
        return self._epoch_batches


class SkippedSamples(Callback):
    """Logs samples that could not be read, over all ranks and by reason.

    After validations and epochs the data module's
    :meth:`~datamodules.loading.datamodule.Shards.failures` are summed over the ranks. When the sums
    have grown they go to the loggers as ``data/skipped`` and ``data/skipped/REASON``, and to
    ``report``. They count since this process began; a sample that is read again counts again.

    Args:
        report: called on the first rank with reason -> count.
    """

    def __init__(self, report: Callable[[Mapping[str, int]], None]) -> None:
        self._report, self._reported = report, 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._log(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer)

    def _log(self, trainer: Trainer) -> None:
        mine = trainer.datamodule.failures()  # type: ignore[attr-defined]
        counts = torch.tensor(
            [mine.get(reason, 0) for reason in REASONS], device=trainer.strategy.root_device
        )
        sums = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        if not trainer.is_global_zero or sum(sums) == self._reported:
            return
        self._reported = sum(sums)
        totals = {reason: count for reason, count in zip(REASONS, sums, strict=True) if count}
        named = {f"{SKIPPED}/{reason}": float(count) for reason, count in totals.items()}
        for logger in trainer.loggers:
            logger.log_metrics(named | {SKIPPED: float(sum(sums))}, step=trainer.global_step - 1)
        self._report(totals)
