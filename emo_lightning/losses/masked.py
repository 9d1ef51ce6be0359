"""Distances over clips of different length, and the articulation that speech alone explains.

Shapes: B batch, T frames, C channels; ``mask`` is (B, T) bool, True where a frame counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from emo_lightning.motion.emotions import (
    ANNOTATED_LEVELS,
    LEVEL_MAX,
    NEUTRAL,
)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``(B, T, C)`` over the frames that count; 0 when none does."""
    weights = mask[..., None].to(values.dtype)
    return (values * weights).sum() / (weights.sum() * values.shape[-1]).clamp_min(1.0)


def smooth_l1(
    predicted: Tensor,
    target: Tensor,
    mask: Tensor,
    beta: float = 0.05,
    weights: Tensor | None = None,
) -> Tensor:
    """Huber distance, quadratic below ``beta``; ``weights`` (C,) weigh the channels."""
    distance = F.smooth_l1_loss(predicted, target, beta=beta, reduction="none")
    return masked_mean(distance if weights is None else distance * weights, mask)


def velocity(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L1 distance of the frame-to-frame changes."""
    both = mask[:, 1:] & mask[:, :-1]
    return masked_mean((predicted.diff(dim=1) - target.diff(dim=1)).abs(), both)


def away_from_edges(mask: Tensor, past: int, future: int) -> Tensor:
    """The mask without the first ``past`` and last ``future`` frames of each window.

    A window cut out of a clip is padded with silence that the clip does not have there; what looks at it must not count.
    """
    inner = torch.zeros_like(mask)
    inner[:, past : mask.shape[1] - future] = True
    return mask & inner


def known_levels(level: Tensor, intensity: Tensor, emotion: Tensor, use_levels: bool) -> Tensor:
    """A level for every sample: the fine label where there is one, else the middle of the annotated intensity's third.

    Args:
        level: ``(B,)`` float, nan where unknown.
        intensity: ``(B,)`` int64, 1..3, or less where unknown.
        emotion: ``(B,)`` int64.
        use_levels: False ignores the fine labels, as for a corpus that has the three intensities alone.
    """
    middle = level.new_tensor([8.0, *ANNOTATED_LEVELS.values()])
    coarse = middle[intensity.clamp(0, len(ANNOTATED_LEVELS))]
    fine_known = ~level.isnan()
    if not use_levels:
        third = ((level.nan_to_num(8.0) - 1.0) / 5.0).floor().long().clamp(0, 2) + 1
        coarse = torch.where(fine_known & (intensity < 1), middle[third], coarse)
        fine_known = torch.zeros_like(fine_known)
    chosen = torch.where(fine_known, level.nan_to_num(8.0), coarse)
    return torch.where(emotion == NEUTRAL, torch.ones_like(chosen), chosen)


def articulation(exp: Tensor, emotion: Tensor, level: Tensor, prototypes: Tensor) -> Tensor:
    """What of an expression speech explains: the expression less the emotion's mean face at that level.

    Our choice; the paper says only that content is free of emotion. Negative rests are cut at 0 where units are named,
    since a closing mouth suppresses the emotion there.

    Args:
        exp: ``(B, T, E)``.
        emotion, level: ``(B,)``.
        prototypes: ``(8, E)`` from :func:`emo_lightning.models.motion.emotion_matrix.prototype_table`.
    """
    share = (level / LEVEL_MAX)[:, None]
    rest = exp - (prototypes[emotion] * share)[:, None]
    return rest.clamp_min(0.0) if bool(prototypes.any()) else exp


def spread(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L1 distance between the channels' standard deviations over all frames that count; for fitting an amplitude."""
    if mask.sum() < 2:
        return predicted.sum() * 0.0
    return (predicted[mask].std(dim=0) - target[mask].std(dim=0)).abs().mean()
