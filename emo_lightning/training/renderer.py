"""Stage 3: the emotion face renderer, trained against a multi-scale discriminator.

Batch: ``source_image``, ``driving_image`` (B, 3, S, S), bytes or floats in 0..1; ``source_coeffs``,
``driving_coeffs`` (B, 27, C).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.image import peak_signal_noise_ratio

from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.face.keypoint_vertices import anchor_table
from emo_lightning.losses.keypoint import (
    deformation,
    equivariance,
    head_pose,
    keypoint_prior,
    random_affine,
    warp_affine,
)
from emo_lightning.losses.perceptual import PyramidLoss
from emo_lightning.models.renderer.face_renderer import (
    EncodedSource,
    FaceRenderer,
    RendererConfig,
    Rendering,
)
from emo_lightning.models.renderer.mapping_net import WINDOW, still_window
from emo_lightning.training.augmentation import color
from emo_lightning.training.base import Batch, Noise, as_config, as_context, sizes_of
from emo_lightning.training.config import Rule, RunConfig, number, one_of
from emo_lightning.training.gan import AdversarialStage

BACKBONES = one_of("auto", "vgg19", "inception", "stlpips", "pyramid")


@dataclass
class Stage3Model(RendererConfig):
    """Sizes of the renderer and the discriminator, and their optimisation."""

    lr: float = 2e-4
    """Highest learning rate of the renderer."""
    discriminator_lr: float = 2e-4
    """Highest learning rate of the discriminator."""
    ema_decay: float = 0.0
    """Decay of the weights' moving average, which is validated and exported; 0 for none."""
    discriminator_width: int = 32
    """Channels of the discriminator's first layer."""
    discriminator_layers: int = 3
    """Strided layers of the discriminator."""
    discriminator_scales: int = 2
    """Image scales of the discriminator."""


@dataclass
class Stage3Loss:
    """Weights of the losses, face-vid2vid's where it has the loss; 0 removes one."""

    perceptual: float = 10.0
    """Perceptual loss by recipe.backbone."""
    pixel: float = 10.0
    """L1 of the pixels, more at lips and lids with mesh keypoints; ours."""
    gan: float = 1.0
    """Hinge loss of the generator."""
    feature_matching: float = 10.0
    """L1 of the discriminator's features."""
    equivariance: float = 10.0
    """Keypoints of an affinely warped image are the warped keypoints."""
    keypoint_prior: float = 10.0
    """Canonical keypoints keep their distance and their mean depth."""
    head_pose: float = 20.0
    """Regression of the head's angles."""
    deformation: float = 5.0
    """L1 of the expression deltas of keypoints."""
    agreement: float = 10.0
    """Keypoints moved by coefficients match those detected in the driving image; ours."""
    paint: float = 0.0
    """With mesh keypoints: opacity of the paint over the warped source; ours."""


@dataclass
class Stage3Recipe:
    """Training options that are not weights."""

    backbone: str = "auto"
    """Network of the perceptual loss: auto, vgg19, inception, stlpips or pyramid."""
    perceptual_weights: str | None = None
    """File with torchvision's VGG-19 weights."""
    gan_start: int = 0
    """Step at which the adversarial loss starts."""
    crop: int = 0
    """With mesh keypoints: side of a crop around lips, eyes and anywhere in turn, at full size,
    for the adversarial and perceptual losses; 0 for the whole image. Ours, to save time."""
    color_jitter: float = 0.0
    """Strength of the colour jitter, the same for both images of a pair; 0 for none. Ours."""


@dataclass
class Stage3Run(RunConfig):
    """A run of stage 3."""

    rules: ClassVar[Mapping[str, Rule]] = {
        "model.*": number(1),
        "model.image_size": number(16, 1024),
        "model.bins": number(0),
        "model.volume_blocks": number(0),
        "model.image_blocks": number(0),
        "model.mesh_keypoints": number(0),
        "model.output_scale": number(1, 2),
        "model.discriminator_lr": number(0, above=True),
        "model.ema_decay": number(0, 0.99999),
        "recipe.backbone": BACKBONES,
        "recipe.gan_start": number(0),
        "recipe.crop": number(0),
        "recipe.color_jitter": number(0),
    }

    heads: str | None = None
    """Stage 2's networks, recorded as predecessor and checked for the layout; optional."""
    model: Stage3Model = field(default_factory=Stage3Model)
    loss: Stage3Loss = field(default_factory=Stage3Loss)
    recipe: Stage3Recipe = field(default_factory=Stage3Recipe)

    def check(self) -> None:
        super().check()
        model, divisor = self.model, 4 * 2**self.model.levels
        if model.image_size % divisor:
            accepted = f"a multiple of {divisor} (4 * 2 ** model.levels)"
            raise UserError("model.image_size", model.image_size, accepted)
        if model.output_scale > 1 and not model.mesh_keypoints:
            raise UserError(
                "model.output_scale", model.output_scale, "1, or set model.mesh_keypoints"
            )
        size = model.image_size * model.output_scale
        if self.recipe.crop > size:
            raise UserError("recipe.crop", self.recipe.crop, f"at most the image's side, {size}")


class Stage3Output(NamedTuple):
    """Encoded source and rendered driving frame."""

    source: EncodedSource
    made: Rendering


class RendererModule(AdversarialStage):
    """Trains :class:`FaceRenderer`."""

    number, product, network_name, monitor = 3, "renderer", "renderer", "val/perceptual"

    def __init__(
        self,
        model: Any,
        loss: Any,
        recipe: Any,
        optim: Any,
        context: Any,
        perceptual: nn.Module | None = None,
    ) -> None:
        model, loss = as_config(Stage3Model, model), as_config(Stage3Loss, loss)
        recipe, context = as_config(Stage3Recipe, recipe), as_context(context)
        super().__init__(model, loss, recipe, optim, context, perceptual or PyramidLoss())
        self.renderer = FaceRenderer(sizes_of(RendererConfig, model), context.layout)
        if self.renderer.mesh is not None:
            context.layout.check_same(
                BUILTIN, "the data", "model.mesh_keypoints (built-in face model)"
            )
            try:
                arrays = anchor_table(model.mesh_keypoints).arrays()
            except ValueError as error:
                accepted = f"0, or a number that the face model has ({error})"
                raise UserError("model.mesh_keypoints", model.mesh_keypoints, accepted) from None
            self.renderer.mesh.load_face_model([torch.from_numpy(part) for part in arrays])

    def forward(self, image: Tensor, source: Tensor, driving: Tensor) -> Stage3Output:
        """Render the driving frame: image ``(B, 3, S, S)``, coefficient windows ``(B, 27, C)``.

        The source is a portrait, as in generation: its window is its middle frame, repeated. Ours.
        """
        portrait = still_window(source[:, WINDOW // 2])
        return Stage3Output(*self.renderer(image, portrait, driving))

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> Tensor:
        """Rendered driving images ``(B, 3, S, S)``."""
        inputs = batch["source_image"], batch["source_coeffs"], batch["driving_coeffs"]
        return self(*inputs).made.image

    def losses(self, batch: Batch, noise: Noise) -> tuple[dict[str, Tensor], Stage3Output]:
        if self.training and self.recipe.color_jitter:
            jitter = self.recipe.color_jitter * noise(len(batch["source_image"]), color.NOISE_SIZE)
            changed = {n: color.jitter(batch[n], jitter) for n in ("source_image", "driving_image")}
            batch = {**batch, **changed}
        real, middle = batch["driving_image"], batch["driving_coeffs"][:, WINDOW // 2]
        output = self(batch["source_image"], batch["source_coeffs"], batch["driving_coeffs"])
        source, made = output
        small = self.renderer.at_own_size(real)
        found, theta = self.renderer.detector(small), random_affine(noise(len(real), 6))
        in_warped = self.renderer.detector(warp_affine(small, theta))
        corners = self.crop_corners(made, real.shape[-1], torch.tanh(noise(len(real), 2)))
        mine, true = self.views(made.image, corners), self.views(real, corners)
        pairs = zip(mine, true, strict=True)
        angle = middle[:, self.context.layout.slice("angle")]
        parts = {
            "perceptual": torch.stack([self.perceptual(*pair) for pair in pairs]).mean(),
            "pixel": self.pixel_loss(made, real),
            "equivariance": equivariance(found, in_warped, theta),
            "keypoint_prior": keypoint_prior(source.canonical),
            "head_pose": head_pose(made.motion.angle, angle),
            "deformation": deformation(made.motion.delta),
            "agreement": (made.keypoints - found).abs().mean(),
        }
        if made.paint is not None:
            parts["paint"] = made.paint.mean()
        return parts | self.adversarial_losses(true[-1], mine[-1]), output

    def validation_metrics(
        self, batch: Batch, parts: dict[str, Tensor], output: Stage3Output
    ) -> dict[str, Tensor]:
        """PSNR of the rendering and, for comparison, of the source image, dB."""
        real, over = batch["driving_image"], {"data_range": 1.0, "dim": (1, 2, 3)}
        return {
            "psnr": peak_signal_noise_ratio(output.made.image.float(), real, **over),
            "psnr_source": peak_signal_noise_ratio(batch["source_image"], real, **over),
        }

    def crop_corners(self, made: Rendering, size: int, anywhere: Tensor) -> Tensor | None:
        """Corners ``(B, 2)`` of the crop that every loss of this step uses; None for whole images.

        Args:
            made: the rendering.
            size: side of the images.
            anywhere: ``(B, 2)`` in -1..1.
        """
        side, mesh, turn = self.recipe.crop, self.renderer.mesh, self.global_step % 3
        if not side or mesh is None or made.mesh_points is None:
            return None
        centre = (
            0.6 * anywhere if turn == 2 else mesh.region_centre(made.mesh_points, eyes=turn == 1)
        )
        return (((centre + 1.0) * size - side) / 2.0).round().clamp(0, size - side).long()

    def views(self, image: Tensor, corners: Tensor | None) -> list[Tensor]:
        """Inputs of the perceptual loss, the last also the discriminator's: whole, and the crop."""
        if corners is None:
            return [image]
        return [self.renderer.at_own_size(image), crop(image, corners, self.recipe.crop)]

    def pixel_loss(self, made: Rendering, real: Tensor) -> Tensor:
        """L1 of the pixels, weighted by region with mesh keypoints."""
        if self.renderer.mesh is None or made.mesh_points is None:
            return (made.image - real).abs().mean()
        # At the network's own size: full-size noise is unpredictable and would favour a blur.
        size = self.renderer.at_own_size
        error = (size(made.image) - size(real)).abs()
        with torch.no_grad():
            weights = self.renderer.mesh.roi_weights(made.mesh_points, made.motion)
            weights = F.interpolate(weights, size=error.shape[-2:], mode="bilinear")
        return (error * weights).mean()


def crop(image: Tensor, corners: Tensor, side: int) -> Tensor:
    """Crops ``(B, 3, side, side)`` of images at corners ``(B, 2)``, x and y, without a wait."""
    offsets = torch.arange(side, device=image.device)
    columns, rows = (corners[:, axis, None] + offsets for axis in (0, 1))
    channels = image.shape[1]
    image = image.gather(2, rows[:, None, :, None].expand(-1, channels, -1, image.shape[3]))
    return image.gather(3, columns[:, None, None, :].expand(-1, channels, side, -1))
