"""A step of every stage stays on its device, seldom waits for it, and works in low precision."""

from __future__ import annotations

import traceback
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from emo_lightning.training.base import Noise, StageModule
from emo_lightning.training.callbacks import FiniteGuard, averaging_callbacks
from tests.emo_lightning.models.test_devices import OneDevice
from tests.emo_lightning.training.batches import STAGES, batch_of, config_of, stage_of
from tests.emo_lightning.training.test_stages import loader

WAITS_A_STEP = {"plain": 1, "averaged": 3}
"""The finite guard's one; PyTorch's AveragedModel asks twice whether it has begun."""


def step(stage: StageModule, batch: dict[str, Any]) -> Tensor:
    """Forward and backward of one training step; the loss."""
    batch = stage.on_after_batch_transfer(batch, 0)
    if stage.number == 1:
        stage.decoupler.leace.add_moments(stage.leace_moments(batch))
        stage.decoupler.leace.solve()
    parts, output = stage.losses(batch, Noise(stage.device, 0))
    loss = stage.objective(parts)
    loss.backward()
    stage.eval()
    with torch.no_grad():
        parts, output = stage.losses(batch, Noise(stage.device, 0))
        stage.validation_metrics(batch, parts, output)
    stage.train()
    return loss.detach()


def on(device: str, batch: dict[str, Any]) -> dict[str, Any]:
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("name", list(STAGES))
def test_a_step_mixes_no_devices_and_waits_for_none(
    name: str, autocast: torch.dtype | None
) -> None:
    config = config_of(name)
    stage, batch = stage_of(config).to("meta"), on("meta", batch_of(config))
    if name.startswith(("3", "refined")):
        stage.perceptual.module.to("meta")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast is not None):
        with OneDevice("meta"):
            step(stage, batch)


class Planted(nn.Module):
    """A network that makes a constant on the CPU."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def forward(self, image: Tensor, *rest: Tensor) -> Any:
        return self.network(image + torch.zeros(3)[:, None, None], *rest)


def test_a_planted_constant_is_found() -> None:
    config = config_of("3")
    stage = stage_of(config)
    stage.renderer = Planted(stage.renderer)
    stage, batch = stage.to("meta"), on("meta", batch_of(config))
    with OneDevice("meta"), pytest.raises(AssertionError, match="mixes"):
        step(stage, batch)


class WaitCounter(TorchDispatchMode):
    """Counts what would wait for a device, without optimisers, whose counters stay on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = func.__name__.split(".")[0]
        tensors = [t for t in tree_leaves(args) if isinstance(t, Tensor)]
        masked = name.startswith("index") and any(t.dtype == torch.bool for t in tensors[1:])
        if name in OneDevice.WAITS or masked:
            frames = traceback.extract_stack()
            if not any("/torch/optim/" in f.filename for f in frames if "swa" not in f.filename):
                place = next(f for f in reversed(frames) if f.filename != __file__)
                self.found[f"{Path(place.filename).name}:{place.lineno}"] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", list(STAGES))
@pytest.mark.parametrize("kind", list(WAITS_A_STEP))
def test_waits_of_a_step_are_few(name: str, kind: str, tmp_path: Path) -> None:
    config = config_of(name)
    stage, batch = stage_of(config), batch_of(config)
    counts: list[int] = []
    counter = WaitCounter()

    class Count(L.Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            counts.append(counter.found.total())

    averaging = averaging_callbacks(0.9) if kind == "averaged" else []
    trainer = L.Trainer(
        max_steps=4, accelerator="cpu", logger=False, enable_checkpointing=False,
        callbacks=[Count(), FiniteGuard(tmp_path), *averaging], enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    with counter:
        trainer.fit(stage, loader(batch, 4))
    most = max(after - before for before, after in pairwise(counts[1:]))
    assert most <= WAITS_A_STEP[kind], counter.found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", list(STAGES))
def test_every_stage_steps_in_low_precision(name: str, dtype: torch.dtype) -> None:
    config = config_of(name)
    stage, batch = stage_of(config), batch_of(config)
    exact = step(stage, batch)
    stage.zero_grad()
    with torch.autocast("cpu", dtype=dtype):
        loss = step(stage, batch)
    gradients = [p.grad for p in stage.parameters() if p.grad is not None]
    assert gradients and all(bool(torch.isfinite(g).all()) for g in gradients)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=0.05)
