"""Appearance encoder and image generators (face-vid2vid), with the warped source as a shortcut.

Warps are float32 under autocast. Shapes: B batch, S image side, volume (B, C, D, S/4, S/4).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.layers.convolution import (
    ConvBlock,
    ResBlock,
    conv,
    downsample,
    norm,
    upsample,
)
from emo_lightning.models.layers.precision import float32_on
from emo_lightning.models.renderer.dense_motion import Flow, sample
from emo_lightning.models.renderer.mesh_keypoints import PART_CODE, SplattedMesh

GUIDES = 5 + PART_CODE
"""Guide channels of :class:`MeshGenerator`: four of strain, distance to the face, part codes."""
FACE_RANGE = 0.4
"""Distance from the face, model units, at which residuals are halved; beyond is the source's
own."""


class AppearanceEncoder(nn.Module):
    """Source image to a feature volume: ``(B, 3, S, S) -> (B, C, D, S/4, S/4)``."""

    def __init__(self, width: int, max_width: int, channels: int, depth: int, blocks: int) -> None:
        super().__init__()
        self.channels, self.depth = channels, depth
        second, third = min(2 * width, max_width), min(4 * width, max_width)
        self.first = ConvBlock(2, 3, width, 7)
        self.down1, self.down2 = ConvBlock(2, width, second), ConvBlock(2, second, third)
        self.lift = conv(2, third, channels * depth, 1)
        self.volume = nn.Sequential(*(ResBlock(3, channels) for _ in range(blocks)))

    def forward(self, image: Tensor) -> Tensor:
        x = downsample(self.down2(downsample(self.down1(self.first(image)))))
        x = self.lift(x)
        return self.volume(x.reshape(len(x), self.channels, self.depth, *x.shape[2:]))


class Generator(nn.Module):
    """Warped volume to an image.

    With ``skip``, the warped source image is mixed in by a mask, and the network learns only what a
    warp cannot show, which makes an hour on a CPU useful. Ours; the paper's size goes without.
    """

    def __init__(
        self, width: int, max_width: int, channels: int, depth: int, blocks: int, skip: bool
    ) -> None:
        super().__init__()
        self.skip = skip
        first, second = min(4 * width, max_width), min(2 * width, max_width)
        self.flatten = ConvBlock(2, channels * depth, first)
        residual = (ResBlock(2, first) for _ in range(blocks))
        self.body = nn.Sequential(*residual, norm(first), nn.ReLU())
        self.up1, self.up2 = ConvBlock(2, first, second), ConvBlock(2, second, width)
        self.to_image = conv(2, width, 4 if skip else 3, 7)

    def forward(self, volume: Tensor, flow: Flow, image: Tensor) -> Tensor:
        """Image in 0..1 of the size of the source ``image``, which may exceed the volume's image.

        Volume and image may be one for all of the flow's frames.
        """
        volume, image = (x.expand(len(flow.grid), *x.shape[1:]) for x in (volume, image))
        x = self.flatten(sample(volume, flow.grid).flatten(1, 2)) * flow.occlusion
        x = self.to_image(self.up2(upsample(self.up1(upsample(self.body(x))))))
        if x.shape[-1] != image.shape[-1]:
            x = F.interpolate(x, size=image.shape[-2:], mode="bicubic", align_corners=False)
        generated = torch.sigmoid(x[:, :3])
        if not self.skip:
            return generated
        keep = torch.sigmoid(x[:, 3:] + 2.0)
        return keep * warp_image(image, flow) + (1.0 - keep) * generated


class Painted(NamedTuple):
    """``image`` about 0..1 and ``paint`` (B, 4, S, S): share of the warp hidden, and |residual|."""

    image: Tensor
    paint: Tensor


class MeshGenerator(nn.Module):
    """Generator with mesh keypoints: the warped source image plus a masked residual. Ours.

    Besides the warped volume of :class:`Generator` its inputs are the window's code, which scales
    the channels (as in PIRender), the part of the face and the strain at each cell, and the warped
    image. The residual is small where the warp is right, so a source larger than the residual stays
    sharp.

    Args:
        width, max_width, channels, depth, blocks: see :class:`Generator`.
        code: width of a window's code.
        output_scale: output size over the size of the volume's image, by pixel shuffle.
    """

    def __init__(
        self,
        width: int,
        max_width: int,
        channels: int,
        depth: int,
        blocks: int,
        code: int,
        output_scale: int,
    ) -> None:
        super().__init__()
        first, second = min(4 * width, max_width), min(2 * width, max_width)
        self.flatten = ConvBlock(2, channels * depth + GUIDES, first)
        self.style = nn.Linear(2 * code, 2 * first)
        residual = (ResBlock(2, first) for _ in range(blocks))
        self.body = nn.Sequential(*residual, norm(first), nn.ReLU())
        self.fold = output_scale
        pixels = self.fold**2
        self.up1 = ConvBlock(2, first + GUIDES, second)
        self.up2 = ConvBlock(2, second + 3 * pixels, 2 * width)
        self.to_image = conv(2, 2 * width, 4 * pixels, 3)
        for layer, std in ((self.style, 0.01), (self.to_image, 1e-3)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        volume: Tensor,
        flow: Flow,
        mesh: SplattedMesh,
        images: tuple[Tensor, Tensor],
        code: Tensor,
    ) -> Painted:
        """Image of the size of the first of ``images``.

        Args:
            volume: of the source.
            flow: with a surface.
            mesh: that of the flow.
            images: source at full size and at the network's own size; like the volume, one for all
                frames or one for each.
            code: ``(B, 2 * code)`` of the source's and the driving window.
        """
        full, small = (x.expand(len(flow.grid), *x.shape[1:]) for x in images)
        guide = torch.cat([strain(flow), mesh.distance, mesh.part_code], dim=1)
        volume = volume.expand(len(flow.grid), *volume.shape[1:])
        x = sample(volume, flow.grid).flatten(1, 2) * flow.occlusion
        x = torch.cat([x, F.adaptive_avg_pool2d(guide, volume.shape[-2:])], dim=1)
        gain, offset = self.style(code)[..., None, None].chunk(2, dim=1)
        x = upsample(self.body(self.flatten(x) * (1.0 + gain) + offset))
        x = self.up1(torch.cat([x, F.adaptive_avg_pool2d(guide, x.shape[-2:])], dim=1))
        warped = warp_image(full, flow)
        pixels = F.pixel_unshuffle(_resize(warped, small.shape[-1] * self.fold), self.fold)
        x = self.to_image(self.up2(torch.cat([upsample(x), pixels], dim=1)))
        x = F.pixel_shuffle(x, self.fold).float()
        # Each pixel of a shuffled cell has its own filter; a small blur avoids a visible grid.
        x = F.avg_pool2d(F.avg_pool2d(_repeat_border(x), 2, 1), 2, 1)
        x = _resize(x, full.shape[-1])
        on_face = torch.sigmoid(8.0 * (1.0 - mesh.distance / FACE_RANGE))
        on_face = F.interpolate(on_face, full.shape[-2:], mode="bilinear", align_corners=False)
        hidden, added = on_face * torch.sigmoid(x[:, 3:] - 3.0), on_face * torch.tanh(x[:, :3])
        return Painted((1.0 - hidden) * warped + added, torch.cat([hidden, added.abs()], dim=1))


def _repeat_border(x: Tensor) -> Tensor:
    """Replication padding by one pixel; torch.compile fails on F.pad after a pixel shuffle."""
    x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
    return torch.cat([x[..., :1], x, x[..., -1:]], dim=3)


def _resize(x: Tensor, size: int) -> Tensor:
    """Resize to a square; means of whole cells where the sizes allow it."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] % size == 0:
        return F.avg_pool2d(x, x.shape[-1] // size)
    antialias = x.shape[-1] > size
    return F.interpolate(x, (size, size), mode="bicubic", align_corners=False, antialias=antialias)


def strain(flow: Flow) -> Tensor:
    """Stretch and rotation of the surface from cell to cell, 0 where rigid: ``(B, 4, h, w)``."""
    assert flow.surface is not None
    step = 4.0 / flow.surface.shape[-1]
    padded = F.pad(flow.surface, (1, 1, 1, 1), mode="replicate")
    along = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / step
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / step
    identity = torch.eye(2, device=along.device, dtype=along.dtype).view(1, 4, 1, 1)
    return (torch.cat([along, down], dim=1) - identity).clamp(-2.0, 2.0)


def warp_image(image: Tensor, flow: Flow) -> Tensor:
    """Source image moved by the surface's flow, or by the volume's mean over depth without one."""
    with float32_on(image):
        if flow.surface is None:
            offset = flow.grid[..., :2].mean(dim=1).permute(0, 3, 1, 2)
        else:
            offset = flow.surface
        grid, rest = (_enlarge(each, image) for each in (offset, _identity(offset)))
        # Interpolation repeats the outermost half cells; the difference to the exact identity keeps
        # a still face exact.
        identity = _identity(image).permute(0, 2, 3, 1)
        # Bicubic keeps a drifting head sharp; weights without a surface were trained with bilinear.
        mode = "bilinear" if flow.surface is None else "bicubic"
        return sample(image, identity + grid - rest, mode)


def _enlarge(offset: Tensor, image: Tensor) -> Tensor:
    """Flow at the image's size, ``(B, S, S, 2)``."""
    size = image.shape[-2:]
    large = F.interpolate(offset, size=size, mode="bilinear", align_corners=False)
    return large.permute(0, 2, 3, 1)


def _identity(like: Tensor) -> Tensor:
    """Identity flow of the size of ``like``, ``(1, 2, H, W)``."""
    theta = torch.eye(2, 3, device=like.device)[None]
    grid = F.affine_grid(theta, [1, 1, *like.shape[2:]], align_corners=False)
    return grid.permute(0, 3, 1, 2)
