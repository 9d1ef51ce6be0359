"""Colour jitter: other skin, light and cameras; geometry stays. Ours."""

from __future__ import annotations

import torch
from torch import Tensor

NOISE_SIZE = 8
"""Random numbers per image."""
SPREADS = (0.2, 0.3, 0.12, 0.1)
"""Standard deviations of the logarithms of gamma, saturation, contrast and brightness."""
GREY = (0.299, 0.587, 0.114)


def jitter(image: Tensor, noise: Tensor) -> Tensor:
    """Change the colours of each image; zero noise is the identity.

    Args:
        image: ``(B, 3, S, S)`` in 0..1.
        noise: ``(B, NOISE_SIZE)`` standard normal: channel gains, gamma, saturation, contrast,
            brightness, hue.
    """
    noise = noise.clamp(-2.0, 2.0)
    gain = torch.exp(0.12 * noise[:, 0:3])[..., None, None]
    factors = [torch.exp(noise[:, 3 + i] * spread) for i, spread in enumerate(SPREADS)]
    gamma, saturation, contrast, light = (factor[:, None, None, None] for factor in factors)
    out = image.clamp(1e-4, 1.0) ** gamma
    grey = sum(share * out[:, i : i + 1] for i, share in enumerate(GREY))
    out = grey + saturation * (out - grey)
    out = rotate_hue(out, grey, 0.15 * noise[:, 7])
    return (0.5 + contrast * (out * gain * light - 0.5)).clamp(0.0, 1.0)


def rotate_hue(image: Tensor, grey: Tensor, angle: Tensor) -> Tensor:
    """Rotate the colours about the grey axis by angles (B,) in radians."""
    cos, sin = (f(angle)[:, None, None, None] for f in (torch.cos, torch.sin))
    colour = image - grey
    red, green, blue = colour.split(1, dim=1)
    across = torch.cat([blue - green, red - blue, green - red], dim=1) / 3.0**0.5
    return grey + cos * colour + sin * across
