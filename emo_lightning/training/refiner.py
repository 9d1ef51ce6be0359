"""Stage 3's other renderer: a network that refines frames of the geometric renderer.

Batch: ``still`` (B, 6, h, h), ``frame`` and ``target`` (B, 3, H, H) in 0..1,
``flow`` (B, H / 2, H / 2, 2), ``moving`` (B, 6, H / 2, H / 2), ``condition`` (B, n). ``target`` is
the true frame, aligned to the geometric renderer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.core.errors import UserError
from emo_lightning.losses.perceptual import PyramidLoss
from emo_lightning.models.renderer.refiner import (
    CELL,
    FACE,
    STRIDE,
    Refiner,
    RefinerConfig,
    Repair,
)
from emo_lightning.training.base import Batch, Noise, as_config, as_context, sizes_of
from emo_lightning.training.config import Rule, RunConfig, number
from emo_lightning.training.gan import AdversarialStage
from emo_lightning.training.renderer import BACKBONES

REGIONS = ((0.0, 0.77, 0.22), (-0.31, 0.02, 0.16), (0.31, 0.02, 0.16))
"""Centre (x, y) and radius, in inter-ocular distances on the mean face, of mouth and eyes."""
INNER_MOUTH = 0.1
"""Weight of colour and gradient losses inside the mouth, where they would give the mean of all
teeth."""
CORRECT = 0.03
"""Error of a pixel in 0..1 up to which the geometric renderer counts as correct."""


@dataclass
class RefinerModel(RefinerConfig):
    """Sizes of the refiner and the discriminator, and their optimisation."""

    lr: float = 1e-3
    """Highest learning rate of the refiner."""
    discriminator_lr: float = 1e-3
    """Highest learning rate of the discriminator."""
    ema_decay: float = 0.995
    """Decay of the moving average of the weights that is validated and exported; 0 for none."""
    discriminator_width: int = 16
    """Channels of the discriminator's first layer."""
    discriminator_layers: int = 3
    """Strided layers of the discriminator."""
    discriminator_scales: int = 1
    """Image scales of the discriminator."""


@dataclass
class RefinerLoss:
    """Weights of the losses, ours; 0 removes one."""

    pixel: float = 5.0
    """L1 of the pixels."""
    pyramid: float = 5.0
    """L1 of colours and gradients at four scales."""
    perceptual: float = 0.5
    """Perceptual loss by recipe.backbone."""
    roi_weight: float = 3.0
    """Additional weight of pixels at mouth and eyes in the pixel loss."""
    change: float = 1.0
    """L1 of changes where the geometric renderer is correct."""
    gan: float = 0.0
    """Hinge loss of the generator."""
    feature_matching: float = 0.0
    """L1 of the discriminator's features."""


@dataclass
class RefinerRecipe:
    """Training options that are not weights."""

    backbone: str = "auto"
    """Network of the perceptual loss: auto, vgg19, inception, stlpips or pyramid."""
    perceptual_weights: str | None = None
    """File with torchvision's VGG-19 weights."""
    gan_start: int = 0
    """Step at which the adversarial loss starts."""
    crop: int = 128
    """Side of the training crops, pixels; a multiple of 8."""
    sources: int = 3
    """Frames of each clip that serve as portraits."""


@dataclass
class RefinerRun(RunConfig):
    """A run of stage 3's other renderer."""

    rules: ClassVar[Mapping[str, Rule]] = {
        "model.*": number(1),
        "model.blocks": number(0),
        "model.discriminator_lr": number(0, above=True),
        "model.ema_decay": number(0, 0.99999),
        "recipe.backbone": BACKBONES,
        "recipe.gan_start": number(0),
        "recipe.crop": number(32, 1024),
        "recipe.sources": number(1),
    }

    renderer: str = "refined"
    """Chooses this renderer."""
    heads: str | None = None
    """Stage 2's networks, recorded as predecessor and checked for the layout; optional."""
    model: RefinerModel = field(default_factory=RefinerModel)
    loss: RefinerLoss = field(default_factory=RefinerLoss)
    recipe: RefinerRecipe = field(default_factory=RefinerRecipe)

    def check(self) -> None:
        super().check()
        if self.recipe.crop % STRIDE:
            raise UserError("recipe.crop", self.recipe.crop, f"a multiple of {STRIDE}")


class RefinerOutput(NamedTuple):
    """Refined frame, and face and region weights ``(B, 1, H, H)``."""

    made: Repair
    face: Tensor
    regions: Tensor


class RefinerModule(AdversarialStage):
    """Trains :class:`Refiner`."""

    number, product, network_name, monitor = 3, "refiner", "refiner", "val/pyramid"

    def __init__(
        self,
        model: Any,
        loss: Any,
        recipe: Any,
        optim: Any,
        context: Any,
        perceptual: nn.Module | None = None,
    ) -> None:
        model, loss = as_config(RefinerModel, model), as_config(RefinerLoss, loss)
        recipe, context = as_config(RefinerRecipe, recipe), as_context(context)
        super().__init__(model, loss, recipe, optim, context, perceptual or PyramidLoss())
        self.refiner = Refiner(sizes_of(RefinerConfig, model), context.layout)
        self.pyramid = PyramidLoss()

    def forward(
        self, frame: Tensor, still: Tensor, flow: Tensor, moving: Tensor, condition: Tensor
    ) -> Repair:
        """Refine frames; see :class:`Refiner` for the shapes."""
        return self.refiner(frame, self.refiner.prepare(still), flow, moving, condition)

    def refine(self, batch: Batch) -> Repair:
        """Refine the frames of a batch."""
        return self(*(batch[k] for k in ("frame", "still", "flow", "moving", "condition")))

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> Tensor:
        """Refined frames ``(B, 3, H, H)``."""
        return self.refine(batch).image

    def losses(self, batch: Batch, noise: Noise) -> tuple[dict[str, Tensor], RefinerOutput]:
        made, real = self.refine(batch), batch["target"]
        face, regions = self.region_weights(batch)
        weight = 1.0 + self.loss.roi_weight * regions
        correct = torch.exp(-(batch["frame"] - real).abs().mean(dim=1, keepdim=True) / CORRECT)
        # Where nothing can change, the true frame would only be noise in the losses.
        seen = made.image + (real - made.image) * (1.0 - face)
        inner = enlarge(batch["moving"][:, :1])
        determined = 1.0 - (1.0 - INNER_MOUTH) * inner
        parts = {
            "pixel": ((seen - real).abs() * weight * determined).mean(),
            "pyramid": self.pyramid(real + (seen - real) * determined, real),
            "change": ((made.image - batch["frame"]).abs() * correct).mean(),
        }
        if self.loss.perceptual:
            parts["perceptual"] = self.perceptual(seen, real)
        return parts | self.adversarial_losses(real, seen), RefinerOutput(made, face, regions)

    def validation_metrics(
        self, batch: Batch, parts: dict[str, Tensor], output: RefinerOutput
    ) -> dict[str, Tensor]:
        """PSNR, dB, of the refined frame and of the geometric renderer's, on face and regions."""
        made, face, regions = output
        metrics, real = {"mask_mean": made.mask.mean()}, batch["target"]
        for name, where in (("face", face), ("regions", regions)):
            metrics[f"psnr_{name}"] = weighted_psnr(made.image, real, where)
            metrics[f"psnr_{name}_mesh"] = weighted_psnr(batch["frame"], real, where)
        return metrics

    def region_weights(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Weights ``(B, 1, H, H)``: the face that may change, and its mouth and eyes."""
        still, options = (
            batch["still"][:, FACE - 2 :],
            {"padding_mode": "border", "align_corners": False},
        )
        planes = F.grid_sample(still, batch["flow"], **options)
        position, face = planes[:, :2], planes[:, 2:]
        near = []
        for x, y, radius in REGIONS:
            centre = torch.stack([position[:, 0] - x, position[:, 1] - y], dim=1)
            near.append(torch.exp(-centre.square().sum(1, keepdim=True) / radius**2))
        both = torch.cat([face, torch.stack(near).amax(0) * face], dim=1)
        if not self.refiner.config.inner_mouth:
            both = both * (1.0 - batch["moving"][:, :1])
        both = enlarge(both)
        return both[:, :1], both[:, 1:]


def enlarge(cells: Tensor) -> Tensor:
    """Values of cells, at the pixels."""
    return F.interpolate(cells, scale_factor=float(CELL), mode="bilinear", align_corners=False)


def weighted_psnr(made: Tensor, real: Tensor, weight: Tensor) -> Tensor:
    """Peak signal to noise ratio, dB, of the images' mean squared error under ``(B, 1, H, H)``."""
    error = ((made - real).square().mean(dim=1, keepdim=True) * weight).sum(dim=(1, 2, 3))
    mean = (error / weight.sum(dim=(1, 2, 3)).clamp_min(1.0)).mean()
    return -10.0 * torch.log10(mean.clamp_min(1e-10))
