"""Appearance encoder and image generator (face-vid2vid), with a short cut for small trainings.

Shapes: B batch, S image side, volume (B, C, D, S/4, S/4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.conv import ConvBlock, ResBlock, conv, grow, norm, shrink
from emo_lightning.models.dense_motion import Flow


class AppearanceEncoder(nn.Module):
    """The source image as a volume of features: ``(B, 3, S, S) -> (B, C, D, S/4, S/4)``."""

    def __init__(self, width: int, max_width: int, channels: int, depth: int, blocks: int) -> None:
        super().__init__()
        self.channels, self.depth = channels, depth
        second, third = min(2 * width, max_width), min(4 * width, max_width)
        self.first = ConvBlock(2, 3, width, 7)
        self.down1, self.down2 = ConvBlock(2, width, second), ConvBlock(2, second, third)
        self.lift = conv(2, third, channels * depth, 1)
        self.volume = nn.Sequential(*(ResBlock(3, channels) for _ in range(blocks)))

    def forward(self, image: Tensor) -> Tensor:
        x = shrink(self.down2(shrink(self.down1(self.first(image)))))
        x = self.lift(x)
        return self.volume(x.view(len(x), self.channels, self.depth, *x.shape[2:]))


class Generator(nn.Module):
    """The warped volume to an image.

    With ``skip`` the source image, warped by the same flow, is mixed in where a mask says so. The network then learns only
    what a warp cannot show, which is what makes an hour on a CPU useful. Ours; the paper's size goes without.
    """

    def __init__(self, width: int, max_width: int, channels: int, depth: int, blocks: int, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        first, second = min(4 * width, max_width), min(2 * width, max_width)
        self.flatten = ConvBlock(2, channels * depth, first)
        self.body = nn.Sequential(*(ResBlock(2, first) for _ in range(blocks)), norm(first), nn.ReLU())
        self.up1, self.up2 = ConvBlock(2, first, second), ConvBlock(2, second, width)
        self.to_image = conv(2, width, 4 if skip else 3, 7)

    def forward(self, volume: Tensor, flow: Flow, image: Tensor) -> Tensor:
        """Image in 0..1 of the size of ``image``, the source, which may be larger than what the volume was made from.

        Volume and image may be one for all of the flow's frames.
        """
        volume, image = (x.expand(len(flow.grid), *x.shape[1:]) for x in (volume, image))
        warped = F.grid_sample(volume, flow.grid, align_corners=False, padding_mode="border")
        x = self.flatten(warped.flatten(1, 2)) * flow.occlusion
        x = self.to_image(self.up2(grow(self.up1(grow(self.body(x))))))
        if x.shape[-1] != image.shape[-1]:
            x = F.interpolate(x, size=image.shape[-2:], mode="bicubic", align_corners=False)
        made = torch.sigmoid(x[:, :3])
        if not self.skip:
            return made
        keep = torch.sigmoid(x[:, 3:] + 2.0)
        return keep * warp_image(image, flow) + (1.0 - keep) * made


def warp_image(image: Tensor, flow: Flow) -> Tensor:
    """The source image moved by the volume's flow, averaged over depth."""
    offset = flow.grid[..., :2].mean(dim=1).permute(0, 3, 1, 2)
    grid = F.interpolate(offset, size=image.shape[-2:], mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    # Interpolation holds the outermost half cells still; adding the difference to the exact identity keeps a still face exact.
    identity = F.affine_grid(torch.eye(2, 3).to(image).expand(1, -1, -1), [1, *image.shape[1:]], align_corners=False)
    rest = F.interpolate(_identity(offset), size=image.shape[-2:], mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    return F.grid_sample(image, identity + grid - rest, align_corners=False, padding_mode="border")


def _identity(offset: Tensor) -> Tensor:
    """The identity at the flow's own size, ``(1, 2, H, W)``."""
    theta = torch.eye(2, 3).to(offset)[None]
    return F.affine_grid(theta, [1, 1, *offset.shape[2:]], align_corners=False).permute(0, 3, 1, 2)
