"""What the three stages share: plain hyperparameters, a generator that makes resuming exact, and what a checkpoint says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.checkpoint_io import FORMAT, META_KEY


@dataclass
class OptimConfig:
    """AdamW and its schedule: a linear warm-up, then a cosine to a tenth."""

    weight_decay: float = 0.01
    warmup_steps: int = 50
    clip: float = 1.0
    """Largest norm of the gradient."""


@dataclass
class TrainingContext:
    """What a stage must know besides its own configuration.

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


class StageModule(L.LightningModule):
    """Base of the three stages.

    A subclass sets :attr:`number`, :attr:`product` (its name in checkpoints) and :attr:`trained`, the module it exports.
    """

    number: int
    product: str
    trained: nn.Module
    taught = False
    """Whether batches must bring a teacher's features, ``whisper``."""

    def __init__(self, model: Any, loss: Any, optim: OptimConfig, context: TrainingContext) -> None:
        super().__init__()
        self.context, self.optim, self.model_config = context, optim, model
        # Plain containers alone: anything else cannot be read back without running code.
        self.save_hyperparameters(
            {"model": asdict(model), "loss": asdict(loss), "optim": asdict(optim)}
        )

    def draw(self, *shape: int) -> Tensor:
        """Standard normal numbers that depend on seed, step, rank and call order alone, so a resumed run repeats them."""
        return torch.randn(*shape, generator=self._generator).to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._generator = torch.Generator().manual_seed(
            (self.context.seed * 1_000_003 + self.global_step) * 1_009 + self.global_rank
        )

    def on_validation_batch_start(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._generator = torch.Generator().manual_seed(self.context.seed * 1_000_003 + batch_idx)

    def meta(self) -> dict[str, Any]:
        """What a checkpoint says of itself; plain values."""
        return {
            "format": FORMAT,
            "stage": self.number,
            "product": self.product,
            "model": asdict(self.model_config),
            "layout": self.context.layout.to_dict(),
            "predecessor": self.context.predecessor,
            "provenance": self.context.provenance,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[META_KEY] = {**self.meta(), "prefix": self._prefix()}

    def _prefix(self) -> str:
        return next(name for name, module in self.named_modules() if module is self.trained) + "."

    def note(self, part: str, values: dict[str, Tensor], batch_size: int) -> None:
        """Log a part's (``train`` or ``val``) values under its name."""
        named = {f"{part}/{name}": value.detach() for name, value in values.items()}
        self.log_dict(
            named,
            on_step=part == "train",
            on_epoch=part == "val",
            batch_size=batch_size,
            sync_dist=part == "val",
        )

    def adamw(self, parameters: Any, lr: float, start: int = 0) -> dict[str, Any]:
        """AdamW with warm-up and cosine over the run's steps from ``start`` on, in Lightning's form."""
        optimizer = torch.optim.AdamW(
            parameters, lr=lr, weight_decay=self.optim.weight_decay, betas=(0.9, 0.98)
        )
        total, warm = (
            max(int(self.trainer.estimated_stepping_batches) - start, 1),
            max(self.optim.warmup_steps, 1),
        )

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            progress = min((step - warm) / max(total - warm, 1), 1.0)
            return 0.55 + 0.45 * float(torch.cos(torch.tensor(progress * torch.pi)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def weighted_sum(parts: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Sum of the parts that have a weight."""
    return torch.stack([weights[name] * value for name, value in parts.items()]).sum()
