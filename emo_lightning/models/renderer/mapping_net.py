"""MappingNet: a window of coefficients to the motion of canonical keypoints (PIRender,
SadTalker)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.layers.precision import float32_on

WINDOW = 27
"""Frames of coefficients, the present one in the middle."""
INPUT_BLOCKS = ("id", "exp", "tex", "angle", "trans")
"""Coefficient blocks of the input: 230 numbers of BFM, 98 of the built-in model; not the light."""
BIN_DEGREES = 3.0
"""Bin width of the head pose classifier; 66 bins as in Hopenet (Ruiz et al., 2018)."""


def still_window(coefficients: Tensor) -> Tensor:
    """Window of a single image, the frame repeated: ``(B, C) -> (B, 27, C)``."""
    return coefficients[:, None].expand(-1, WINDOW, -1)


class KeypointMotion(NamedTuple):
    """Head pose and expression deltas, float32.

    ``angle`` (B, 3) radians, ``trans`` (B, 3) as tx, ty, log s, ``delta`` (B, K, 3) in model units,
    ``bins`` (B, 3, n) logits or None, ``code`` (B, width) the embedding of the window.
    """

    angle: Tensor
    trans: Tensor
    delta: Tensor
    bins: Tensor | None
    code: Tensor | None = None


class MappingNet(nn.Module):
    """Temporal convolutions over the window: k7, three residual k3 of dilation 3, then the mean.

    Args:
        layout: coefficient layout.
        keypoints: K.
        width: hidden channels; 1024 as published.
        bins: classes of each head angle, 66 as published; 0 corrects the coefficients' own pose
            instead (ours), which needs a face model whose ``trans`` is (tx, ty, log s).
    """

    def __init__(self, layout: Layout, keypoints: int, width: int, bins: int = 0) -> None:
        super().__init__()
        self.layout, self.keypoints, self.bins = layout, keypoints, bins
        self.inputs = [layout.slice(block) for block in layout.blocks if block in INPUT_BLOCKS]
        self.first = nn.Conv1d(sum(part.stop - part.start for part in self.inputs), width, 7)
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=3) for _ in range(3))
        self.act = nn.LeakyReLU(0.1)
        self.to_angle = nn.Linear(width, 3 * max(bins, 1))
        self.to_trans = nn.Linear(width, 3)
        self.to_delta = nn.Linear(width, 3 * keypoints)
        for head in (self.to_angle, self.to_trans, self.to_delta):
            nn.init.normal_(head.weight, std=0.1 / width**0.5)
            nn.init.zeros_(head.bias)

    def forward(self, coefficients: Tensor) -> KeypointMotion:
        """Motion of the middle frame of ``(B, 27, layout.size)``."""
        x = torch.cat([coefficients[..., part] for part in self.inputs], dim=-1)
        x = self.act(self.first(x.transpose(1, 2)))
        for block in self.blocks:
            x = x[:, :, 3:-3] + self.act(block(x))
        x = x.mean(dim=2)
        with float32_on(x):
            wide = x.float()
            delta = self.to_delta(wide).view(len(x), self.keypoints, 3)
            angle, trans = self.to_angle(wide), self.to_trans(wide)
            if self.bins:
                logits = angle.view(len(x), 3, self.bins)
                return KeypointMotion(expected_angle(logits), trans, delta, logits, x)
            middle = coefficients[:, coefficients.shape[1] // 2].float()
            angle = middle[:, self.layout.slice("angle")] + 0.1 * angle
            trans = middle[:, self.layout.slice("trans")] + 0.1 * trans
            return KeypointMotion(angle, trans, delta, None, x)


def bin_centres(bins: int, like: Tensor) -> Tensor:
    """Angles ``(bins,)`` in radians at the bins' centres, symmetric about 0."""
    places = torch.arange(bins, device=like.device, dtype=like.dtype) - (bins - 1) / 2
    return torch.deg2rad(places * BIN_DEGREES)


def expected_angle(logits: Tensor) -> Tensor:
    """Mean angle ``(B, 3)`` under the classes' probabilities ``(B, 3, bins)``."""
    return (logits.softmax(dim=-1) * bin_centres(logits.shape[-1], logits)).sum(dim=-1)
