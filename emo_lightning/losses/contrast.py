"""The figure's contrast: AUs read from LOW are the positive, AUs read from HIGH the negative, against the video's AUs.

The paper publishes neither the form nor the weights. Ours is InfoNCE over squared distances in AU space.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from emo_lightning.face.coefficients import AU_NAMES

SPEECH_UNITS = ("AU25", "AU26", "AU45")
"""Opening the mouth and blinking say nothing about feeling, and content must keep the first; left out of the contrast."""


def emotion_units() -> Tensor:
    """``(17,)`` 1 for the units that the contrast compares, 0 for those in :data:`SPEECH_UNITS`."""
    return torch.tensor([0.0 if name in SPEECH_UNITS else 1.0 for name in AU_NAMES])


def au_contrast(
    au_low: Tensor,
    au_high: Tensor,
    au_true: Tensor,
    mask: Tensor,
    units: Tensor,
    temperature: float = 0.05,
) -> Tensor:
    """InfoNCE of AU(T) with AU(P) of low as positive; negatives are AU(P) of high at the same frame and low of other clips.

    Args:
        au_low, au_high, au_true: ``(B, T, 17)`` in 0..1.
        mask: ``(B, T)`` bool.
        units: ``(17,)`` weights of the units.
        temperature: distance at which the contrast saturates, so HIGH is pushed away no further than needed.

    Returns:
        A scalar; 0 when no frame counts.
    """

    def distance(other: Tensor) -> Tensor:
        return ((other - au_true) ** 2 * units).sum(-1) / temperature

    logits = [-distance(au_low), -distance(au_high)]
    if len(au_low) > 1:
        logits.append(-distance(au_low.roll(1, dims=0)))
    stacked = torch.stack(logits, dim=-1)
    target = torch.zeros(stacked.shape[:-1], dtype=torch.long, device=stacked.device)
    loss = F.cross_entropy(stacked.flatten(0, 1), target.flatten(), reduction="none").view_as(mask)
    return (loss * mask).sum() / mask.sum().clamp_min(1)
