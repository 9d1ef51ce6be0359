"""MappingNet: a window of coefficients to the motion of the canonical keypoints (PIRender, 2021; SadTalker, 2023)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout

WINDOW = 27
"""Frames of coefficients, the present one in the middle."""
READ = ("id", "exp", "tex", "angle", "trans")
"""Blocks of the layout that it reads, 230 numbers of BFM's and 98 of the built-in model's; light is none of them."""
BIN_DEGREES = 3.0
"""Width of a bin of the head pose classifier; 66 bins as in Hopenet (Ruiz et al., 2018)."""


def still_window(coefficients: Tensor) -> Tensor:
    """The window of a single picture, about whose motion nothing is known: ``(B, C) -> (B, 27, C)``, the frame repeated."""
    return coefficients[:, None].expand(-1, WINDOW, -1)


class Motion(NamedTuple):
    """``angle`` (B, 3) radians, ``trans`` (B, 3) as tx, ty, log s, ``delta`` (B, K, 3) in model units, ``bins`` (B, 3, n) or None,
    ``code`` (B, width) the window in the network's own words."""

    angle: Tensor
    trans: Tensor
    delta: Tensor
    bins: Tensor | None
    code: Tensor | None = None


class MappingNet(nn.Module):
    """Convolutions over the window: k7, then three residual k3 of dilation 3, then the mean.

    Args:
        layout: what the coefficients are.
        keypoints: K.
        width: hidden channels; 1024 as published.
        bins: classes of each head angle, 66 as published; 0 corrects the coefficients' own pose instead (ours), which needs
            a face model whose ``trans`` is (tx, ty, log s) in crop units.
    """

    def __init__(self, layout: Layout, keypoints: int, width: int, bins: int = 0) -> None:
        super().__init__()
        self.layout, self.keypoints, self.bins = layout, keypoints, bins
        self.read = [layout.slice(block) for block in layout.blocks if block in READ]
        self.first = nn.Conv1d(sum(part.stop - part.start for part in self.read), width, 7)
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=3) for _ in range(3))
        self.act = nn.LeakyReLU(0.1)
        self.to_angle = nn.Linear(width, 3 * max(bins, 1))
        self.to_trans = nn.Linear(width, 3)
        self.to_delta = nn.Linear(width, 3 * keypoints)
        for head in (self.to_angle, self.to_trans, self.to_delta):
            nn.init.normal_(head.weight, std=0.1 / width**0.5)
            nn.init.zeros_(head.bias)

    def forward(self, coefficients: Tensor) -> Motion:
        """Motion of the window's middle frame; ``(B, 27, layout.size)``."""
        read = torch.cat([coefficients[..., part] for part in self.read], dim=-1)
        x = self.act(self.first(read.transpose(1, 2)))
        for block in self.blocks:
            x = x[:, :, 3:-3] + self.act(block(x))
        x = x.mean(dim=2)
        delta = self.to_delta(x).view(len(x), self.keypoints, 3)
        if self.bins:
            logits = self.to_angle(x).view(len(x), 3, self.bins)
            return Motion(expected_angle(logits), self.to_trans(x), delta, logits, x)
        middle = coefficients[:, coefficients.shape[1] // 2]
        angle = middle[:, self.layout.slice("angle")] + 0.1 * self.to_angle(x)
        trans = middle[:, self.layout.slice("trans")] + 0.1 * self.to_trans(x)
        return Motion(angle, trans, delta, None, x)


def bin_centres(bins: int, like: Tensor) -> Tensor:
    """Angles ``(bins,)`` in radians at the bins' centres, symmetric about 0."""
    places = torch.arange(bins, device=like.device, dtype=like.dtype) - (bins - 1) / 2
    return torch.deg2rad(places * BIN_DEGREES)


def expected_angle(logits: Tensor) -> Tensor:
    """Mean angle ``(B, 3)`` of the classes' probabilities ``(B, 3, bins)``."""
    return (logits.softmax(dim=-1) * bin_centres(logits.shape[-1], logits)).sum(dim=-1)
