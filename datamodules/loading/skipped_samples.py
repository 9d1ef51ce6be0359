"""What a training run says of samples that could not be read: over all ranks, by reason, at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from datamodules.shards.schema import REASONS

METRIC = "data/left_out"


class SkippedSamples(Callback):
    """Sums the data module's :meth:`~datamodules.loading.datamodule.Shards.failures` over the ranks after every epoch.

    When the sums have grown they go to the loggers, in all as ``data/left_out`` and by reason as ``data/left_out/REASON``,
    and to ``tell``. They count since this process began; a sample that is read anew at every lap counts at every lap.

    Args:
        tell: called on the first rank with reason -> count.
    """

    def __init__(self, tell: Callable[[Mapping[str, int]], None]) -> None:
        self._tell, self._told = tell, 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        mine = trainer.datamodule.failures()  # type: ignore[attr-defined]
        counts = torch.tensor(
            [mine.get(reason, 0) for reason in REASONS], device=trainer.strategy.root_device
        )
        sums = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        totals = {reason: count for reason, count in zip(REASONS, sums, strict=True) if count}
        if not trainer.is_global_zero or sum(sums) == self._told:
            return
        self._told = sum(sums)
        named = {METRIC: float(sum(sums))} | {
            f"{METRIC}/{reason}": float(count) for reason, count in totals.items()
        }
        for logger in trainer.loggers:
            logger.log_metrics(named, step=trainer.global_step - 1)
        self._tell(totals)
