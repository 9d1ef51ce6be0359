"""One GAN step for both renderers of stage 3, with one backward pass for both players.

The two losses share no gradient: the generator's is computed with the discriminator frozen, the
discriminator's on detached images. So one optimiser with two parameter groups updates both, as two
alternating optimisers would, and Lightning's automatic optimisation brings gradient accumulation,
loss scaling, clipping and checkpoints by time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from emo_lightning.losses.gan import discriminator_hinge, feature_matching, generator_hinge
from emo_lightning.models.renderer.discriminator import MultiScaleDiscriminator
from emo_lightning.training.base import Batch, StageModule

ADVERSARIAL = ("gan", "feature_matching", "discriminator")


class Frozen:
    """A network that is used but not trained: outside of state dict, optimiser and copies.

    Args:
        module: the network.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.requires_grad_(False).eval()

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        return self.module.to(made.device)(made, real)

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return self

    def meta(self) -> dict[str, Any]:
        """What a checkpoint records about the perceptual loss."""
        sha256 = getattr(self.module, "sha256", None)
        return {"perceptual": self.module.name, "perceptual_sha256": sha256}


class AdversarialStage(StageModule):
    """Stage with a discriminator, which takes part from step ``recipe.gan_start`` on.

    Args:
        perceptual: loss between images, with a ``name``.
    """

    def __init__(
        self, model: Any, loss: Any, recipe: Any, optim: Any, context: Any, perceptual: nn.Module
    ) -> None:
        super().__init__(model, loss, recipe, optim, context)
        self.perceptual = Frozen(perceptual)
        self.discriminator = None
        if loss.gan > 0 or loss.feature_matching > 0:
            self.discriminator = MultiScaleDiscriminator(
                model.discriminator_width, model.discriminator_layers, model.discriminator_scales
            )

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), **self.perceptual.meta()}

    def compiled_networks(self) -> list[nn.Module]:
        return [self.network, *([] if self.discriminator is None else [self.discriminator])]

    def parameter_groups(self) -> list[dict[str, Any]]:
        config = self.model_config
        both = [(self.network_name, self.network, config.lr, 0)]
        if self.discriminator is not None:
            start = self.recipe.gan_start
            both.append(("discriminator", self.discriminator, config.discriminator_lr, start))
        return [
            {"name": name, "params": list(module.parameters()), "lr": lr, "start": start}
            for name, module, lr, start in both
        ]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Images that travelled as bytes become floats in 0..1 on the device."""
        return {
            name: value.float() / 255.0
            if isinstance(value, Tensor) and value.dtype == torch.uint8
            else value
            for name, value in batch.items()
        }

    def adversarial_losses(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Losses of both players on the same images; empty before the discriminator takes part."""
        if self.discriminator is None or self.global_step < self.recipe.gan_start:
            return {}
        true = self.discriminator(real)
        self.discriminator.requires_grad_(False)
        judged = self.discriminator(fake)
        self.discriminator.requires_grad_(True)
        return {
            "gan": generator_hinge(judged),
            "feature_matching": feature_matching(true, judged),
            "discriminator": discriminator_hinge(true, self.discriminator(fake.detach())),
        }

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum; in validation without the parts that move with the discriminator."""
        if self.training:
            return super().total(parts)
        return super().total({k: v for k, v in parts.items() if k not in ADVERSARIAL})

    def objective(self, parts: Mapping[str, Tensor]) -> Tensor:
        total = self.total(parts)
        return total + parts["discriminator"] if "discriminator" in parts else total
