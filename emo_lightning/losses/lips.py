"""Lips as the expression moves them: how open and how wide, when they touch, and how well they follow.

Shapes: B batch, T frames, E expression coefficients; ``mask`` is (B, T) bool, True where a frame counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from emo_lightning.face.coefficients import Layout

OPENING: Mapping[str, float] = {
    "AU9": 0.013,
    "AU10": 0.079,
    "AU16": 0.086,
    "AU25": 0.080,
    "AU26": 0.276,
    "funnel": 0.129,
}
WIDTH: Mapping[str, float] = {
    "AU6": 0.020, "AU9": -0.020, "AU10": 0.004, "AU12_L": 0.092, "AU12_R": 0.092, "AU14_L": 0.015, "AU14_R": 0.015, "AU15": 0.062,
    "AU17": 0.014, "AU20": 0.139, "AU23": -0.022, "AU26": 0.045, "jaw": -0.017, "pucker": -0.109, "funnel": -0.080,
}  # fmt: skip
"""What each unit of the built-in face adds to the gap of the inner lips and to the mouth's width, in outer eye-corner distances."""
TOUCH = 0.012
"""Gap below which the lips count as touching, in outer eye-corner distances."""
LONGEST = 6
"""Frames (40 ms) of the longest closure that speech makes; a mouth shut for longer is at rest."""


def lip_table(layout: Layout) -> Tensor:
    """``(E, 2)``: opening and width by unit; zeros for a face model without named units."""
    if not layout.exp_names:
        return torch.zeros(layout.width("exp"), 2)
    return torch.tensor(
        [[OPENING.get(name, 0.0), WIDTH.get(name, 0.0)] for name in layout.exp_names]
    )


def brief_closures(opening: Tensor, mask: Tensor) -> Tensor:
    """Where the lips touch for no longer than a closure of speech, ``(B, T)`` bool, of ``opening`` ``(B, T)``.

    A closure that meets frames that do not count may be longer than seen, and is none.
    """
    touching = ((opening < TOUCH) | ~mask).float()[:, None]
    runs = F.pad(touching, (LONGEST, LONGEST), value=1.0)
    shut = -F.max_pool1d(-runs, LONGEST + 1, 1)
    shut = F.max_pool1d(shut, LONGEST + 1, 1)
    return (touching > shut)[:, 0] & mask


def closure_loss(closure: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of ``closure`` ``(B, T, 1)``, 0..1, with the closures there are; a missed one counts thrice a false one."""
    target = wanted.to(closure.dtype)
    distance = F.binary_cross_entropy(
        closure[..., 0].clamp(1e-6, 1.0 - 1e-6), target, weight=1.0 + 2.0 * target, reduction="none"
    )
    weights = mask.to(closure.dtype)
    return (distance * weights).sum() / weights.sum().clamp_min(1.0)


def lip_distance(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L1 distance of lips ``(B, T, 2)``, each window less its mean: people hold their mouths differently."""
    weights = mask[..., None].to(predicted.dtype)
    count = weights.sum(dim=1, keepdim=True).clamp_min(1.0)
    difference = predicted - target
    difference = difference - (difference * weights).sum(dim=1, keepdim=True) / count
    return (difference.abs() * weights).sum() / (weights.sum() * predicted.shape[-1]).clamp_min(1.0)
