"""Stage 3: the emotion face renderer, trained against a multi-scale discriminator.

Batch: ``source_image``, ``driving_image`` (B, 3, S, S) in 0..1, ``source_coeffs``, ``driving_coeffs`` (B, 27, C).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.losses.gan import (
    Features,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
)
from emo_lightning.losses.keypoint import (
    deformation,
    equivariance,
    head_pose,
    keypoint_prior,
    random_affine,
    warp_affine,
)
from emo_lightning.losses.perceptual import PyramidLoss
from emo_lightning.models.renderer.discriminator import MultiScaleDiscriminator
from emo_lightning.models.renderer.face_renderer import (
    EncodedSource,
    FaceRenderer,
    RendererConfig,
    Rendering,
)
from emo_lightning.models.renderer.mapping_net import WINDOW, still_window
from emo_lightning.training.augmentation import color
from emo_lightning.training.base import OptimConfig, StageModule, TrainingContext, weighted_sum


@dataclass
class Stage3Model(RendererConfig):
    """The renderer's sizes, the discriminator's, and the learning rates."""

    lr: float = 2e-4
    discriminator_lr: float = 2e-4
    ema_decay: float = 0.0
    """Decay of the running mean of the renderer's weights, which is what validates and is exported; 0 for none. Ours."""
    discriminator_width: int = 32
    discriminator_layers: int = 3
    discriminator_scales: int = 2


@dataclass
class Stage3Loss:
    """Weights as face-vid2vid publishes them, where it has the part."""

    perceptual: float = 10.0
    perceptual_weights: str | None = None
    """File of torchvision's VGG-19 weights."""
    backbone: str = "auto"
    """What ``perceptual`` looks through: ``vgg19``, ``inception``, ``stlpips`` or ``pyramid``; ``auto`` is the first that is there."""
    pixel: float = 10.0
    """L1 of the pixels, more at lips and lids where there is a sheet; ours."""
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
    window: int = 0
    """With a sheet: pixels a side of a window, around lips, eyes and anywhere in turn. Discriminator and ``perceptual`` then see
    that at full size, and ``perceptual`` the whole besides at ``model.image_size``; 0 shows both the whole image. Ours, to save time."""
    paint: float = 0.0
    """With a sheet: what is painted over the warped source image, so that it is only where it helps; ours."""
    recolour: float = 0.0
    """How far a pair's colours are changed, both pictures' alike: 0 for not at all, 1 for other skin and other light. Ours."""


SETTINGS = ("perceptual_weights", "backbone", "gan_start", "window", "recolour")
"""What of the losses is no weight."""


class RendererModule(StageModule):
    """Trains :class:`FaceRenderer`; optimises by hand, since two networks take turns.

    Args:
        perceptual: loss between images, with a ``name``.
        anchors: the face model's numbers for the sheet, as :meth:`MeshKeypoints.load_face_model` takes them; only with ``model.mesh_keypoints``.
    """

    number, product = 3, "renderer"

    def __init__(
        self,
        model: Stage3Model,
        loss: Stage3Loss,
        optim: OptimConfig,
        context: TrainingContext,
        perceptual: nn.Module | None = None,
        anchors: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(model, loss, optim, context)
        self.automatic_optimization = False
        self.loss = loss
        self.weights = {k: v for k, v in asdict(loss).items() if k not in SETTINGS}
        sizes = {f.name: getattr(model, f.name) for f in fields(RendererConfig)}
        self.renderer = self.trained = FaceRenderer(RendererConfig(**sizes), context.layout)
        if self.renderer.mesh is not None and anchors is not None:
            self.renderer.mesh.load_face_model(anchors)
        if model.ema_decay:
            self.averaged = self.trained = copy.deepcopy(self.renderer).requires_grad_(False)
        self.discriminator = MultiScaleDiscriminator(
            model.discriminator_width, model.discriminator_layers, model.discriminator_scales
        )
        self.perceptual = PyramidLoss() if perceptual is None else perceptual

    def hasten(self, channels_last: bool, compiled: bool) -> None:
        """Lay the networks' weights out channels last, and compile them; their names in a checkpoint stay."""
        for parameter in self.parameters() if channels_last else ():
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
            if layout is not None:
                parameter.data = parameter.data.contiguous(memory_format=layout)
        for network in (self.renderer, self.discriminator) if compiled else ():
            network.compile()

    def meta(self) -> dict[str, Any]:
        sizes = {f.name for f in fields(RendererConfig)}
        model = {k: v for k, v in asdict(self.model_config).items() if k in sizes}
        backbone = {
            "perceptual": self.perceptual.name,
            "perceptual_sha256": getattr(self.perceptual, "sha256", None),
        }
        return {**super().meta(), "model": model, **backbone}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        generator, judge = self.optimizers()
        schedules = self.lr_schedulers()
        batch = self._recoloured(batch)
        source, made = self.render(batch)
        adversarial = self.global_step >= self.loss.gan_start
        self.toggle_optimizer(generator)
        parts = self.parts(batch, source, made, adversarial)
        total = weighted_sum(parts, self.weights)
        self._step(generator, total)
        self.untoggle_optimizer(generator)
        schedules[0].step()
        if adversarial:
            self.toggle_optimizer(judge)
            parts["discriminator"] = discriminator_hinge(
                *self._verdicts(batch["driving_image"], made.image.detach(), made)
            )
            # The raw optimiser: Lightning counts each of its own steps, and one batch is one step.
            self._step(judge, parts["discriminator"], raw=True)
            self.untoggle_optimizer(judge)
            # Its schedule is over the steps that it takes: before the first of them there is nothing to schedule.
            schedules[1].step()
        self._average()
        self.note("train", {"loss": total, **parts}, len(made.image))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        source, made = self.render(batch, self.trained)
        parts = self.parts(batch, source, made, adversarial=False)
        # The discriminator's part is shown, and left out of the loss that chooses the best step: it moves with the discriminator.
        total, adversarial = (
            weighted_sum(parts, self.weights),
            self._judged(batch, made) if self.global_step >= self.loss.gan_start else {},
        )
        error = (made.image - batch["driving_image"]).square().mean(dim=(1, 2, 3))
        still = (batch["source_image"] - batch["driving_image"]).square().mean(dim=(1, 2, 3))
        gauges = {"psnr": _psnr(error), "psnr_of_the_source": _psnr(still)}
        self.note("val", {"loss": total, **parts, **adversarial, **gauges}, len(made.image))

    def render(
        self, batch: dict[str, Tensor], renderer: nn.Module | None = None
    ) -> tuple[EncodedSource, Rendering]:
        """The batch as generation meets it: the source is a portrait, the driving frame has its window. Ours."""
        portrait = still_window(batch["source_coeffs"][:, WINDOW // 2])
        return (renderer or self.renderer)(batch["source_image"], portrait, batch["driving_coeffs"])

    def parts(
        self, batch: dict[str, Tensor], source: EncodedSource, made: Rendering, adversarial: bool
    ) -> dict[str, Tensor]:
        """Every part of the generator's loss, unweighted."""
        real, middle = batch["driving_image"], batch["driving_coeffs"][:, WINDOW // 2]
        small = self.renderer.at_own_size(real)
        found = self.renderer.detector(small)
        theta = random_affine(self.draw(len(real), 6))
        in_warped = self.renderer.detector(warp_affine(small, theta))
        self._anywhere = torch.tanh(self.draw(len(real), 2))
        parts = {
            "perceptual": self.unlikeness(made.image, real, made),
            "pixel": self.pixel(made.image, real, made),
            "equivariance": equivariance(found, in_warped, theta),
            "keypoint_prior": keypoint_prior(source.canonical),
            "head_pose": head_pose(
                made.motion.angle, middle[:, self.context.layout.slice("angle")]
            ),
            "deformation": deformation(made.motion.delta),
            "agreement": (made.keypoints - found).abs().mean(),
        }
        if made.paint is not None:
            parts["paint"] = made.paint.mean()
        if adversarial:
            true, fake = self._verdicts(real, made.image, made)
            parts |= {
                "gan": generator_hinge(fake),
                "feature_matching": feature_matching(true, fake),
            }
        return parts

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        both = [
            self.adamw(self.renderer.parameters(), self.model_config.lr),
            self.adamw(
                self.discriminator.parameters(),
                self.model_config.discriminator_lr,
                self.loss.gan_start,
            ),
        ]
        return [each["optimizer"] for each in both], [each["lr_scheduler"] for each in both]

    def views(self, image: Tensor, made: Rendering) -> list[Tensor]:
        """What perceptual loss and discriminator look at: the image, or with a window its small whole and the window."""
        side = self.loss.window
        if not side or self.renderer.mesh is None or made.mesh_points is None:
            return [image]
        corners = ((self._look(made) + 1.0) * image.shape[-1] - side) / 2.0
        places = corners.round().clamp(0, image.shape[-1] - side).int().tolist()
        window = [
            picture[:, y : y + side, x : x + side]
            for picture, (x, y) in zip(image, places, strict=True)
        ]
        return [self.renderer.at_own_size(image), torch.stack(window)]

    def _verdicts(self, real: Tensor, fake: Tensor, made: Rendering) -> tuple[Features, Features]:
        """What the discriminator finds in the real image and in the made one."""
        return self.discriminator(self.views(real, made)[-1]), self.discriminator(
            self.views(fake, made)[-1]
        )

    def _judged(self, batch: dict[str, Tensor], made: Rendering) -> dict[str, Tensor]:
        """The adversarial losses of both sides."""
        true, fake = self._verdicts(batch["driving_image"], made.image, made)
        return {
            "gan": generator_hinge(fake),
            "feature_matching": feature_matching(true, fake),
            "discriminator": discriminator_hinge(true, fake),
        }

    def _look(self, made: Rendering) -> Tensor:
        """The middle of the window ``(B, 2)``: lips, eyes and anywhere in turn."""
        assert self.renderer.mesh is not None and made.mesh_points is not None
        turn = self.global_step % 3
        return (
            0.6 * self._anywhere
            if turn == 2
            else self.renderer.mesh.region_centre(made.mesh_points, eyes=turn == 1)
        )

    def unlikeness(self, image: Tensor, real: Tensor, made: Rendering) -> Tensor:
        """The perceptual loss, the mean of all views."""
        pairs = zip(self.views(image, made), self.views(real, made), strict=True)
        return torch.stack([self.perceptual(mine, true) for mine, true in pairs]).mean()

    def pixel(self, image: Tensor, real: Tensor, made: Rendering) -> Tensor:
        """L1 of the pixels, by how much each counts."""
        if self.renderer.mesh is None or made.mesh_points is None:
            return (image - real).abs().mean()
        # At the network's own size: noise that cannot be foretold would otherwise teach it to blur the source's.
        error = (self.renderer.at_own_size(image) - self.renderer.at_own_size(real)).abs()
        with torch.no_grad():
            weight = F.interpolate(
                self.renderer.mesh.roi_weights(made.mesh_points, made.motion),
                size=error.shape[-2:],
                mode="bilinear",
            )
        return (error * weight).mean()

    def _recoloured(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch in other colours, source and driving frame of a pair alike."""
        if not self.loss.recolour:
            return batch
        normal = self.loss.recolour * self.draw(len(batch["source_image"]), color.DRAWS)
        return {
            **batch,
            **{
                name: color.recolour(batch[name], normal)
                for name in ("source_image", "driving_image")
            },
        }

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
                [p.detach() for p in self.renderer.parameters()],
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


def _psnr(error: Tensor) -> Tensor:
    """Mean peak signal to noise ratio, dB, of mean squared errors of images in 0..1."""
    return (-10.0 * torch.log10(error.clamp_min(1e-10))).mean()
