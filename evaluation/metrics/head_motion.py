"""Head-motion diversity: how much the head moves within a clip.

SadTalker (Zhang et al., CVPR 2023) and its successors report the standard deviation of "head pose
feature embeddings" of generated frames, from a pose network that is not published with it. Here the
features are the pose itself, rotation angles of a fitted face model: for each of pitch, yaw and
roll the standard deviation over the clip's frames (n - 1 below the line), and the mean of the
three, in degrees. A still head has 0. Better is what is near the reference's own: a head that
shakes scores high as well.
"""

from __future__ import annotations

import torch
from torch import Tensor


def head_motion(angles: Tensor) -> Tensor:
    """Spread of a clip's head pose.

    Args:
        angles: ``(T, 3)`` pitch, yaw, roll in radians, T at least 2; small enough not to wrap
            around.

    Returns:
        ``(3,)`` float64 standard deviations in degrees. Their mean is the clip's score.

    Raises:
        ValueError: another shape, or fewer than two frames.
    """
    if angles.ndim != 2 or angles.shape[1] != 3 or len(angles) < 2:
        raise ValueError(
            f"angles have shape {tuple(angles.shape)}, expected (T, 3) with T at least 2"
        )
    return torch.rad2deg(angles.to(torch.float64)).std(dim=0, correction=1)
