"""Feature distillation: a linear read-out of the student's features predicts the teacher's."""

from __future__ import annotations

from torch import Tensor, nn

from emo_lightning.losses.masked import MaskedBatchNorm, masked_mean

PER_FRAME, WIDTH = 2, 384


class FeatureDistillation(nn.Module):
    """Read-out of the teacher's features and its loss; used in training only.

    The teacher's channels are standardised, because a few are many times larger than the rest.

    Args:
        width: of the student's features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm(PER_FRAME * WIDTH, momentum=0.02)
        self.readout = nn.Linear(width, PER_FRAME * WIDTH)

    def forward(self, features: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error in units of the teacher's variance: about 1 before training.

        Args:
            features: ``(B, T, width)``.
            teacher: ``(B, 2T, 384)``.
            mask: ``(B, T)`` bool, True where a frame counts.
        """
        target = self.norm(teacher.unflatten(1, (-1, PER_FRAME)).flatten(2), mask)
        return masked_mean((self.readout(features) - target).square(), mask)
