"""Speed and memory of training steps of each stage.

python -m benchmarks speed [debug|cpu|paper]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import torch

from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.layers.temporal import parameter_count
from emo_lightning.training.base import Noise, StageModule, TrainingContext, sizes_of
from emo_lightning.training.config import load_config
from emo_lightning.training.decoupler import DecouplerModule
from emo_lightning.training.motion import MotionModule
from emo_lightning.training.renderer import RendererModule

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
WARM, STEPS = 2, 8


def main(arguments: list[str]) -> None:
    """Print the table for a size, ``cpu`` by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed", description=__doc__)
    parser.add_argument("size", nargs="?", default="cpu", choices=("debug", "cpu", "paper"))
    size = parser.parse_args(arguments).size
    print(f"one thread, {STEPS} steps each, size {size}\n")
    print(
        "| stage | product, M parameters | all, M | batch | s/step | process memory, MB "
        "|\n|---|---|---|---|---|---|"
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for number in (1, 2, 3):
        config = load_config(
            EXPERIMENTS / f"stage{number}.yaml",
            [f"size={size}", "data=-", *(["decoupler=-"] if number == 2 else [])],
        )
        stage = build(config)
        seconds = time_step(stage, batch(config))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        product, everything = parameter_count(stage.network) / 1e6, parameter_count(stage) / 1e6
        print(
            f"| {number} | {product:.2f} | {everything:.2f} | {config.loader.batch_size} | "
            f"{seconds:.3f} | {memory:.0f} |",
            flush=True,
        )
    torch.set_num_threads(threads)


def build(config: Any) -> StageModule:
    """The stage with fresh weights, a fresh decoupler before it."""
    context = TrainingContext(BUILTIN, config.seed)
    common = (config.model, config.loss, config.recipe, config.optim, context)
    if config.stage == 3:
        config.recipe.gan_start = 0
        return RendererModule(*common)
    if config.stage == 1:
        return DecouplerModule(*common)
    before: Any = load_config(EXPERIMENTS / "stage1.yaml", [f"size={config.size}", "data=-"])
    return MotionModule(*common, AudioDecoupler(sizes_of(DecouplerConfig, before.model)))


def batch(config: Any) -> dict[str, Any]:
    """A random batch of the stage's shapes."""
    draw = torch.Generator().manual_seed(0)
    b, t = config.loader.batch_size, config.loader.frames
    if config.stage == 3:
        s = config.model.image_size * config.model.output_scale
        images = {
            name: torch.rand(b, 3, s, s, generator=draw)
            for name in ("source_image", "driving_image")
        }
        return images | {
            name: 0.1 * torch.randn(b, 27, BUILTIN.size, generator=draw)
            for name in ("source_coeffs", "driving_coeffs")
        }
    blocks = {
        name: 0.1 * torch.randn(b, t, width, generator=draw) for name, width in BUILTIN.widths
    }
    labels = {
        "emotion": torch.arange(b) % 8,
        "level": torch.full((b,), 8.0),
        "intensity": torch.full((b,), 2),
    }
    sound = {
        "mel": torch.randn(b, 4 * t, 80, generator=draw) - 6.0,
        "au": torch.rand(b, t, 17, generator=draw),
    }
    source = 0.1 * torch.randn(b, BUILTIN.size, generator=draw)
    frames = {
        "mask": torch.ones(b, t, dtype=torch.bool),
        "phone": torch.ones(b, t, dtype=torch.int64),
    }
    return blocks | labels | sound | frames | {"source": source}


def time_step(stage: StageModule, example: dict[str, Any]) -> float:
    """Seconds of forward, backward and update, the mean after a warm-up; with the discriminator."""
    optimizer, noise = torch.optim.AdamW(stage.parameters(), lr=1e-5), Noise(stage.device, 0)
    start = 0.0
    for step in range(WARM + STEPS):
        if step == WARM:
            start = time.perf_counter()
        optimizer.zero_grad()
        stage.objective(stage.losses(example, noise)[0]).backward()
        optimizer.step()
    return (time.perf_counter() - start) / STEPS
