"""Lip losses: opening and width predicted from the expression, and bilabial closures.

Shapes: B batch, T frames, E expression coefficients; ``mask`` is (B, T) bool, True where a frame
counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from emo_lightning.face.coefficients import Layout
from emo_lightning.losses.masked import masked_mean

OPENING: Mapping[str, float] = {
    "AU9": 0.013,
    "AU10": 0.079,
    "AU16": 0.086,
    "AU25": 0.080,
    "AU26": 0.276,
    "funnel": 0.129,
}
WIDTH: Mapping[str, float] = {
    "AU6": 0.020, "AU9": -0.020, "AU10": 0.004, "AU12_L": 0.092, "AU12_R": 0.092, "AU14_L": 0.015,
    "AU14_R": 0.015, "AU15": 0.062, "AU17": 0.014, "AU20": 0.139, "AU23": -0.022, "AU26": 0.045,
    "jaw": -0.017, "pucker": -0.109, "funnel": -0.080,
}  # fmt: skip
"""Change of the inner-lip gap (OPENING) and of the mouth's width by unit of the built-in face
model, in distances of the outer eye corners."""
TOUCH = 0.012
"""Gap below which the lips count as touching, in outer eye-corner distances."""
NEGLIGIBLE = (0.010, 0.005)
"""Standard deviations of opening and width, in outer eye-corner distances, below which a mouth
counts as still."""
LONGEST = 6
"""Longest closure of speech, frames of 40 ms; a mouth shut for longer is at rest."""


def lip_table(layout: Layout) -> Tensor:
    """Opening and width by unit, ``(E, 2)``; zeros for a face model without named units."""
    names = layout.exp_names or ("",) * layout.width("exp")
    return torch.tensor([[OPENING.get(name, 0.0), WIDTH.get(name, 0.0)] for name in names])


def brief_closures(opening: Tensor, mask: Tensor) -> Tensor:
    """Frames ``(B, T)`` bool in which the lips touch for at most :data:`LONGEST` frames.

    A closure next to frames outside the mask may be longer than visible and does not count.

    Args:
        opening: ``(B, T)`` in outer eye-corner distances.
        mask: ``(B, T)`` bool.
    """
    touching = ((opening < TOUCH) | ~mask).float()[:, None]
    runs = F.pad(touching, (LONGEST, LONGEST), value=1.0)
    shut = -F.max_pool1d(-runs, LONGEST + 1, 1)
    shut = F.max_pool1d(shut, LONGEST + 1, 1)
    return (touching > shut)[:, 0] & mask


def closure_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of closure ``logits`` (B, T, 1); a missed closure weighs three false ones."""
    distance = F.binary_cross_entropy_with_logits(
        logits[..., 0].float(), target.float(), weight=1.0 + 2.0 * target, reduction="none"
    )
    return (distance * mask).sum() / mask.sum().clamp_min(1)


def lip_distance(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L1 distance of lips ``(B, T, 2)`` after subtracting each window's mean difference.

    People hold their mouths differently; only the movement is compared.
    """
    weights = mask[..., None].float()
    difference = (predicted - target).float()
    offset = (difference * weights).sum(dim=1, keepdim=True)
    difference = difference - offset / weights.sum(dim=1, keepdim=True).clamp_min(1.0)
    return masked_mean(difference.abs(), mask)


def lip_correlation(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """One minus the correlation over time of lips ``(B, T, 2)``, within each window.

    It has no say on amplitude, which differs between people. :data:`NEGLIGIBLE` is added to both
    standard deviations, so that a still mouth gives a finite gradient; windows are weighted by the
    square root of the target's standard deviation.
    """
    weights = mask[..., None].float()
    count = weights.sum(dim=1).clamp_min(1.0)
    lips = [values.float() for values in (predicted, target)]
    ours, theirs = (x - (x * weights).sum(dim=1, keepdim=True) / count[:, None] for x in lips)
    floor = ours.new_tensor(NEGLIGIBLE).square()
    variance = [(x.square() * weights).sum(dim=1) / count for x in (ours, theirs)]
    covariance = (ours * theirs * weights).sum(dim=1) / count
    r = covariance / ((variance[0] + floor) * (variance[1] + floor)).sqrt()
    importance = mask.any(dim=1, keepdim=True) * variance[1].clamp_min(1e-8).pow(0.25)
    return (importance * (1.0 - r)).sum() / importance.sum().clamp_min(1e-4)
