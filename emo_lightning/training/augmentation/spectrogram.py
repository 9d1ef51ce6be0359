"""Spectrogram augmentation: other voices, rooms and microphones. Ours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from emo_lightning.models.decoupler.decoupler import MEL_SILENCE

NOISE_SIZE = 10
"""Random numbers per clip."""
FORMANTS = 0.08
"""Standard deviation of the stretch of the band axis: another vocal tract length."""
GAIN = 0.35
"""Standard deviation of the loudness, log units (3 dB)."""
COLOUR = 0.5
"""Standard deviation of a smooth curve over the bands, log units: microphone or voice."""
NOISE_SHARE, NOISE_RANGE = 0.5, (-9.0, -2.5)
"""Share of clips with background noise, and its level in log mel."""


def augment(mel: Tensor, normal: Tensor) -> Tensor:
    """Augment each clip.

    Args:
        mel: ``(B, F, bands)`` log mel.
        normal: ``(B, NOISE_SIZE)`` standard normal.
    """
    batch, _, bands = mel.shape
    out = _stretch(mel, 1.0 + FORMANTS * normal[:, 0].clamp(-2, 2))
    curve = F.interpolate(normal[:, None, 1:6], size=bands, mode="linear", align_corners=True)
    changed = out + GAIN * normal[:, 6].view(batch, 1, 1) + COLOUR * curve
    # Silence has no colour: the floor stays.
    out = torch.where(out > MEL_SILENCE + 0.1, changed, out).clamp_min(MEL_SILENCE)
    low, high = NOISE_RANGE
    level = low + (high - low) * torch.special.ndtr(normal[:, 7])
    slope = torch.linspace(-1.0, 1.0, bands, device=mel.device) * normal[:, 8:9]
    noisy = torch.logaddexp(out, (level[:, None] + slope)[:, None].expand_as(out))
    return torch.where(
        (torch.special.ndtr(normal[:, 9]) < NOISE_SHARE).view(batch, 1, 1), noisy, out
    )


def _stretch(mel: Tensor, factor: Tensor) -> Tensor:
    """Scale the band axis of each clip by a factor; bands beyond the last repeat it."""
    batch, frames, bands = mel.shape
    x = (torch.arange(bands, device=mel.device) * factor[:, None] + 0.5) * (2.0 / bands) - 1.0
    y = (torch.arange(frames, device=mel.device) + 0.5) * (2.0 / frames) - 1.0
    grid = torch.stack(
        [x[:, None].expand(-1, frames, -1), y[None, :, None].expand(batch, -1, bands)], dim=-1
    )
    return F.grid_sample(mel[:, None], grid, align_corners=False, padding_mode="border")[:, 0]
