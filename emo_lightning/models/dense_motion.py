"""Dense motion: from how the keypoints moved to a flow over the feature volume, and what it uncovers (face-vid2vid).

Shapes: B batch, K keypoints, C channels of the volume, D x H x W its cells; positions in [-1, 1], last axis x, y, z.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.conv import Hourglass, conv
from emo_lightning.models.keypoints import axis, rotation
from emo_lightning.models.mapping import Motion

COMPRESSED = 4
"""Channels of the volume that the motion estimator sees."""
SPREAD = 0.01
"""Variance of a keypoint's heatmap."""


class Flow(NamedTuple):
    """``grid`` (B, D, H, W, 3) where in the source each cell comes from; ``occlusion`` (B, 1, H, W) 1 where it can be seen there."""

    grid: Tensor
    occlusion: Tensor


class DenseMotion(nn.Module):
    """Weighs the motion of each keypoint and of the background, cell by cell."""

    def __init__(self, keypoints: int, channels: int, depth: int, width: int, levels: int, max_width: int) -> None:
        super().__init__()
        self.compress = conv(3, channels, COMPRESSED, 1)
        self.body = Hourglass(3, (keypoints + 1) * (COMPRESSED + 1), width, levels, max_width)
        self.to_weights = conv(3, self.body.n_out, keypoints + 1, 3)
        self.to_occlusion = conv(2, self.body.n_out * depth, 1, 3)
        nn.init.constant_(self.to_occlusion.bias, 2.0)

    def forward(self, volume: Tensor, source: Tensor, driving: Tensor, motions: tuple[Motion, Motion]) -> Flow:
        """Flow from the driving frame back to the source.

        Args:
            volume: ``(B or 1, C, D, H, W)`` of the source; with 1, the source's part of the work is done once.
            source, driving: ``(B or 1, K, 3)`` and ``(B, K, 3)`` keypoints.
            motions: of the source and of the driving frame.
        """
        grid = _grid(volume)
        origins = _origins(grid, source, driving, motions)
        batch, moves = origins.shape[:2]
        small = self.compress(volume)
        copies = small[:, None].expand(batch, moves, -1, -1, -1, -1).flatten(0, 1)
        warped = F.grid_sample(copies, origins.flatten(0, 1), align_corners=False, padding_mode="border")
        heat = _heatmaps(grid, driving) - _heatmaps(grid, source)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], dim=1)
        seen = torch.cat([warped.view(batch, moves, *small.shape[1:]), heat[:, :, None]], dim=2)
        x = self.body(seen.flatten(1, 2))
        weights = self.to_weights(x).softmax(dim=1)
        flow = (weights[..., None] * origins).sum(dim=1)
        return Flow(flow, torch.sigmoid(self.to_occlusion(x.flatten(1, 2))))


def _grid(volume: Tensor) -> Tensor:
    """Cell centres ``(D, H, W, 3)``."""
    z, y, x = torch.meshgrid(*(axis(n, volume) for n in volume.shape[2:]), indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def _origins(grid: Tensor, source: Tensor, driving: Tensor, motions: tuple[Motion, Motion]) -> Tensor:
    """Where each cell comes from if it moves with the background or with keypoint k: ``(B, 1 + K, D, H, W, 3)``."""
    was, now = motions
    turn = rotation(was.angle) @ rotation(now.angle).transpose(1, 2) * (was.trans[:, 2] - now.trans[:, 2]).exp()[:, None, None]
    rest = grid[None, None] - driving[:, :, None, None, None]
    moved = torch.einsum("bij,bkdhwj->bkdhwi", turn, rest) + source[:, :, None, None, None]
    still = grid.expand(len(driving), 1, *grid.shape)
    return torch.cat([still, moved], dim=1)


def _heatmaps(grid: Tensor, points: Tensor) -> Tensor:
    """Gaussians ``(B, K, D, H, W)`` around the keypoints."""
    distance = (grid[None, None] - points[:, :, None, None, None]).square().sum(dim=-1)
    return torch.exp(-0.5 * distance / SPREAD)
