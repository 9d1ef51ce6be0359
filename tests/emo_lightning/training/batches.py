"""Random batches of each stage's shapes, and stages at their smallest size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.training.base import StageModule, TrainingContext, sizes_of
from emo_lightning.training.config import RunConfig, load_config

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
MESH = ["model.mesh_keypoints=100", "model.flow_resolution=16", "model.output_scale=2"]
MESH += ["recipe.crop=24", "loss.paint=1", "recipe.color_jitter=1", "recipe.gan_start=0"]
STAGES = {
    "1": ("stage1", []),
    "2": ("stage2", ["decoupler=-"]),
    "3": ("stage3", []),
    "3 mesh": ("stage3", MESH),
    "refined": ("stage3_refined", ["loss.gan=0.1", "recipe.gan_start=0", "recipe.crop=32"]),
}
"""Experiment and overrides by name."""


def config_of(name: str, *words: str) -> RunConfig:
    """A stage's configuration at size debug."""
    file, extra = STAGES[name]
    given = ["size=debug", "data=-", *extra, *words]
    return load_config(EXPERIMENTS / f"{file}.yaml", given)


def stage_of(config: Any) -> StageModule:
    """The stage with fresh weights."""
    torch.manual_seed(0)
    context = TrainingContext(BUILTIN, config.seed)
    common = (config.model, config.loss, config.recipe, config.optim, context)
    if config.stage == 1:
        from emo_lightning.training.decoupler import DecouplerModule

        return DecouplerModule(*common)
    if config.stage == 2:
        from emo_lightning.training.motion import MotionModule

        before: Any = config_of("1")
        return MotionModule(*common, AudioDecoupler(sizes_of(DecouplerConfig, before.model)))
    if hasattr(config, "renderer"):
        from emo_lightning.training.refiner import RefinerModule

        return RefinerModule(*common)
    from emo_lightning.training.renderer import RendererModule

    return RendererModule(*common)


def batch_of(config: Any, size: int = 4) -> dict[str, Any]:
    """A random batch."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    keys = {"key": [f"clip-{n}" for n in range(size)]}
    if hasattr(config, "renderer"):
        side = config.recipe.crop
        cells = side // 2
        return keys | {
            "still": normal(size, 6, 32, 32).sigmoid(),
            "frame": normal(size, 3, side, side).sigmoid(),
            "target": normal(size, 3, side, side).sigmoid(),
            "flow": normal(size, cells, cells, 2).tanh(),
            "moving": normal(size, 6, cells, cells).sigmoid(),
            "condition": normal(size, 59),
        }
    if config.stage == 3:
        side = config.model.image_size * config.model.output_scale
        images = {
            name: (255 * normal(size, 3, side, side).sigmoid()).byte()
            for name in ("source_image", "driving_image")
        }
        windows = {
            name: 0.1 * normal(size, 27, BUILTIN.size)
            for name in ("source_coeffs", "driving_coeffs")
        }
        return keys | images | windows
    frames = config.loader.frames
    blocks = {name: 0.1 * normal(size, frames, width) for name, width in BUILTIN.widths}
    blocks["exp"] = blocks["exp"].abs()
    for name in ("angle", "trans"):
        blocks[name] = 0.1 * blocks[name]
    return (
        keys
        | blocks
        | {
            "mel": normal(size, 4 * frames, 80) - 6.0,
            "au": normal(size, frames, 17).sigmoid(),
            "emotion": torch.arange(size) % 8,
            "level": torch.full((size,), 8.0),
            "intensity": torch.full((size,), 2),
            "source": 0.1 * normal(size, BUILTIN.size),
            "mask": torch.ones(size, frames, dtype=torch.bool),
            "phone": torch.ones(size, frames, dtype=torch.int64),
        }
    )
