"""Stage 1: the audio decoupler, trained by the figure's AU contrast and by what content must keep of speech.

Batch (B windows of T frames): ``mel`` (B, 4T, 80), ``au`` (B, T, 17), ``exp`` (B, T, E), ``emotion``, ``level``,
``intensity`` (B,), ``mask`` (B, T) bool.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.emotions import EMOTIONS
from emo_lightning.losses.adversary import reverse_gradient
from emo_lightning.losses.contrast import au_contrast, emotion_units
from emo_lightning.losses.masked import articulation, away_from_edges, known_levels, masked_mean, prototype_table, smooth_l1, velocity
from emo_lightning.models.decoupler import AudioDecoupler, DecouplerConfig, DecouplerOutput
from emo_lightning.models.layers import mlp
from emo_lightning.stages.augment import DRAWS, augment
from emo_lightning.stages.base import OptimConfig, Stage, StageContext


@dataclass
class Stage1Model(DecouplerConfig):
    """The decoupler's sizes and the learning rate."""

    lr: float = 1e-3


@dataclass
class Stage1Loss:
    """Weights. ``contrast`` alone is the figure's; the rest is ours. 0 leaves a part out, as an ablation does."""

    contrast: float = 1.0
    """AU(P) of low positive, AU(P) of high negative, against AU(T)."""
    au: float = 1.0
    """AU(P) of low is AU(T): the contrast alone leaves the scale open."""
    speech: float = 10.0
    """Content predicts the articulation, so that it carries speech."""
    speech_velocity: float = 5.0
    adversary: float = 0.3
    """Strength of the reversed gradient of a classifier of emotion on content; at 0 the classifier only watches."""
    augment: bool = True
    """Train on sound changed as other voices, microphones and rooms would."""
    temperature: float = 0.05
    levels: str = "fine"
    """``fine`` uses fine labels, ``annotated`` the three intensities alone."""


class DecouplerStage(Stage):
    """Trains :class:`AudioDecoupler`; its read-outs of speech and emotion serve training alone."""

    number, product = 1, "decoupler"
    units: Tensor
    prototypes: Tensor

    def __init__(self, model: Stage1Model, loss: Stage1Loss, optim: OptimConfig, context: StageContext) -> None:
        super().__init__(model, loss, optim, context)
        self.loss = loss
        sizes = {f.name: getattr(model, f.name) for f in fields(DecouplerConfig)}
        self.decoupler = self.trained = AudioDecoupler(DecouplerConfig(**sizes))
        self.speech_readout = nn.Linear(model.content, context.layout.width("exp"))
        # Normalised, so that content cannot hide from the classifier by shrinking.
        self.emotion_probe = nn.Sequential(nn.BatchNorm1d(2 * model.content, affine=False), mlp([2 * model.content, 128, len(EMOTIONS)]))
        self.register_buffer("units", emotion_units(), persistent=False)
        self.register_buffer("prototypes", prototype_table(context.layout), persistent=False)

    def meta(self) -> dict[str, Any]:
        sizes = {f.name for f in fields(DecouplerConfig)}
        return {**super().meta(), "model": {k: v for k, v in asdict(self.model_config).items() if k in sizes}}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.loss.augment:
            batch = {**batch, "mel": augment(batch["mel"], self.draw(len(batch["mel"]), DRAWS))}
        parts, _ = self.parts(batch)
        # The classifier itself always learns at full rate; the weight is in the gradient that it sends back.
        total = self.total(parts) + parts["adversary"]
        self.note("train", {"loss": total, **parts}, len(batch["mel"]))
        return total

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        parts, out = self.parts(batch)
        mask = away_from_edges(batch["mask"], self.decoupler.reach.past, self.decoupler.reach.future)
        gauges = {
            "au_low_error": masked_mean((out.au_low - batch["au"]).abs(), mask),
            "au_high_error": masked_mean((out.au_high - batch["au"]).abs(), mask),
        }
        self.note("val", {"loss": self.total(parts), **parts, **gauges}, len(batch["mel"]))

    def parts(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], DecouplerOutput]:
        """Every part of the loss, unweighted, and the network's output."""
        out: DecouplerOutput = self.decoupler(batch["mel"])
        mask = away_from_edges(batch["mask"], self.decoupler.reach.past, self.decoupler.reach.future)
        level = known_levels(batch["level"], batch["intensity"], batch["emotion"], self.loss.levels == "fine")
        target = articulation(batch["exp"], batch["emotion"], level, self.prototypes)
        said = self.speech_readout(out.content)
        guess = self.emotion_probe(_statistics(reverse_gradient(out.content, self.loss.adversary), mask))
        parts = {
            "contrast": au_contrast(out.au_low, out.au_high, batch["au"], mask, self.units, self.loss.temperature),
            "au": smooth_l1(out.au_low, batch["au"], mask),
            "speech": smooth_l1(said, target, mask),
            "speech_velocity": velocity(said, target, mask),
            "adversary": F.cross_entropy(guess, batch["emotion"]),
        }
        return parts, out

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """The weighted sum, the classifier apart."""
        weights = asdict(self.loss)
        return torch.stack([weights[name] * value for name, value in parts.items() if name != "adversary"]).sum()

    def configure_optimizers(self) -> dict[str, Any]:
        return self.adamw(self.parameters(), self.model_config.lr)


def _statistics(content: Tensor, mask: Tensor) -> Tensor:
    """Mean and standard deviation of ``(B, T, C)`` over the frames that count, ``(B, 2 C)``."""
    share = mask[..., None].float() / mask.sum(dim=1).clamp_min(1)[:, None, None]
    mean = (content * share).sum(dim=1)
    variance = ((content - mean[:, None]).square() * share).sum(dim=1)
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)
