"""Keypoint detector, head pose removal and posing (after face-vid2vid, Wang et al. 2021).

face-vid2vid predicts canonical keypoints and a head pose from the image. Here the source's pose is
known from its coefficients, so keypoints are detected in the image and their pose is removed: with
the source's own coefficients they stay in place. Ours. Positions are float32 under autocast.

Shapes: B batch, K keypoints; crop coordinates in [-1, 1], x right, y down, z into the scene.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emo_lightning.models.layers.convolution import UNet, conv, downsample
from emo_lightning.models.layers.precision import float32_on
from emo_lightning.models.renderer.mapping_net import KeypointMotion


class KeypointDetector(nn.Module):
    """Soft-argmax of heatmaps over a volume: ``(B, 3, S, S) -> (B, K, 3)``.

    Args:
        keypoints: K.
        depth: slices of the volume.
        width, levels, max_width: of the hourglass, at a quarter of the image's size.
    """

    def __init__(self, keypoints: int, depth: int, width: int, levels: int, max_width: int) -> None:
        super().__init__()
        self.keypoints, self.depth = keypoints, depth
        self.body = UNet(2, 3, width, levels, max_width)
        self.to_heatmap = conv(2, self.body.n_out, keypoints * depth, 3)

    def forward(self, image: Tensor) -> Tensor:
        heat = self.to_heatmap(self.body(downsample(downsample(image)))).float()
        batch, size = len(heat), heat.shape[-1]
        heat = heat.reshape(batch, self.keypoints, -1).softmax(dim=-1)
        heat = heat.view(batch, self.keypoints, self.depth, size, size)
        along, deep = cell_centres(size, heat), cell_centres(self.depth, heat)
        x = (heat.sum(dim=(2, 3)) * along).sum(dim=-1)
        y = (heat.sum(dim=(2, 4)) * along).sum(dim=-1)
        z = (heat.sum(dim=(3, 4)) * deep).sum(dim=-1)
        return torch.stack([x, y, z], dim=-1)


def cell_centres(cells: int, like: Tensor) -> Tensor:
    """Centres of ``cells`` equal cells of [-1, 1], float32 on the device of ``like``."""
    return (torch.arange(cells, device=like.device) + 0.5) * (2.0 / cells) - 1.0


def rotation(angle: Tensor) -> Tensor:
    """Rotation matrices ``(B, 3, 3)`` of (pitch, yaw, roll), see :mod:`emo_lightning.face.pose`."""
    (sp, sy, sr), (cp, cy, cr) = angle.sin().unbind(-1), angle.cos().unbind(-1)
    rows = [
        [cr * cy, -cr * sy * sp - sr * cp, -cr * sy * cp + sr * sp],
        [sr * cy, -sr * sy * sp + cr * cp, -sr * sy * cp - cr * sp],
        [sy, cy * sp, cy * cp],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def translation(trans: Tensor) -> Tensor:
    """Translation ``(B, 1, 3)`` in crop units of (tx, ty, log s)."""
    return torch.cat([trans[:, :2], torch.zeros_like(trans[:, :1])], dim=1)[:, None]


def scale(trans: Tensor) -> Tensor:
    """Crop units per model unit, ``(B, 1, 1)``."""
    return trans[:, 2].exp()[:, None, None]


def pose_points(points: Tensor, motion: KeypointMotion) -> Tensor:
    """Canonical keypoints ``(B, K, 3)`` in model units to crop coordinates: ``s R (x + delta) +
    t``.

    face-vid2vid has ``R x + t + delta``: there the head's size is part of x, and an expression does
    not turn with the head.
    """
    return to_crop(points + motion.delta, motion)


def unpose_points(points: Tensor, motion: KeypointMotion) -> Tensor:
    """Inverse of :func:`pose_points`."""
    with float32_on(points):
        turned = (points - translation(motion.trans)) @ rotation(motion.angle)
        return turned / scale(motion.trans) - motion.delta


def to_crop(points: Tensor, motion: KeypointMotion) -> Tensor:
    """Points ``(B, N, 3)`` in model units to crop coordinates: ``s R x + t``."""
    with float32_on(points):
        turned = scale(motion.trans) * points @ rotation(motion.angle).transpose(1, 2)
        return turned + translation(motion.trans)
