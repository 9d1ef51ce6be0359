"""Keypoint losses of face-vid2vid (Wang et al., 2021, section 3 and appendix).

Shapes: B batch, K keypoints; positions in crop coordinates unless stated otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

DISTANCE = 0.1
"""Least squared distance of two keypoints, as published."""
DEPTH = 0.33
"""Mean depth of the canonical keypoints, as published; here in model units behind the nasion."""


def keypoint_prior(canonical: Tensor) -> Tensor:
    """Penalty on crowding and on the mean depth of ``(B, K, 3)`` canonical keypoints, model
    units."""
    gaps = (canonical[:, :, None] - canonical[:, None]).square().sum(dim=-1)
    own = torch.eye(gaps.shape[-1], device=gaps.device, dtype=torch.bool)
    crowding = torch.relu(DISTANCE - gaps).masked_fill(own, 0.0).sum(dim=(1, 2)).mean()
    return crowding + (canonical[..., 2].mean(dim=1) - DEPTH).abs().mean()


def random_affine(noise: Tensor) -> Tensor:
    """Affine maps ``(B, 2, 3)`` near the identity from standard normal ``noise`` (B, 6)."""
    bounded = torch.tanh(noise).view(-1, 2, 3)
    change = torch.cat([0.15 * bounded[..., :2], 0.1 * bounded[..., 2:]], dim=-1)
    return torch.eye(2, 3, device=noise.device, dtype=noise.dtype) + change


def warp_affine(image: Tensor, theta: Tensor) -> Tensor:
    """Image whose pixel at p is the input's at ``theta p``."""
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False, padding_mode="reflection")


def equivariance(found: Tensor, found_in_warped: Tensor, theta: Tensor) -> Tensor:
    """L1 distance of keypoints to those of the warped image mapped back by ``theta``; x and y."""
    back = found_in_warped[..., :2] @ theta[:, :, :2].transpose(1, 2) + theta[:, None, :, 2]
    return (found[..., :2] - back).abs().mean()


def head_pose(angle: Tensor, target: Tensor) -> Tensor:
    """L1 distance of head angles ``(B, 3)`` in degrees / 45, so that the published weight fits."""
    return torch.rad2deg((angle - target).abs()).mean() / 45.0


def deformation(delta: Tensor) -> Tensor:
    """Mean magnitude of the keypoints' expression deltas."""
    return delta.abs().mean()
