"""Convolution blocks of the image networks, in two and three dimensions.

Group norm throughout: it is independent of the other images of a batch, so training on one or many
processes and inference agree.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.layers.precision import float32_on


class StableConv3d(nn.Conv3d):
    """Convolution in float32 on a CPU, where oneDNN's bfloat16 gradients can be wrong."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        with float32_on(x):
            return super().forward(x.to(self.weight.dtype))


def conv(dims: int, n_in: int, n_out: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """Convolution in 2 or 3 dimensions that keeps the size at stride 1."""
    layer = nn.Conv2d if dims == 2 else StableConv3d
    return layer(n_in, n_out, kernel, stride=stride, padding=kernel // 2)


def norm(channels: int) -> nn.GroupNorm:
    """Group norm with the most groups, up to 8, that divide the channels."""
    return nn.GroupNorm(next(g for g in (8, 4, 2, 1) if channels % g == 0), channels)


class ConvBlock(nn.Sequential):
    """Convolution, norm, ReLU."""

    def __init__(self, dims: int, n_in: int, n_out: int, kernel: int = 3) -> None:
        super().__init__(conv(dims, n_in, n_out, kernel), norm(n_out), nn.ReLU())


class ResBlock(nn.Module):
    """Pre-activation residual block."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        layers = [
            layer
            for _ in range(2)
            for layer in (norm(channels), nn.ReLU(), conv(dims, channels, channels))
        ]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class UNet(nn.Module):
    """U-Net with average pooling; in three dimensions only height and width are halved.

    ``(B, n_in, ...) -> (B, n_out, ...)``.

    Args:
        dims: 2 or 3.
        n_in: input channels.
        width: channels of the first level, doubled at each level up to ``max_width``.
        levels: number of levels; height and width must be divisible by ``2 ** levels``.
        max_width: most channels.
    """

    def __init__(self, dims: int, n_in: int, width: int, levels: int, max_width: int) -> None:
        super().__init__()
        widths = [n_in] + [min(width * 2**i, max_width) for i in range(1, levels + 1)]
        self.down = nn.ModuleList(ConvBlock(dims, a, b) for a, b in pairwise(widths))
        ups, current = [], widths[-1]
        for level in reversed(range(levels)):
            n_out = min(width * 2**level, max_width)
            ups.append(ConvBlock(dims, current, n_out))
            current = n_out + widths[level]
        self.up = nn.ModuleList(ups)
        self.n_out = current

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            skips.append(x)
            x = downsample(block(x))
        for block in self.up:
            x = torch.cat([block(upsample(x)), skips.pop()], dim=1)
        return x


def downsample(x: Tensor) -> Tensor:
    """Average pooling of height and width by 2."""
    return F.avg_pool2d(x, 2) if x.dim() == 4 else F.avg_pool3d(x, (1, 2, 2))


def upsample(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling of height and width by 2."""
    return F.interpolate(x, scale_factor=2.0 if x.dim() == 4 else (1.0, 2.0, 2.0))
