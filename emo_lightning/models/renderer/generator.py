"""Appearance encoder and image generator (face-vid2vid), with a short cut for small trainings.

Shapes: B batch, S image side, volume (B, C, D, S/4, S/4).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.layers.convolution import ConvBlock, ResBlock, conv, grow, norm, shrink
from emo_lightning.models.renderer.dense_motion import Flow
from emo_lightning.models.renderer.mesh_keypoints import MARK, Sheet


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
        return self.volume(x.reshape(len(x), self.channels, self.depth, *x.shape[2:]))


GUIDES = 5 + MARK
"""Channels that tell the retoucher what lies where: the strain's four, the distance to the face, the anchors' marks."""


class Generator(nn.Module):
    """The warped volume to an image.

    With ``skip`` the source image, warped by the same flow, is mixed in where a mask says so. The network then learns only
    what a warp cannot show, which is what makes an hour on a CPU useful. Ours; the paper's size goes without.
    """

    def __init__(
        self, width: int, max_width: int, channels: int, depth: int, blocks: int, skip: bool
    ) -> None:
        super().__init__()
        self.skip = skip
        first, second = min(4 * width, max_width), min(2 * width, max_width)
        self.flatten = ConvBlock(2, channels * depth, first)
        self.body = nn.Sequential(
            *(ResBlock(2, first) for _ in range(blocks)), norm(first), nn.ReLU()
        )
        self.up1, self.up2 = ConvBlock(2, first, second), ConvBlock(2, second, width)
        self.to_image = conv(2, width, 4 if skip else 3, 7)

    def forward(self, volume: Tensor, flow: Flow, image: Tensor) -> Tensor:
        """Image in 0..1 of the size of ``image``, the source, which may be larger than what the volume was made from.

        Volume and image may be one for all of the flow's frames.
        """
        volume, image = (x.expand(len(flow.grid), *x.shape[1:]) for x in (volume, image))
        x = self.flatten(_warp_volume(volume, flow)) * flow.occlusion
        x = self.to_image(self.up2(grow(self.up1(grow(self.body(x))))))
        if x.shape[-1] != image.shape[-1]:
            x = F.interpolate(x, size=image.shape[-2:], mode="bicubic", align_corners=False)
        made = torch.sigmoid(x[:, :3])
        if not self.skip:
            return made
        keep = torch.sigmoid(x[:, 3:] + 2.0)
        return keep * warp_image(image, flow) + (1.0 - keep) * made


CANVAS = 0.4
"""How far from the face, in model units, it is painted on half as much; the background is the source's own, to the last bit."""


class Retouched(NamedTuple):
    """``image`` about 0..1, and the ``paint`` in it (B, 4, S, S): how much of the warp is hidden, and what is added to each colour."""

    image: Tensor
    paint: Tensor


class Retoucher(nn.Module):
    """The warped source image, and what the warp cannot show painted over it: the generator of a renderer with a sheet. Ours.

    It sees the warped volume as :class:`Generator` does, and besides: the window's code, which sets the gain of every channel
    (PIRender's way), what part of the face lies where and how it stretches, and the warped image itself. What it adds is small
    where the warp is right, so an image larger than what it paints stays as sharp as the source.

    Args:
        width, max_width, channels, depth, blocks: as :class:`Generator` has them.
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
        self.body = nn.Sequential(
            *(ResBlock(2, first) for _ in range(blocks)), norm(first), nn.ReLU()
        )
        self.fold = output_scale
        self.up1, self.up2 = (
            ConvBlock(2, first + GUIDES, second),
            ConvBlock(2, second + 3 * self.fold**2, 2 * width),
        )
        self.to_image = conv(2, 2 * width, 4 * self.fold**2, 3)
        nn.init.normal_(self.style.weight, std=0.01)
        nn.init.zeros_(self.style.bias)
        nn.init.normal_(self.to_image.weight, std=1e-3)
        nn.init.zeros_(self.to_image.bias)

    def forward(
        self, volume: Tensor, flow: Flow, sheet: Sheet, images: tuple[Tensor, Tensor], code: Tensor
    ) -> Retouched:
        """An image of the size of the first of ``images``.

        Args:
            volume: of the source.
            flow: with a surface.
            sheet: that of the flow.
            images: the source in full, and at the network's own size; like the volume one for all frames or one for each.
            code: ``(B, 2 * code)`` of the source's and the driving window.
        """
        full, small = (x.expand(len(flow.grid), *x.shape[1:]) for x in images)
        warped_volume = _warp_volume(volume.expand(len(flow.grid), *volume.shape[1:]), flow)
        guide = torch.cat([strain(flow), sheet.far, sheet.mark], dim=1)
        x = torch.cat(
            [warped_volume * flow.occlusion, F.adaptive_avg_pool2d(guide, volume.shape[-2:])], dim=1
        )
        gain, offset = self.style(code)[..., None, None].chunk(2, dim=1)
        x = grow(self.body(self.flatten(x) * (1.0 + gain) + offset))
        x = self.up1(torch.cat([x, F.adaptive_avg_pool2d(guide, x.shape[-2:])], dim=1))
        warped = warp_image(full, flow)
        seen = F.pixel_unshuffle(_resized(warped, small.shape[-1] * self.fold), self.fold)
        x = F.pixel_shuffle(self.to_image(self.up2(torch.cat([grow(x), seen], dim=1))), self.fold)
        # The four pixels of a cell come from four filters, whose differences would show as a grid on faces unlike those trained on.
        x = F.avg_pool2d(F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 2, 1), 2, 1)
        x = _resized(x, full.shape[-1])
        reach = F.interpolate(
            torch.sigmoid(8.0 * (1.0 - sheet.far / CANVAS)),
            size=full.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        hidden, added = reach * torch.sigmoid(x[:, 3:] - 3.0), reach * torch.tanh(x[:, :3])
        return Retouched((1.0 - hidden) * warped + added, torch.cat([hidden, added.abs()], dim=1))


def _resized(x: Tensor, size: int) -> Tensor:
    """Another side; means of whole cells where the sides allow it."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] % size == 0:
        return F.avg_pool2d(x, x.shape[-1] // size)
    return F.interpolate(
        x, size=(size, size), mode="bicubic", align_corners=False, antialias=x.shape[-1] > size
    )


def strain(flow: Flow) -> Tensor:
    """How the surface stretches and turns from cell to cell, 0 where it does not: ``(B, 4, h, w)``."""
    assert flow.surface is not None
    step = 2.0 / flow.surface.shape[-1]
    padded = F.pad(flow.surface, (1, 1, 1, 1), mode="replicate")
    along = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / (2 * step)
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / (2 * step)
    unit = torch.tensor([1.0, 0.0, 0.0, 1.0]).to(along).view(1, 4, 1, 1)
    return (torch.cat([along, down], dim=1) - unit).clamp(-2.0, 2.0)


def _warp_volume(volume: Tensor, flow: Flow) -> Tensor:
    return F.grid_sample(volume, flow.grid, align_corners=False, padding_mode="border").flatten(
        1, 2
    )


def warp_image(image: Tensor, flow: Flow) -> Tensor:
    """The source image moved by the surface's flow, or the volume's averaged over depth where there is no surface."""
    offset = (
        flow.grid[..., :2].mean(dim=1).permute(0, 3, 1, 2) if flow.surface is None else flow.surface
    )
    grid = F.interpolate(
        offset, size=image.shape[-2:], mode="bilinear", align_corners=False
    ).permute(0, 2, 3, 1)
    # Interpolation holds the outermost half cells still; adding the difference to the exact identity keeps a still face exact.
    identity = F.affine_grid(
        torch.eye(2, 3).to(image).expand(1, -1, -1), [1, *image.shape[1:]], align_corners=False
    )
    rest = F.interpolate(
        _identity(offset), size=image.shape[-2:], mode="bilinear", align_corners=False
    ).permute(0, 2, 3, 1)
    # Cubic, so that a head that drifts stays sharp; only with a surface, since trained weights without one expect the other.
    mode = "bilinear" if flow.surface is None else "bicubic"
    return F.grid_sample(
        image, identity + grid - rest, mode=mode, align_corners=False, padding_mode="border"
    )


def _identity(offset: Tensor) -> Tensor:
    """The identity at the flow's own size, ``(1, 2, H, W)``."""
    theta = torch.eye(2, 3).to(offset)[None]
    return F.affine_grid(theta, [1, 1, *offset.shape[2:]], align_corners=False).permute(0, 3, 1, 2)
