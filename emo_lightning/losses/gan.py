"""Hinge GAN (Lim & Ye, 2017) and feature matching (pix2pixHD, 2018), multi-scale.

Every argument is a discriminator's output: for each scale the features of each layer, the last one
the score map.
"""

from __future__ import annotations

import torch
from torch import Tensor

Features = list[list[Tensor]]


def discriminator_hinge(real: Features, fake: Features) -> Tensor:
    """Loss of the discriminator."""
    pairs = zip(real, fake, strict=True)
    scores = [(r[-1].float(), f[-1].float()) for r, f in pairs]
    parts = [torch.relu(1 - r).mean() + torch.relu(1 + f).mean() for r, f in scores]
    return torch.stack(parts).mean()


def generator_hinge(fake: Features) -> Tensor:
    """Adversarial loss of the generator."""
    return torch.stack([-f[-1].float().mean() for f in fake]).mean()


def feature_matching(real: Features, fake: Features) -> Tensor:
    """Mean L1 distance of the features before the score."""
    layers = [
        (r.detach() - f).abs().float().mean()
        for scale_r, scale_f in zip(real, fake, strict=True)
        for r, f in zip(scale_r[:-1], scale_f[:-1], strict=True)
    ]
    return torch.stack(layers).mean()
