"""Fifteen even steps: a penalty on the response along each emotion's own units. Ours; the paper publishes none."""

from __future__ import annotations

import torch
from torch import Tensor


def even_response(response: Tensor, prototypes: Tensor) -> Tensor:
    """Penalty on a response that is not monotone or not evenly spaced in the level.

    Args:
        response: ``(8, 15, E)`` change of EXP for each emotion and level.
        prototypes: ``(8, E)``; an emotion's own units are those where this is not 0.

    Returns:
        A scalar: mean squared second difference, relative to the mean step, plus steps that go backwards.
    """
    own = prototypes != 0
    if not bool(own.any()):
        return response.sum() * 0.0
    curves = response.permute(0, 2, 1)[own] * prototypes[own].sign()[:, None]
    steps = curves.diff(dim=1)
    size = steps.mean(dim=1, keepdim=True).abs().clamp_min(1e-3).detach()
    relative = steps / size
    return (relative.diff(dim=1) ** 2).mean() + torch.relu(-relative).mean()
