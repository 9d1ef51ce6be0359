"""Domain-adversarial training: gradient reversal from several label probes.

Ganin et al., *Domain-Adversarial Training of Neural Networks*, JMLR 2016. A feature that fools one
probe may still be decodable by another kind, so there are four: a linear one and an MLP on single
frames, and the same on a clip's mean and standard deviation.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.losses.masked import MaskedBatchNorm


class _GradientReversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * grads[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Identity whose gradient is negated and scaled by ``strength``."""
    return _GradientReversal.apply(x, strength)


def ramp(progress: float) -> float:
    """Ganin's schedule of the strength: 0 at the start of training, near 1 after a third of it."""
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


class LabelProbes(nn.Module):
    """Classifiers of a clip's label from its frames ``(B, T, C)`` and from their statistics.

    Inputs are standardised without learned scales, so that features cannot hide by shrinking.
    """

    def __init__(self, width: int, classes: int, hidden: int = 128) -> None:
        super().__init__()
        self.frames, self.clips = MaskedBatchNorm(width), MaskedBatchNorm(2 * width)
        self.by_frame, self.by_clip = (
            nn.ModuleList(
                [
                    nn.Linear(n, classes),
                    nn.Sequential(nn.Linear(n, hidden), nn.GELU(), nn.Linear(hidden, classes)),
                ]
            )
            for n in (width, 2 * width)
        )

    def forward(self, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Mean cross-entropy of the four probes; 0 with fewer than two clips.

        Args:
            x: ``(B, T, C)``.
            labels: ``(B,)`` int64.
            mask: ``(B, T)`` bool; clips without a frame do not count.
        """
        valid = mask.any(dim=1)
        frames = self.frames(x, mask)
        clips = self.clips(masked_statistics(x, mask), valid)
        per_frame = labels[:, None].expand_as(mask)
        losses = [_masked_cross_entropy(probe(frames), per_frame, mask) for probe in self.by_frame]
        losses += [_masked_cross_entropy(probe(clips), labels, valid) for probe in self.by_clip]
        return torch.stack(losses).mean() * (valid.sum() >= 2)


def masked_statistics(x: Tensor, mask: Tensor) -> Tensor:
    """Mean and standard deviation ``(B, 2 C)`` of ``(B, T, C)`` over the frames of the mask."""
    x = x.float()
    share = mask[..., None].float() / mask.sum(dim=1).clamp_min(1)[:, None, None]
    mean = (x * share).sum(dim=1)
    variance = ((x - mean[:, None]).square() * share).sum(dim=1)
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)


def _masked_cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Mean over the rows of the mask, without indexing by it: that would wait for the device."""
    loss = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), reduction="none")
    return (loss * mask.flatten()).sum() / mask.sum().clamp_min(1)
