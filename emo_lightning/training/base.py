"""Base of the stages: configuration, reproducible noise, optimiser, logging and checkpoint
metadata."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

import lightning as L
import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.checkpoint_io import FORMAT, META_KEY
from emo_lightning.training.config import OptimConfig

Batch = dict[str, Any]
C = TypeVar("C")
FINAL_RATE = 0.1
"""Learning rate at the end of the cosine, as a share of the highest."""


@dataclass
class TrainingContext:
    """Facts of a run that are not configuration.

    Attributes:
        layout: coefficient layout of the data.
        seed: of the run.
        predecessor: fingerprint of the weights that the stage builds on, or None.
        provenance: plain values that go into checkpoints.
    """

    layout: Layout
    seed: int = 0
    predecessor: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Plain containers; :func:`as_context` is the inverse."""
        return {**vars(self), "layout": self.layout.to_dict()}


class Noise:
    """Standard normal numbers for one step, drawn on the device.

    They depend on the numbers given and the order of the calls only, so a resumed run repeats them.
    """

    def __init__(self, device: torch.device, *numbers: int) -> None:
        self.device, state = device, 0
        for value in numbers:
            state = (state * 1_000_003 + value) % 2**63
        try:
            self._generator: torch.Generator | None = torch.Generator(device).manual_seed(state)
        except RuntimeError:  # the meta device has no numbers
            self._generator = None

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator, device=self.device)


class StageModule(L.LightningModule):
    """Base of the stages; a subclass implements :meth:`losses` and :meth:`validation_metrics`.

    Configurations may be given as dataclasses or, as ``load_from_checkpoint`` does, as plain
    mappings.

    Attributes:
        number, product: stage, and name of its network in files.
        network_name: attribute that holds the exported network.
        monitor: metric, lower is better, that decides which checkpoint is the best; no weight of a
            loss is part of it.
        needs_whisper: whether batches must hold features of Whisper, ``whisper``.
    """

    number: int
    product: str
    network_name: str
    monitor: str
    needs_whisper = False

    def __init__(self, model: Any, loss: Any, recipe: Any, optim: Any, context: Any) -> None:
        super().__init__()
        self.model_config, self.loss, self.recipe = model, loss, recipe
        self.optim, self.context = as_config(OptimConfig, optim), as_context(context)
        self.weights: dict[str, float] = asdict(loss)
        self.save_hyperparameters(
            {
                "model": asdict(model),
                "loss": asdict(loss),
                "recipe": asdict(recipe),
                "optim": asdict(self.optim),
                "context": self.context.to_plain(),
            }
        )

    @property
    def network(self) -> nn.Module:
        """The exported network."""
        return getattr(self, self.network_name)

    def compiled_networks(self) -> list[nn.Module]:
        """Networks that ``trainer.compile`` applies to."""
        return [self.network]

    def losses(self, batch: Batch, noise: Noise) -> tuple[dict[str, Tensor], Any]:
        """Every part of the loss, unweighted, and the network's output."""
        raise NotImplementedError

    def validation_metrics(
        self, batch: Batch, parts: dict[str, Tensor], output: Any
    ) -> dict[str, Tensor]:
        """Metrics of a validation batch, :attr:`monitor` among them."""
        raise NotImplementedError

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of the parts that have a weight."""
        return weighted_sum(parts, self.weights)

    def objective(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The scalar that training minimises; with an adversary, of both players."""
        return self.total(parts)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        noise = Noise(self.device, self.context.seed, batch_idx, self.global_rank)
        parts, _ = self.losses(batch, noise)
        self.log_parts("train", {"loss": self.total(parts), **parts}, batch)
        detached = {name: value.detach() for name, value in parts.items()}
        return {"loss": self.objective(parts), "parts": detached}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        parts, output = self.losses(batch, Noise(self.device, self.context.seed, batch_idx))
        metrics = self.validation_metrics(batch, parts, output)
        self.log_parts("val", {"loss": self.total(parts), **parts, **metrics}, batch)

    def log_parts(self, split: str, values: Mapping[str, Tensor], batch: Batch) -> None:
        """Log values as ``split/name``: per step in training, the mean over ranks in validation."""
        size = next(len(value) for value in batch.values() if isinstance(value, Tensor))
        self.log_dict(
            {f"{split}/{name}": value.detach() for name, value in values.items()},
            on_step=split == "train",
            on_epoch=split == "val",
            batch_size=size,
            sync_dist=split == "val",
        )

    def progress(self) -> float:
        """Share of the training that is done, 0..1; 1 outside of training."""
        if not self.training or not self.is_attached:
            return 1.0
        return self.global_step / max(self.trainer.max_steps, 1)

    @property
    def is_attached(self) -> bool:
        """Whether a trainer runs the module."""
        try:
            return self.trainer is not None
        except RuntimeError:
            return False

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups: ``name``, ``params``, ``lr``, ``start`` (first step of the schedule)."""
        params = [p for p in self.parameters() if p.requires_grad]
        return [
            {"name": self.network_name, "params": params, "lr": self.model_config.lr, "start": 0}
        ]

    def configure_optimizers(self) -> dict[str, Any]:
        groups = self.parameter_groups()
        # A fused optimiser unscales gradients itself, after they were clipped: not with a scaler.
        fused = self.device.type == "cuda" and self.trainer.precision != "16-mixed"
        optimizer = torch.optim.AdamW(
            groups, weight_decay=self.optim.weight_decay, betas=(0.9, 0.98), fused=fused or None
        )
        steps, warm = self.trainer.max_steps, self.optim.warmup_steps
        factors = [warmup_cosine(steps - group["start"], warm, group["start"]) for group in groups]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip and log the gradient norm of each group by itself."""
        for group in optimizer.param_groups:
            norm = nn.utils.clip_grad_norm_(group["params"], gradient_clip_val or math.inf)
            self.log(f"train/grad_norm_{group['name']}", norm)

    def meta(self) -> dict[str, Any]:
        """Metadata of a checkpoint and of the exported network; plain values."""
        return {
            "format": FORMAT,
            "stage": self.number,
            "product": self.product,
            "model": asdict(self.network_config()),
            "layout": self.context.layout.to_dict(),
            "predecessor": self.context.predecessor,
            "provenance": self.context.provenance,
        }

    def network_config(self) -> Any:
        """Configuration of the exported network alone."""
        return self.network.config

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[META_KEY] = {**self.meta(), "prefix": f"{self.network_name}."}


def as_config(cls: Callable[..., C], value: Any) -> C:
    """A configuration given as such or as a plain mapping."""
    return cls(**value) if isinstance(value, Mapping) else value


def as_context(value: Any) -> TrainingContext:
    """A context given as such or as a plain mapping."""
    if isinstance(value, TrainingContext):
        return value
    return TrainingContext(**{**value, "layout": Layout.from_dict(value["layout"])})


def sizes_of(cls: Callable[..., C], config: Any) -> C:
    """The fields of ``cls`` out of a configuration that extends it."""
    return cls(**{entry.name: getattr(config, entry.name) for entry in fields(cls)})  # type: ignore[arg-type]


def warmup_cosine(steps: int, warmup: int, start: int = 0) -> Callable[[int], float]:
    """Factor of the learning rate by step: linear warm-up from ``start``, then a cosine."""
    steps, warmup = max(steps, 1), max(warmup, 1)

    def factor(step: int) -> float:
        step = max(step - start, 0)
        if step < warmup:
            return (step + 1) / warmup
        share = min((step - warmup) / max(steps - warmup, 1), 1.0)
        return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * share))

    return factor


def weighted_sum(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of the parts by their weights; a part without a weight does not count."""
    return torch.stack(
        [weights[name] * value for name, value in parts.items() if name in weights]
    ).sum()
