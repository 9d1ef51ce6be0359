"""AU-guided contrast of the paper's figure: AUs from LOW are the positive, AUs from HIGH the
negative.

The anchor is the video's AUs. The paper publishes neither form nor weights; ours is InfoNCE over
squared distances in AU space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emo_lightning.face.coefficients import AU_NAMES

SPEECH_UNITS = ("AU25", "AU26", "AU45")
"""Excluded from the contrast: opening the mouth and blinking carry no emotion, and content must
keep the first."""


def emotion_units() -> Tensor:
    """Weights ``(17,)`` of the AUs in the contrast: 0 for :data:`SPEECH_UNITS`, 1 for the
    others."""
    return torch.tensor([0.0 if name in SPEECH_UNITS else 1.0 for name in AU_NAMES])


def au_contrast(
    au_low: Tensor,
    au_high: Tensor,
    au_true: Tensor,
    mask: Tensor,
    units: Tensor,
    temperature: float = 0.05,
) -> Tensor:
    """InfoNCE with LOW as positive; negatives are HIGH at the same frame and LOW of another clip.

    Args:
        au_low, au_high, au_true: ``(B, T, 17)`` in 0..1.
        mask: ``(B, T)`` bool.
        units: ``(17,)`` weights of the units.
        temperature: distance at which the contrast saturates.

    Returns:
        A scalar; 0 when the mask is empty.
    """
    candidates = [au_low, au_high, *([au_low.roll(1, dims=0)] if len(au_low) > 1 else [])]
    distances = [((other.float() - au_true) ** 2 * units).sum(-1) for other in candidates]
    logits = -torch.stack(distances, dim=-1) / temperature
    loss = logits.logsumexp(dim=-1) - logits[..., 0]
    return (loss * mask).sum() / mask.sum().clamp_min(1)
