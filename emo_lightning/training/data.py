"""Data of a run as Lightning sees it: one endless, resumable stream, so that no epoch ever ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L

from datamodules.loading.datamodule import AudioShards, Shards, VideoShards
from datamodules.shards.index import ShardIndex
from emo_lightning.training.config import RunConfig


class EndlessLoader:
    """Epoch after epoch of a loader, as one iterable without length.

    Its place is that of the optimiser: batches that are handed out but not trained on come again.

    Args:
        loader: of one epoch, with ``set_epoch`` and a place.
        trainer: counts the steps.
    """

    def __init__(self, loader: Any, trainer: L.Trainer) -> None:
        self.loader, self.trainer, self.epoch = loader, trainer, 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.loader.set_epoch(self.epoch)
            yield from self.loader
            self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """Epoch and batch of the next step."""
        batches = self.trainer.global_step * self.trainer.accumulate_grad_batches
        epoch, batch = divmod(batches, len(self.loader))
        return {**self.loader.state_dict(), "epoch": epoch, "batch": batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place."""
        self.epoch = int(state["epoch"])
        self.loader.load_state_dict(state)


class EndlessData(L.LightningDataModule):
    """A data module whose training batches never end.

    Args:
        shards: the data module of the stage.
    """

    def __init__(self, shards: Shards) -> None:
        super().__init__()
        self.shards = shards

    def setup(self, stage: str) -> None:
        self.shards.trainer = self.trainer
        self.shards.setup(stage)

    def train_dataloader(self) -> EndlessLoader:
        assert self.trainer is not None
        return EndlessLoader(self.shards.train_dataloader(), self.trainer)

    def val_dataloader(self) -> Any:
        return self.shards.val_dataloader()

    def failures(self) -> dict[str, int]:
        """Reason -> bad samples met so far in this process and its workers."""
        return self.shards.failures()


def build_data(config: RunConfig, index: ShardIndex, places: list[str], whisper: bool) -> Shards:
    """The stage's data module.

    Args:
        config: of the run.
        index: of the first set.
        places: folders or addresses of the sets.
        whisper: whether batches need Whisper's features.
    """
    loader: Any = config.loader
    common: dict[str, Any] = {
        "batch_size": loader.batch_size,
        "workers": loader.workers,
        "share_shards": loader.share_shards,
        "seed": config.seed,
        "layout": index.layout.name,
        "epoch_batches": config.trainer.val_every * config.trainer.accumulate_grad_batches,
    }
    if config.stage < 3:
        return AudioShards(places, window=loader.frames, teacher=whisper, **common)
    model, recipe = config.model, config.recipe  # type: ignore[attr-defined]
    if hasattr(config, "renderer"):
        from datamodules.loading.refiner_datamodule import RefinedShards

        return RefinedShards(places, crop=recipe.crop, sources=recipe.sources, **common)
    return VideoShards(places, size=model.image_size * model.output_scale, **common)
