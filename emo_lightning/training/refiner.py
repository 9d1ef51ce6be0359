"""Stage 3's other renderer: the refinement of what the geometric renderer draws.

Batch: ``still`` (B, 6, h, h), ``frame`` and ``target`` (B, 3, H, H) in 0..1, ``flow`` (B, H / 2, H / 2, 2), ``moving``
(B, 6, H / 2, H / 2), ``condition`` (B, n). ``target`` is the true frame, moved by what geometry is off by.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.losses.gan import discriminator_hinge, feature_matching, generator_hinge
from emo_lightning.losses.perceptual import PyramidLoss
from emo_lightning.models.renderer.discriminator import MultiScaleDiscriminator
from emo_lightning.models.renderer.refiner import CELL, FACE, Refiner, RefinerConfig, Repair
from emo_lightning.training.base import OptimConfig, StageModule, TrainingContext, weighted_sum

PLACES = ((0.0, 0.77, 0.22), (-0.31, 0.02, 0.16), (0.31, 0.02, 0.16))
"""Middle (x, y) and radius, IOD on the mean face, of what counts more: mouth and eyes."""
GUESSED = 0.1
"""Weight of colours and differences inside the mouth, where only others' judgement makes teeth of what would else be their mean."""
WRONG = 0.03
"""Error of a pixel in 0..1 from which the geometric renderer's is no longer called right."""


@dataclass
class RefineModel(RefinerConfig):
    """The refiner's sizes, the discriminator's, and what training looks at."""

    lr: float = 1e-3
    ema_decay: float = 0.995
    """Decay of the running mean of the refiner's weights, which is what validates and is exported; 0 for none."""
    crop: int = 128
    """Side of what is trained on, pixels of the work picture; a multiple of 8."""
    discriminator_width: int = 16
    discriminator_layers: int = 3
    discriminator_scales: int = 1


@dataclass
class RefineLoss:
    """Weights. Ours."""

    pixel: float = 5.0
    """L1 of the pixels."""
    pyramid: float = 5.0
    """Colours and their differences at four scales."""
    perceptual: float = 0.5
    """Features of a trained network; 0 looks through none."""
    perceptual_weights: str | None = None
    """File of torchvision's VGG-19 weights."""
    backbone: str = "auto"
    """What ``perceptual`` looks through, as in stage 3."""
    places: float = 3.0
    """How much more the pixels of mouth and eyes count."""
    change: float = 1.0
    """Price of what is changed where the geometric renderer is right. It is not the mask's own price: while the residual is near 0
    that would close the mask for good."""
    gan: float = 0.0
    gan_start: int = 0
    """Step from which the discriminator has a say."""
    feature_matching: float = 0.0


WEIGHTED = ("pixel", "pyramid", "perceptual", "change", "gan", "feature_matching")
"""What of the losses is a weight of a part."""


class RefinerModule(StageModule):
    """Trains :class:`Refiner`; optimises by hand, since a discriminator may take turns with it.

    Args:
        perceptual: loss between images, with a ``name``.
    """

    number, product = 3, "refiner"

    def __init__(
        self,
        model: RefineModel,
        loss: RefineLoss,
        optim: OptimConfig,
        context: TrainingContext,
        perceptual: nn.Module | None = None,
    ) -> None:
        super().__init__(model, loss, optim, context)
        self.automatic_optimization = False
        self.loss = loss
        self.weights = {name: getattr(loss, name) for name in WEIGHTED}
        sizes = {f.name: getattr(model, f.name) for f in fields(RefinerConfig)}
        self.refiner = self.trained = Refiner(RefinerConfig(**sizes), context.layout)
        if model.ema_decay:
            self.averaged = self.trained = copy.deepcopy(self.refiner).requires_grad_(False)
        self.discriminator = MultiScaleDiscriminator(
            model.discriminator_width, model.discriminator_layers, model.discriminator_scales
        )
        self.pyramid = PyramidLoss()
        self.perceptual = self.pyramid if perceptual is None else perceptual

    def meta(self) -> dict[str, Any]:
        sizes = {f.name for f in fields(RefinerConfig)}
        model = {k: v for k, v in asdict(self.model_config).items() if k in sizes}
        backbone = {
            "perceptual": self.perceptual.name,
            "perceptual_sha256": getattr(self.perceptual, "sha256", None),
        }
        return {**super().meta(), "model": model, **backbone}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        generator, judge = self.optimizers()
        made = self.repair(self.refiner, batch)
        adversarial = self.loss.gan > 0 and self.global_step >= self.loss.gan_start
        self.toggle_optimizer(generator)
        parts = self.parts(batch, made, adversarial)
        total = weighted_sum(parts, self.weights)
        self._step(generator, total)
        self.untoggle_optimizer(generator)
        self._average()
        if adversarial:
            self.toggle_optimizer(judge)
            parts["discriminator"] = discriminator_hinge(
                self.discriminator(batch["target"]), self.discriminator(made.image.detach())
            )
            # The raw optimiser: Lightning counts each of its own steps, and one batch is one step.
            self._step(judge, parts["discriminator"], raw=True)
            self.untoggle_optimizer(judge)
        for schedule in self.lr_schedulers()[: 1 + adversarial]:
            schedule.step()
        self.note("train", {"loss": total, **parts}, len(made.image))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        made = self.repair(self.trained, batch)
        parts = self.parts(batch, made, adversarial=False)
        face, places = self._places(batch)
        gauges = {"mask_mean": made.mask.mean()}
        for name, where in (("face", face), ("places", places)):
            gauges[f"psnr_{name}"] = _psnr(made.image, batch["target"], where)
            gauges[f"psnr_{name}_of_the_mesh"] = _psnr(batch["frame"], batch["target"], where)
        self.note(
            "val", {"loss": weighted_sum(parts, self.weights), **parts, **gauges}, len(made.image)
        )

    def repair(self, refiner: Refiner, batch: dict[str, Tensor]) -> Repair:
        """The batch's frames, repaired."""
        return refiner(
            batch["frame"],
            refiner.prepare(batch["still"]),
            batch["flow"],
            batch["moving"],
            batch["condition"],
        )

    def parts(self, batch: dict[str, Tensor], made: Repair, adversarial: bool) -> dict[str, Tensor]:
        """Every part of the refiner's loss, unweighted."""
        real, face_places = batch["target"], self._places(batch)
        weight = 1.0 + self.loss.places * face_places[1]
        right = torch.exp(-(batch["frame"] - real).abs().mean(dim=1, keepdim=True) / WRONG)
        # Where nothing can be changed, the true frame would only be noise in the losses.
        seen = made.image + (real - made.image) * (1.0 - face_places[0])
        told = 1.0 - (1.0 - GUESSED) * F.interpolate(
            batch["moving"][:, :1], scale_factor=float(CELL), mode="bilinear", align_corners=False
        )
        parts = {
            "pixel": ((seen - real).abs() * weight * told).mean(),
            "pyramid": self.pyramid(real + (seen - real) * told, real),
            "change": ((made.image - batch["frame"]).abs() * right).mean(),
        }
        if self.loss.perceptual:
            parts["perceptual"] = self.perceptual(seen, real)
        if adversarial:
            fake, true = self.discriminator(seen), self.discriminator(real)
            parts |= {
                "gan": generator_hinge(fake),
                "feature_matching": feature_matching(true, fake),
            }
        return parts

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        both = [
            self.adamw(net.parameters(), self.model_config.lr)
            for net in (self.refiner, self.discriminator)
        ]
        return [each["optimizer"] for each in both], [each["lr_scheduler"] for each in both]

    def _places(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """``(B, 1, H, H)`` each: how much of a pixel is face that may change, and how much of it is mouth or eyes."""
        planes = F.grid_sample(
            batch["still"][:, FACE - 2 :], batch["flow"], padding_mode="border", align_corners=False
        )
        place, face = planes[:, :2], planes[:, 2:]
        near = [
            torch.exp(
                -(place - place.new_tensor(p[:2])[:, None, None]).square().sum(1, keepdim=True)
                / p[2] ** 2
            )
            for p in PLACES
        ]
        both = torch.cat([face, torch.stack(near).amax(0) * face], dim=1)
        if not self.refiner.config.inner_mouth:
            both = both * (1.0 - batch["moving"][:, :1])
        both = F.interpolate(both, scale_factor=float(CELL), mode="bilinear", align_corners=False)
        return both[:, :1], both[:, 1:]

    def _average(self) -> None:
        """Let the averaged weights follow; quicker at first, so that they do not remember the beginning."""
        if not self.model_config.ema_decay:
            return
        share = 1.0 - min(
            self.model_config.ema_decay, (1 + self.global_step) / (10 + self.global_step)
        )
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.averaged.parameters()),
                [p.detach() for p in self.refiner.parameters()],
                share,
            )

    def _step(self, optimizer: Any, loss: Tensor, raw: bool = False) -> None:
        """Backward, clip, step."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(
            optimizer, gradient_clip_val=self.optim.clip, gradient_clip_algorithm="norm"
        )
        (optimizer.optimizer if raw else optimizer).step()


def _psnr(made: Tensor, real: Tensor, weight: Tensor) -> Tensor:
    """Peak signal to noise ratio, dB, of the images' mean squared error under a weight ``(B, 1, H, H)``."""
    error = ((made - real).square().mean(dim=1, keepdim=True) * weight).sum(
        dim=(1, 2, 3)
    ) / weight.sum(dim=(1, 2, 3)).clamp_min(1.0)
    return -10.0 * torch.log10(error.mean().clamp_min(1e-10))
