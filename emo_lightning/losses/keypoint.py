"""Losses that make keypoints follow the face (face-vid2vid, Wang et al. 2021, section 3 and appendix).

Shapes: B batch, K keypoints, positions in crop coordinates unless said otherwise.
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
    """Keypoints keep apart and keep their mean depth; ``(B, K, 3)`` in model units."""
    gaps = (canonical[:, :, None] - canonical[:, None]).square().sum(dim=-1)
    apart = torch.relu(DISTANCE - gaps)
    own = torch.eye(gaps.shape[-1], device=gaps.device, dtype=torch.bool)
    crowding = apart.masked_fill(own, 0.0).sum(dim=(1, 2)).mean()
    return crowding + (canonical[..., 2].mean(dim=1) - DEPTH).abs().mean()


def random_affine(noise: Tensor) -> Tensor:
    """Affine maps ``(B, 2, 3)`` near the identity from standard normal ``noise`` (B, 6)."""
    bounded = torch.tanh(noise).view(-1, 2, 3)
    return torch.eye(2, 3).to(noise) + bounded * noise.new_tensor([0.15, 0.15, 0.1])


def warp_affine(image: Tensor, theta: Tensor) -> Tensor:
    """Image whose place p shows what was at ``theta p``."""
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False, padding_mode="reflection")


def equivariance(found: Tensor, found_in_warped: Tensor, theta: Tensor) -> Tensor:
    """Keypoints of the warped image, carried back by ``theta``, are the keypoints of the image; x and y alone."""
    back = found_in_warped[..., :2] @ theta[:, :, :2].transpose(1, 2) + theta[:, None, :, 2]
    return (found[..., :2] - back).abs().mean()


def head_pose(angle: Tensor, target: Tensor) -> Tensor:
    """L1 distance of head angles in degrees, over 45 so that the published weight fits radians' size; ``(B, 3)`` radians."""
    return torch.rad2deg((angle - target).abs()).mean() / 45.0


def deformation(delta: Tensor) -> Tensor:
    """Mean size of the keypoints' expression deltas."""
    return delta.abs().mean()
