"""Stage 3: the emotion face renderer, trained against a multi-scale discriminator.

Batch: ``source_image``, ``driving_image`` (B, 3, S, S) in 0..1, ``source_coeffs``, ``driving_coeffs`` (B, 27, C).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from emo_lightning.losses.adversarial import discriminator_hinge, feature_matching, generator_hinge
from emo_lightning.losses.keypoint import deformation, equivariance, head_pose, keypoint_prior, random_affine, warp_affine
from emo_lightning.losses.perceptual import PyramidLoss
from emo_lightning.models.discriminator import MultiScaleDiscriminator
from emo_lightning.models.face_renderer import FaceRenderer, RendererConfig, Rendering, Source
from emo_lightning.models.mapping import WINDOW, still_window
from emo_lightning.stages.base import OptimConfig, Stage, StageContext, weighted_sum


@dataclass
class Stage3Model(RendererConfig):
    """The renderer's sizes, the discriminator's, and the learning rate."""

    lr: float = 2e-4
    discriminator_width: int = 32
    discriminator_layers: int = 3
    discriminator_scales: int = 2


@dataclass
class Stage3Loss:
    """Weights as face-vid2vid publishes them, where it has the part."""

    perceptual: float = 10.0
    perceptual_weights: str | None = None
    """File of torchvision's VGG-19 weights; null uses the image pyramid instead."""
    pixel: float = 10.0
    """L1 of the pixels; ours."""
    gan: float = 1.0
    gan_start: int = 0
    """Step from which the discriminator has a say."""
    feature_matching: float = 10.0
    equivariance: float = 10.0
    keypoint_prior: float = 10.0
    head_pose: float = 20.0
    deformation: float = 5.0
    agreement: float = 10.0
    """Keypoints that coefficients move to are those found in the driving image; ours, after SadTalker's training of MappingNet."""


class RendererStage(Stage):
    """Trains :class:`FaceRenderer`; optimises by hand, since two networks take turns.

    Args:
        perceptual: loss between images, with a ``name``.
    """

    number, product = 3, "renderer"

    def __init__(
        self, model: Stage3Model, loss: Stage3Loss, optim: OptimConfig, context: StageContext, perceptual: nn.Module | None = None
    ) -> None:
        super().__init__(model, loss, optim, context)
        self.automatic_optimization = False
        self.loss = loss
        self.weights = {k: v for k, v in asdict(loss).items() if k not in ("perceptual_weights", "gan_start")}
        sizes = {f.name: getattr(model, f.name) for f in fields(RendererConfig)}
        self.renderer = self.trained = FaceRenderer(RendererConfig(**sizes), context.layout)
        self.discriminator = MultiScaleDiscriminator(model.discriminator_width, model.discriminator_layers, model.discriminator_scales)
        self.perceptual = PyramidLoss() if perceptual is None else perceptual

    def meta(self) -> dict[str, Any]:
        sizes = {f.name for f in fields(RendererConfig)}
        model = {k: v for k, v in asdict(self.model_config).items() if k in sizes}
        return {**super().meta(), "model": model, "perceptual": self.perceptual.name}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        generator, judge = self.optimizers()
        source, made = self.render(batch)
        adversarial = self.global_step >= self.loss.gan_start
        self.toggle_optimizer(generator)
        parts = self.parts(batch, source, made, adversarial)
        total = weighted_sum(parts, self.weights)
        self._step(generator, total)
        self.untoggle_optimizer(generator)
        if adversarial:
            self.toggle_optimizer(judge)
            parts["discriminator"] = discriminator_hinge(
                self.discriminator(batch["driving_image"]), self.discriminator(made.image.detach())
            )
            # The raw optimiser: Lightning counts each of its own steps, and one batch is one step.
            self._step(judge, parts["discriminator"], raw=True)
            self.untoggle_optimizer(judge)
        for schedule in self.lr_schedulers():
            schedule.step()
        self.note("train", {"loss": total, **parts}, len(made.image))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        source, made = self.render(batch)
        parts = self.parts(batch, source, made, adversarial=False)
        error = (made.image - batch["driving_image"]).square().mean(dim=(1, 2, 3))
        still = (batch["source_image"] - batch["driving_image"]).square().mean(dim=(1, 2, 3))
        gauges = {"psnr": _psnr(error), "psnr_of_the_source": _psnr(still)}
        self.note("val", {"loss": weighted_sum(parts, self.weights), **parts, **gauges}, len(made.image))

    def render(self, batch: dict[str, Tensor]) -> tuple[Source, Rendering]:
        """The batch as generation meets it: the source is a portrait, the driving frame has its window. Ours."""
        portrait = still_window(batch["source_coeffs"][:, WINDOW // 2])
        return self.renderer(batch["source_image"], portrait, batch["driving_coeffs"])

    def parts(self, batch: dict[str, Tensor], source: Source, made: Rendering, adversarial: bool) -> dict[str, Tensor]:
        """Every part of the generator's loss, unweighted."""
        real, middle = batch["driving_image"], batch["driving_coeffs"][:, WINDOW // 2]
        found = self.renderer.detector(real)
        theta = random_affine(self.draw(len(real), 6))
        in_warped = self.renderer.detector(warp_affine(real, theta))
        parts = {
            "perceptual": self.perceptual(made.image, real),
            "pixel": (made.image - real).abs().mean(),
            "equivariance": equivariance(found, in_warped, theta),
            "keypoint_prior": keypoint_prior(source.canonical),
            "head_pose": head_pose(made.motion.angle, middle[:, self.context.layout.slice("angle")]),
            "deformation": deformation(made.motion.delta),
            "agreement": (made.keypoints - found).abs().mean(),
        }
        if adversarial:
            fake, true = self.discriminator(made.image), self.discriminator(real)
            parts |= {"gan": generator_hinge(fake), "feature_matching": feature_matching(true, fake)}
        return parts

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        both = [self.adamw(net.parameters(), self.model_config.lr) for net in (self.renderer, self.discriminator)]
        return [each["optimizer"] for each in both], [each["lr_scheduler"] for each in both]

    def _step(self, optimizer: Any, loss: Tensor, raw: bool = False) -> None:
        """Backward, clip, step."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=self.optim.clip, gradient_clip_algorithm="norm")
        (optimizer.optimizer if raw else optimizer).step()


def _psnr(error: Tensor) -> Tensor:
    """Mean peak signal to noise ratio, dB, of mean squared errors of images in 0..1."""
    return (-10.0 * torch.log10(error.clamp_min(1e-10))).mean()
