"""Pictures in other colours: another skin, another light, another camera. Ours.

Few faces are in any corpus that may be trained on; these changes leave where things are and change how they look.
"""

from __future__ import annotations

import torch
from torch import Tensor

DRAWS = 8
"""Random numbers that one picture takes."""
SPREADS = (0.2, 0.3, 0.12, 0.1)
"""Of the logarithms of gamma, saturation, contrast and light."""
GREY = (0.299, 0.587, 0.114)


def recolour(image: Tensor, normal: Tensor) -> Tensor:
    """Change each picture in its own way; all zeros leave it as it is.

    Args:
        image: ``(B, 3, S, S)`` in 0..1.
        normal: ``(B, DRAWS)`` normal draws that decide how: gain of each colour, gamma, saturation, contrast, light, hue.
    """
    normal = normal.clamp(-2.0, 2.0)
    gain = torch.exp(0.12 * normal[:, 0:3])[..., None, None]
    gamma, saturation, contrast, light = (
        torch.exp(normal[:, 3:7] * normal.new_tensor(SPREADS))[..., None, None, None]
    ).unbind(1)
    weights = torch.tensor(GREY).to(image)
    out = image.clamp(1e-4, 1.0) ** gamma
    grey = (out * weights[:, None, None]).sum(dim=1, keepdim=True)
    out = grey + saturation * (out - grey)
    out = _turn_hue(out, grey, 0.15 * normal[:, 7])
    return (0.5 + contrast * (out * gain * light - 0.5)).clamp(0.0, 1.0)


def _turn_hue(image: Tensor, grey: Tensor, angle: Tensor) -> Tensor:
    """Turn the colours about the grey axis by angles (B,) in radians."""
    cos, sin = (f(angle)[:, None, None, None] for f in (torch.cos, torch.sin))
    colour = image - grey
    red, green, blue = colour.split(1, dim=1)
    across = torch.cat([blue - green, red - blue, green - red], dim=1) / 3.0**0.5
    return grey + cos * colour + sin * across
