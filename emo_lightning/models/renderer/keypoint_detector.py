"""Keypoints: found in the image, freed of the head's pose, and moved by coefficients (after face-vid2vid, Wang et al. 2021).

face-vid2vid predicts canonical keypoints from the image and a head pose besides. Here the source's pose is known from its
coefficients, so keypoints are found where they are in the image and un-posed: when the driving coefficients are the
source's own, they stay where they are. Ours.

Shapes: B batch, K keypoints; crop coordinates in [-1, 1], x right, y down, z into the scene.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emo_lightning.models.layers.convolution import Hourglass, conv, shrink
from emo_lightning.models.renderer.mapping_net import Motion


class KeypointDetector(nn.Module):
    """Heatmaps over a volume, their mean as position: ``(B, 3, S, S) -> (B, K, 3)``.

    Args:
        keypoints: K.
        depth: slices of the volume.
        width, levels, max_width: of the hourglass, at a quarter of the image's size.
    """

    def __init__(self, keypoints: int, depth: int, width: int, levels: int, max_width: int) -> None:
        super().__init__()
        self.keypoints, self.depth = keypoints, depth
        self.body = Hourglass(2, 3, width, levels, max_width)
        self.to_heatmap = conv(2, self.body.n_out, keypoints * depth, 3)

    def forward(self, image: Tensor) -> Tensor:
        heat = self.to_heatmap(self.body(shrink(shrink(image))))
        size = heat.shape[-1]
        heat = (
            heat.reshape(len(heat), self.keypoints, -1)
            .softmax(dim=-1)
            .view(len(heat), self.keypoints, self.depth, size, size)
        )
        along, deep = axis(size, heat), axis(self.depth, heat)
        x = (heat.sum(dim=(2, 3)) * along).sum(dim=-1)
        y = (heat.sum(dim=(2, 4)) * along).sum(dim=-1)
        z = (heat.sum(dim=(3, 4)) * deep).sum(dim=-1)
        return torch.stack([x, y, z], dim=-1)


def axis(cells: int, like: Tensor) -> Tensor:
    """Centres of ``cells`` equal cells of [-1, 1]."""
    return (torch.arange(cells, device=like.device, dtype=like.dtype) + 0.5) * (2.0 / cells) - 1.0


def rotation(angle: Tensor) -> Tensor:
    """Rotation matrices ``(B, 3, 3)`` of (pitch, yaw, roll), as :func:`emo_lightning.face.pose.rotation` has them."""
    (sp, sy, sr), (cp, cy, cr) = angle.sin().unbind(-1), angle.cos().unbind(-1)
    rows = [
        [cr * cy, -cr * sy * sp - sr * cp, -cr * sy * cp + sr * sp],
        [sr * cy, -sr * sy * sp + cr * cp, -sr * sy * cp - cr * sp],
        [sy, cy * sp, cy * cp],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def shift(trans: Tensor) -> Tensor:
    """Translation ``(B, 1, 3)`` in crop units of (tx, ty, log s)."""
    return torch.cat([trans[:, :2], torch.zeros_like(trans[:, :1])], dim=1)[:, None]


def scale(trans: Tensor) -> Tensor:
    """Crop units per model unit, ``(B, 1, 1)``."""
    return trans[:, 2].exp()[:, None, None]


def pose_points(points: Tensor, motion: Motion) -> Tensor:
    """Canonical keypoints ``(B, K, 3)`` in model units to crop coordinates: ``s R (x + delta) + t``.

    face-vid2vid has ``R x + t + delta``: there the head's size is part of x, and an expression does not turn with the head.
    """
    return scale(motion.trans) * (points + motion.delta) @ rotation(motion.angle).transpose(
        1, 2
    ) + shift(motion.trans)


def unpose_points(points: Tensor, motion: Motion) -> Tensor:
    """The inverse of :func:`pose_points`."""
    return (points - shift(motion.trans)) @ rotation(motion.angle) / scale(
        motion.trans
    ) - motion.delta
