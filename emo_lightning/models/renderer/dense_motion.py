"""Dense motion: keypoint motion to a flow over the feature volume and an occlusion map
(face-vid2vid).

Flow and its candidates are float32 under autocast.

Shapes: B batch, K keypoints, M = K + 1 or K + 2 candidate motions, C channels of the volume, D x H
x W its cells; positions in [-1, 1], last axis x, y, z.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.layers.convolution import UNet, conv
from emo_lightning.models.layers.precision import float32_on
from emo_lightning.models.renderer.keypoint_detector import cell_centres, rotation
from emo_lightning.models.renderer.mapping_net import KeypointMotion
from emo_lightning.models.renderer.mesh_keypoints import SplattedMesh

COMPRESSED = 4
"""Channels of the volume in the motion estimator's input."""
HEATMAP_VARIANCE = 0.01
MESH_RANGE = 0.6
"""Distance from the face, model units, at which mesh and background are equally likely at the
start."""


class Flow(NamedTuple):
    """Backward flow.

    ``grid`` (B, D, H, W, 3): position in the source of each cell; ``occlusion`` (B, 1, H, W): 1
    where it is visible there; with mesh keypoints also ``surface`` (B, 2, h, w): position in the
    source of the visible surface.
    """

    grid: Tensor
    occlusion: Tensor
    surface: Tensor | None = None


class DenseMotion(nn.Module):
    """Weighs the motions of keypoints, background and, if any, mesh, cell by cell."""

    def __init__(
        self,
        keypoints: int,
        channels: int,
        depth: int,
        width: int,
        levels: int,
        max_width: int,
        mesh: bool = False,
    ) -> None:
        super().__init__()
        moves = keypoints + 1 + mesh
        self.compress = conv(3, channels, COMPRESSED, 1)
        self.body = UNet(3, moves * (COMPRESSED + 1), width, levels, max_width)
        self.to_weights = conv(3, self.body.n_out, moves, 3)
        self.to_occlusion = conv(2, self.body.n_out * depth, 1, 3)
        nn.init.constant_(self.to_occlusion.bias, 2.0)
        self.to_surface = conv(2, self.body.n_out * depth, moves, 3) if mesh else None

    def forward(
        self,
        volume: Tensor,
        source: Tensor,
        driving: Tensor,
        motions: tuple[KeypointMotion, KeypointMotion],
        mesh: SplattedMesh | None = None,
    ) -> Flow:
        """Flow from the driving frame back to the source.

        Args:
            volume: ``(B or 1, C, D, H, W)`` of the source; 1 for one source of all frames.
            source, driving: ``(B or 1, K, 3)`` and ``(B, K, 3)`` keypoints.
            motions: of the source and of the driving frame.
            mesh: splatted on a multiple of H x W cells.
        """
        with float32_on(driving):
            turn = _relative_pose(motions)
            coarse = mesh
            if mesh is not None:
                size = volume.shape[-2:]
                coarse = SplattedMesh(*(F.adaptive_avg_pool2d(field, size) for field in mesh))
            origins, heat = _candidates(volume, source, driving, turn, coarse)
        batch, moves = origins.shape[:2]
        compressed = self.compress(volume)
        copies = compressed[:, None].expand(batch, moves, -1, -1, -1, -1).flatten(0, 1)
        warped = sample(copies, origins.flatten(0, 1))
        warped = warped.view(batch, moves, *compressed.shape[1:])
        x = self.body(torch.cat([warped, heat[:, :, None]], dim=2).flatten(1, 2))
        logits, flat = self.to_weights(x).float(), x.flatten(1, 2)
        if coarse is not None:
            logits = logits + _prior_logits(coarse, moves)[:, :, None]
        grid = (logits.softmax(dim=1)[..., None] * origins).sum(dim=1)
        surface = None if mesh is None else self._surface(flat, mesh, source, driving, turn)
        return Flow(grid, torch.sigmoid(self.to_occlusion(flat)), surface)

    def _surface(
        self, flat: Tensor, mesh: SplattedMesh, source: Tensor, driving: Tensor, turn: Tensor
    ) -> Tensor:
        """Flow of the visible surface at the mesh's resolution, each motion at its own depth."""
        size = mesh.distance.shape[-2:]
        learned = self.to_surface(flat).float()
        with float32_on(driving):
            learned = F.interpolate(learned, size=size, mode="bilinear", align_corners=False)
            weights = (learned + _prior_logits(mesh, learned.shape[1])).softmax(dim=1)
            y, x = torch.meshgrid(*(cell_centres(n, driving) for n in size), indexing="ij")
            rest, planar = torch.stack([x, y]), turn[:, :2, :2]
            still = rest.expand(len(driving), 1, -1, -1, -1)
            face = torch.einsum("bij,bjhw->bihw", planar, rest - mesh.driving[:, :2])
            offsets = rest[None, None] - driving[:, :, :2, None, None]
            moved = torch.einsum("bij,bkjhw->bkihw", planar, offsets)
            moved = moved + source[:, :, :2, None, None]
            moves = torch.cat([still, (face + mesh.source[:, :2])[:, None], moved], dim=1)
            return (weights[:, :, None] * moves).sum(dim=1)


def sample(values: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """Values at the positions of ``grid``, borders repeated, in float32."""
    return F.grid_sample(
        values.float(), grid.float(), mode=mode, align_corners=False, padding_mode="border"
    )


def _relative_pose(motions: tuple[KeypointMotion, KeypointMotion]) -> Tensor:
    """Rotation and scale ``(B, 3, 3)`` from the driving frame back to the source."""
    source, driving = motions
    ratio = (source.trans[:, 2] - driving.trans[:, 2]).exp()[:, None, None]
    return rotation(source.angle) @ rotation(driving.angle).transpose(1, 2) * ratio


def _candidates(
    volume: Tensor, source: Tensor, driving: Tensor, turn: Tensor, mesh: SplattedMesh | None
) -> tuple[Tensor, Tensor]:
    """Origins ``(B, M, D, H, W, 3)`` of each cell under every motion, and heatmaps of the
    motions."""
    z, y, x = torch.meshgrid(*(cell_centres(n, driving) for n in volume.shape[2:]), indexing="ij")
    grid = torch.stack([x, y, z], dim=-1)
    offsets = grid[None, None] - driving[:, :, None, None, None]
    moved = torch.einsum("bij,bkdhwj->bkdhwi", turn, offsets) + source[:, :, None, None, None]
    heat = _heatmaps(grid, driving) - _heatmaps(grid, source)
    origins = [grid.expand(len(driving), 1, *grid.shape)]
    heats = [torch.zeros_like(heat[:, :1])]
    if mesh is not None:
        now, was = (p.permute(0, 2, 3, 1)[:, None] for p in (mesh.driving, mesh.source))
        face = torch.einsum("bij,bdhwj->bdhwi", turn, grid[None] - now) + was
        origins.append(face[:, None])
        near = torch.exp(-mesh.distance / MESH_RANGE)
        heats.append(near[:, :, None].expand(-1, -1, *grid.shape[:3]))
    return torch.cat([*origins, moved], dim=1), torch.cat([*heats, heat], dim=1)


def _prior_logits(mesh: SplattedMesh, moves: int) -> Tensor:
    """Initial logits ``(B, M, h, w)``: the mesh on the face, the background elsewhere."""
    near = (8.0 * (1.0 - mesh.distance / MESH_RANGE)).clamp(-8.0, 8.0)
    rest = (near - 4.0).expand(-1, moves - 2, -1, -1).clamp_max(-4.0)
    return torch.cat([torch.zeros_like(near), near, rest], dim=1)


def _heatmaps(grid: Tensor, points: Tensor) -> Tensor:
    """Gaussians ``(B, K, D, H, W)`` around the keypoints."""
    distance = (grid[None, None] - points[:, :, None, None, None]).square().sum(dim=-1)
    return torch.exp(-0.5 * distance / HEATMAP_VARIANCE)
