"""Dense motion: from how the keypoints moved to a flow over the feature volume, and what it uncovers (face-vid2vid).

Shapes: B batch, K keypoints, C channels of the volume, D x H x W its cells; positions in [-1, 1], last axis x, y, z.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.layers.convolution import Hourglass, conv
from emo_lightning.models.renderer.keypoint_detector import axis, rotation
from emo_lightning.models.renderer.mapping_net import Motion
from emo_lightning.models.renderer.mesh_keypoints import Sheet

COMPRESSED = 4
"""Channels of the volume that the motion estimator sees."""
SPREAD = 0.01
"""Variance of a keypoint's heatmap."""


REACH = 0.6
"""How far from the face the sheet and the background are equally likely before training, model units."""


class Flow(NamedTuple):
    """``grid`` (B, D, H, W, 3) where in the source each cell comes from; ``occlusion`` (B, 1, H, W) 1 where it can be seen there;
    with a sheet also ``surface`` (B, 2, h, w), where in the source what is seen at each place comes from."""

    grid: Tensor
    occlusion: Tensor
    surface: Tensor | None = None


class DenseMotion(nn.Module):
    """Weighs the motion of each keypoint, of the background and, where there is one, of the sheet, cell by cell."""

    def __init__(
        self,
        keypoints: int,
        channels: int,
        depth: int,
        width: int,
        levels: int,
        max_width: int,
        sheet: bool = False,
    ) -> None:
        super().__init__()
        moves = keypoints + 1 + sheet
        self.compress = conv(3, channels, COMPRESSED, 1)
        self.body = Hourglass(3, moves * (COMPRESSED + 1), width, levels, max_width)
        self.to_weights = conv(3, self.body.n_out, moves, 3)
        self.to_occlusion = conv(2, self.body.n_out * depth, 1, 3)
        nn.init.constant_(self.to_occlusion.bias, 2.0)
        self.to_surface = conv(2, self.body.n_out * depth, moves, 3) if sheet else None

    def forward(
        self,
        volume: Tensor,
        source: Tensor,
        driving: Tensor,
        motions: tuple[Motion, Motion],
        sheet: Sheet | None = None,
    ) -> Flow:
        """Flow from the driving frame back to the source.

        Args:
            volume: ``(B or 1, C, D, H, W)`` of the source; with 1, the source's part of the work is done once.
            source, driving: ``(B or 1, K, 3)`` and ``(B, K, 3)`` keypoints.
            motions: of the source and of the driving frame.
            sheet: the face model's, on a multiple of H x W cells.
        """
        grid, turn = _grid(volume), _turn(motions)
        origins = _origins(grid, source, driving, turn)
        heat = _heatmaps(grid, driving) - _heatmaps(grid, source)
        first = [torch.zeros_like(heat[:, :1])]
        if sheet is not None:
            small = Sheet(*(F.adaptive_avg_pool2d(x, volume.shape[-2:]) for x in sheet))
            origins = torch.cat(
                [origins[:, :1], _sheet_origins(grid, small, turn)[:, None], origins[:, 1:]], dim=1
            )
            first.append(torch.exp(-small.far / REACH)[:, :, None].expand(-1, -1, *grid.shape[:3]))
        batch, moves = origins.shape[:2]
        small_volume = self.compress(volume)
        copies = small_volume[:, None].expand(batch, moves, -1, -1, -1, -1).flatten(0, 1)
        warped = F.grid_sample(
            copies, origins.flatten(0, 1), align_corners=False, padding_mode="border"
        )
        heat = torch.cat([*first, heat], dim=1)
        seen = torch.cat(
            [warped.view(batch, moves, *small_volume.shape[1:]), heat[:, :, None]], dim=2
        )
        x = self.body(seen.flatten(1, 2))
        logits, flat = self.to_weights(x), x.flatten(1, 2)
        if sheet is not None:
            logits = logits + _expectation(small, moves)[:, :, None]
        flow = (logits.softmax(dim=1)[..., None] * origins).sum(dim=1)
        surface = None if sheet is None else self._surface(flat, sheet, source, driving, turn)
        return Flow(flow, torch.sigmoid(self.to_occlusion(flat)), surface)

    def _surface(
        self, flat: Tensor, sheet: Sheet, source: Tensor, driving: Tensor, turn: Tensor
    ) -> Tensor:
        """Where the visible surface comes from: each move at the depth of what it moves, at the sheet's resolution."""
        assert self.to_surface is not None
        size = sheet.far.shape[-2:]
        rest = _places(sheet.far)
        still = rest.expand(len(driving), 1, -1, -1, -1)
        face = (
            torch.einsum("bij,bjhw->bihw", turn[:, :2, :2], rest - sheet.now[:, :2])
            + sheet.was[:, :2]
        )
        free = torch.einsum(
            "bij,bkjhw->bkihw", turn[:, :2, :2], rest[None, None] - driving[:, :, :2, None, None]
        )
        moved = free + source[:, :, :2, None, None]
        learned = F.interpolate(
            self.to_surface(flat), size=size, mode="bilinear", align_corners=False
        )
        weights = (learned + _expectation(sheet, learned.shape[1])).softmax(dim=1)
        return (weights[:, :, None] * torch.cat([still, face[:, None], moved], dim=1)).sum(dim=1)


def _grid(volume: Tensor) -> Tensor:
    """Cell centres ``(D, H, W, 3)``."""
    z, y, x = torch.meshgrid(*(axis(n, volume) for n in volume.shape[2:]), indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def _places(like: Tensor) -> Tensor:
    """Cell centres in the plane ``(2, h, w)``."""
    y, x = torch.meshgrid(*(axis(n, like) for n in like.shape[-2:]), indexing="ij")
    return torch.stack([x, y])


def _turn(motions: tuple[Motion, Motion]) -> Tensor:
    """What the head's pose does to a small step, from the driving frame back to the source: ``(B, 3, 3)``."""
    was, now = motions
    return (
        rotation(was.angle)
        @ rotation(now.angle).transpose(1, 2)
        * (was.trans[:, 2] - now.trans[:, 2]).exp()[:, None, None]
    )


def _origins(grid: Tensor, source: Tensor, driving: Tensor, turn: Tensor) -> Tensor:
    """Where each cell comes from if it moves with the background or with keypoint k: ``(B, 1 + K, D, H, W, 3)``."""
    rest = grid[None, None] - driving[:, :, None, None, None]
    moved = torch.einsum("bij,bkdhwj->bkdhwi", turn, rest) + source[:, :, None, None, None]
    still = grid.expand(len(driving), 1, *grid.shape)
    return torch.cat([still, moved], dim=1)


def _sheet_origins(grid: Tensor, sheet: Sheet, turn: Tensor) -> Tensor:
    """Where each cell comes from if it moves with the sheet: ``(B, D, H, W, 3)``."""
    now, was = (x.permute(0, 2, 3, 1)[:, None] for x in (sheet.now, sheet.was))
    return torch.einsum("bij,bdhwj->bdhwi", turn, grid[None] - now) + was


def _expectation(sheet: Sheet, moves: int) -> Tensor:
    """Logits before anything is learned ``(B, moves, h, w)``: the sheet where the face is, the background beyond."""
    near = (8.0 * (1.0 - sheet.far / REACH)).clamp(-8.0, 8.0)
    return torch.cat(
        [torch.zeros_like(near), near, (near - 4.0).expand(-1, moves - 2, -1, -1).clamp_max(-4.0)],
        dim=1,
    )


def _heatmaps(grid: Tensor, points: Tensor) -> Tensor:
    """Gaussians ``(B, K, D, H, W)`` around the keypoints."""
    distance = (grid[None, None] - points[:, :, None, None, None]).square().sum(dim=-1)
    return torch.exp(-0.5 * distance / SPREAD)
