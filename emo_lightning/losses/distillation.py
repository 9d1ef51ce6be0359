"""Learning from a larger network's features: the pupil's own features must predict them, frame by frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emo_lightning.losses.masked import masked_mean

PER_FRAME, WIDTH = 2, 384


class FeatureDistillation(nn.Module):
    """A linear read-out of the teacher's features and its loss; it serves training alone.

    Each of the teacher's channels counts in its own standard deviations, for a few are many times larger than the rest.

    Args:
        width: of the pupil's features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(PER_FRAME * WIDTH, momentum=0.02, affine=False)
        self.readout = nn.Linear(width, PER_FRAME * WIDTH)

    def forward(self, features: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error in the teacher's variances: 1 when nothing is learned.

        Args:
            features: ``(B, T, width)``.
            teacher: ``(B, 2T, 384)``.
            mask: ``(B, T)`` bool, True where a frame counts.
        """
        if not bool(mask.any()):
            return features.sum() * 0.0
        heard = teacher.unflatten(1, (-1, PER_FRAME)).flatten(2)
        target = torch.zeros_like(heard)
        target[mask] = self.norm(heard[mask])
        return masked_mean((self.readout(features) - target).square(), mask)
