"""How alike two images look, by features of a trained network or by an image pyramid.

A run records which of them it used, by :attr:`name`; their values are not comparable.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALES = 4
"""Full size, half, quarter, eighth."""
VGG19 = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512)
"""VGG-19 up to relu5_1 (Simonyan & Zisserman, 2015); M is a max pool."""
TAPS = (2, 7, 12, 21, 30)
"""Layers after relu1_1, relu2_1, relu3_1, relu4_1, relu5_1 (Johnson et al., 2016)."""


class PyramidLoss(nn.Module):
    """L1 distance of colours and of their differences in x and y, at four scales. Ours."""

    name = "pyramid"

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Distance of ``(B, 3, S, S)`` images in 0..1."""
        total = made.new_zeros(())
        for level in range(SCALES):
            if level:
                made, real = F.avg_pool2d(made, 2), F.avg_pool2d(real, 2)
            total = total + (made - real).abs().mean()
            total = total + sum((made.diff(dim=d) - real.diff(dim=d)).abs().mean() for d in (2, 3))
        return total / SCALES


class FeatureLoss(nn.Module):
    """L1 distance of a trained network's layers at up to four scales, each layer's by the size of
    its own features. Ours: VGG-19's published sum is of features of about one size, which other
    networks' are not.

    Args:
        trunk: frozen; ``(B, 3, S, S)`` in 0..1 to feature maps. Has a ``name``, and the ``sha256``
            of its weights.
        smallest: side below which it is not asked.
    """

    def __init__(self, trunk: nn.Module, smallest: int = 48) -> None:
        super().__init__()
        self.trunk, self.smallest, self.name, self.sha256 = (
            trunk,
            smallest,
            trunk.name,
            trunk.sha256,
        )

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Distance of ``(B, 3, S, S)`` images in 0..1."""
        total, level = made.new_zeros(()), 0
        while level < SCALES and min(made.shape[-2:]) >= self.smallest:
            with torch.no_grad():
                targets = self.trunk(real)
            for mine, target in zip(self.trunk(made), targets, strict=True):
                total = total + (mine - target).abs().mean() / target.abs().mean().clamp_min(1e-3)
            made, real, level = F.avg_pool2d(made, 2), F.avg_pool2d(real, 2), level + 1
        return total / max(level, 1)


class VGGLoss(nn.Module):
    """L1 distance of five VGG-19 layers at four scales, as face-vid2vid has it.

    Args:
        state: torchvision's ``vgg19`` weights, ``features.N.weight`` and ``.bias``.

    Raises:
        KeyError: a layer is missing.
    """

    name = "vgg19"
    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for entry in VGG19:
            if isinstance(entry, int):
                layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU()]
                channels = entry
            else:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.layers.load_state_dict(
            {name: state[f"features.{name}"] for name in self.layers.state_dict()}
        )
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def features(self, image: Tensor) -> list[Tensor]:
        """The five tapped layers."""
        x, out = (image - self.mean) / self.std, []
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if number in TAPS:
                out.append(x)
        return out

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Distance of ``(B, 3, S, S)`` images in 0..1; stops at the scale where the deepest layer
        would vanish."""
        total, level = made.new_zeros(()), 0
        while level < SCALES and min(made.shape[-2:]) >= 16:
            pairs = zip(self.features(made), self.features(real), strict=True)
            total = total + sum((m - r.detach()).abs().mean() for m, r in pairs)
            made, real, level = F.avg_pool2d(made, 2), F.avg_pool2d(real, 2), level + 1
        return total
