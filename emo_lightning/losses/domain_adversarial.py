"""Gradient reversal (Ganin et al., *Domain-Adversarial Training of Neural Networks*, JMLR 2016) from several classifiers.

One classifier alone is easily fooled while another, of another kind, still reads the label; so there are four: a linear one
and a perceptron on single frames, and the same on a clip's mean and spread.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * grads[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """The identity, whose gradient comes back turned round and scaled by ``strength``."""
    return _Reverse.apply(x, strength)


def ramp(progress: float) -> float:
    """Ganin's schedule of the strength: 0 at the start of training, near 1 from its third on."""
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


class LabelProbes(nn.Module):
    """Classifiers of a clip's label from its frames ``(B, T, C)`` and from their mean and spread.

    Features are normalised first, without learned scales, so that they cannot hide by shrinking.
    """

    def __init__(self, width: int, classes: int, hidden: int = 128) -> None:
        super().__init__()
        self.frames = nn.BatchNorm1d(width, affine=False)
        self.clips = nn.BatchNorm1d(2 * width, affine=False)
        self.by_frame = nn.ModuleList(
            [nn.Linear(width, classes), _perceptron(width, hidden, classes)]
        )
        self.by_clip = nn.ModuleList(
            [nn.Linear(2 * width, classes), _perceptron(2 * width, hidden, classes)]
        )

    def forward(self, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Mean cross-entropy of all four.

        Args:
            x: ``(B, T, C)``. labels: ``(B,)`` int64. mask: ``(B, T)`` bool; clips without a frame do not count.
        """
        there = mask.any(dim=1)
        if there.sum() < 2:
            # Still a function of every weight: processes that train together must all have a gradient.
            return (
                x.sum() + torch.stack([weight.sum() for weight in self.parameters()]).sum()
            ) * 0.0
        frames, clips = self.frames(x[mask]), self.clips(statistics(x, mask)[there])
        own = labels[:, None].expand_as(mask)[mask]
        losses = [F.cross_entropy(reader(frames), own) for reader in self.by_frame]
        losses += [F.cross_entropy(reader(clips), labels[there]) for reader in self.by_clip]
        return torch.stack(losses).mean()


def statistics(x: Tensor, mask: Tensor) -> Tensor:
    """Mean and standard deviation of ``(B, T, C)`` over the frames that count, ``(B, 2 C)``."""
    share = mask[..., None].float() / mask.sum(dim=1).clamp_min(1)[:, None, None]
    mean = (x * share).sum(dim=1)
    variance = ((x - mean[:, None]).square() * share).sum(dim=1)
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)


def _perceptron(width: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, classes))
