"""Masked distances over clips of different lengths, level labels, and the speech target.

No function here waits for the device: masks weigh, they do not index.

Shapes: B batch, T frames, C channels; ``mask`` is (B, T) bool, True where a frame counts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.motion.emotions import ANNOTATED_LEVELS, LEVEL_MAX, NEUTRAL

MIDDLE_LEVEL = 8.0


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm without affine parameters over the rows of a mask, in float32.

    Equal to ``BatchNorm1d(affine=False)(x[mask])`` at these rows, but indexing by a mask would wait
    for the device. Rows outside the mask are normalised too and belong to no statistic.
    """

    def __init__(self, width: int, momentum: float = 0.1) -> None:
        super().__init__(width, momentum=momentum, affine=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise ``(..., C)`` with the statistics of ``mask`` (...), running ones in
        evaluation."""
        x = x.float()
        mean, variance = self.running_mean, self.running_var
        if self.training:
            dims = tuple(range(mask.dim()))
            weight, count = mask[..., None].float(), mask.sum().float()
            mean = (x * weight).sum(dims) / count.clamp_min(1.0)
            variance = ((x - mean).square() * weight).sum(dims) / count.clamp_min(1.0)
            with torch.no_grad():
                # As in BatchNorm1d: biased for the batch, unbiased for the running variance.
                share = self.momentum * (count >= 2)
                unbiased = variance * count / (count - 1.0).clamp_min(1.0)
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(unbiased, share)
                self.num_batches_tracked += 1
        return (x - mean) * (variance + self.eps).rsqrt()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``(B, T, C)`` over the frames of the mask; 0 when it is empty."""
    weights = mask[..., None].float()
    return (values * weights).sum() / (weights.sum() * values.shape[-1]).clamp_min(1.0)


def smooth_l1(
    predicted: Tensor,
    target: Tensor,
    mask: Tensor,
    beta: float = 0.05,
    weights: Tensor | None = None,
) -> Tensor:
    """Huber distance, quadratic below ``beta``; ``weights`` (C,) by channel."""
    distance = F.smooth_l1_loss(predicted, target, beta=beta, reduction="none")
    return masked_mean(distance if weights is None else distance * weights, mask)


def velocity(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L1 distance of the frame-to-frame differences."""
    both = mask[:, 1:] & mask[:, :-1]
    return masked_mean((predicted.diff(dim=1) - target.diff(dim=1)).abs(), both)


def spread(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L1 distance of the channels' standard deviations over all frames of the mask."""
    count = mask.sum().float()
    deviations = []
    for values in (predicted.float(), target.float()):
        weights = mask[..., None].float()
        mean = (values * weights).sum((0, 1)) / count.clamp_min(1.0)
        squares = ((values - mean).square() * weights).sum((0, 1))
        deviations.append((squares / (count - 1.0).clamp_min(1.0)).clamp_min(1e-12).sqrt())
    return (deviations[0] - deviations[1]).abs().mean() * (count >= 2)


def away_from_edges(mask: Tensor, past: int, future: int) -> Tensor:
    """Mask without the first ``past`` and the last ``future`` frames of each window.

    A window is padded with silence that its clip does not have there; frames whose receptive field
    includes the padding must not count.
    """
    inner = torch.zeros_like(mask)
    inner[:, past : mask.shape[1] - future] = True
    return mask & inner


def known_levels(level: Tensor, intensity: Tensor, emotion: Tensor, use_levels: bool) -> Tensor:
    """Levels ``(B,)``: the fine label where there is one, else the middle of the intensity's third.

    Args:
        level: ``(B,)`` float, nan where unknown.
        intensity: ``(B,)`` int64, 1..3, or less where unknown.
        emotion: ``(B,)`` int64.
        use_levels: False ignores the fine labels, as for a corpus with three intensities only.
    """
    known = ~level.isnan()
    fine = level.nan_to_num(MIDDLE_LEVEL)
    third = intensity
    if not use_levels:
        of_level = ((fine - 1.0) / 5.0).floor().long().clamp(0, 2) + 1
        third = torch.where(known & (intensity < 1), of_level, intensity)
    coarse = torch.full_like(fine, MIDDLE_LEVEL)
    for annotated, middle in ANNOTATED_LEVELS.items():
        coarse = coarse.masked_fill(third == annotated, middle)
    chosen = torch.where(known, fine, coarse) if use_levels else coarse
    return chosen.masked_fill(emotion == NEUTRAL, 1.0)


def articulation(exp: Tensor, emotion: Tensor, level: Tensor, prototypes: Tensor) -> Tensor:
    """Part of an expression that speech explains: the expression minus the emotion's mean face.

    Our choice; the paper says only that content is free of emotion. Negative differences are 0
    where units are named, since a closing mouth suppresses the emotion there.

    Args:
        exp: ``(B, T, E)``.
        emotion, level: ``(B,)``.
        prototypes: ``(8, E)``, see :mod:`emo_lightning.models.motion.emotion_matrix`.
    """
    share = (level / LEVEL_MAX)[:, None]
    rest = exp - (prototypes[emotion] * share)[:, None]
    return torch.where(prototypes.any(), rest.clamp_min(0.0), exp)
