"""The data module of a run; its training stream is endless and resumable."""

from __future__ import annotations

from typing import Any

from datamodules.loading.datamodule import AudioShards, Shards, VideoShards
from datamodules.shards.index import ShardIndex
from emo_lightning.training.config import RunConfig


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
    }
    if config.stage < 3:
        return AudioShards(places, window=loader.frames, teacher=whisper, **common)
    model, recipe = config.model, config.recipe  # type: ignore[attr-defined]
    if hasattr(config, "renderer"):
        from datamodules.loading.refiner_datamodule import RefinedShards

        return RefinedShards(places, crop=recipe.crop, sources=recipe.sources, **common)
    return VideoShards(places, size=model.image_size * model.output_scale, **common)
