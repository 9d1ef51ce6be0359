"""Temporal jitter: how much landmarks tremble from frame to frame beyond smooth motion.

The mean length of the second difference of each point over time, ``|p[t+1] - 2 p[t] + p[t-1]|``: a
face that stands still or moves evenly has none. It is an acceleration, so a lively talker has some
too and a still picture has none: better is what is near the reference's own, neither higher nor
lower.
"""

from __future__ import annotations

import torch
from torch import Tensor


def jitter(points: Tensor, interocular: Tensor, fps: float = 25.0) -> Tensor:
    """Mean second difference at each inner frame.

    Args:
        points: ``(T, P, D)`` points of consecutive frames, in any unit, T at least 3.
        interocular: scalar, the clip's outer eye-corner distance in that unit.
        fps: frames a second.

    Returns:
        ``(T - 2,)`` float64, inter-ocular distances per second squared.

    Raises:
        ValueError: fewer than three frames, no points, or an inter-ocular distance that is not
            positive.
    """
    if points.ndim != 3 or len(points) < 3 or points.shape[1] == 0:
        raise ValueError(
            f"points have shape {tuple(points.shape)}, expected (T, P, D) with T at least 3"
        )
    unit = torch.as_tensor(interocular, dtype=torch.float64, device=points.device)
    if not bool((unit > 0).all()):
        raise ValueError(f"interocular is {float(unit.min())}, expected a distance above 0")
    points = points.to(torch.float64)
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    return torch.linalg.vector_norm(second, dim=-1).mean(dim=1) / unit * fps**2
