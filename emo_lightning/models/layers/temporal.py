"""Temporal building blocks with a bounded receptive field.

Nothing here pads: a block with a receptive field of ``past`` and ``future`` frames returns that
many fewer. The caller pads once, at the input, so a stream in pieces gives the numbers of the whole
clip.

Shapes: B batch, T frames, C channels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHORT = 128
"""Frames up to which :func:`convolve_time` uses a matrix product."""


@dataclass(frozen=True)
class ReceptiveField:
    """Frames before and after a frame that its value depends on."""

    past: int
    future: int

    def __add__(self, other: ReceptiveField) -> ReceptiveField:
        return ReceptiveField(self.past + other.past, self.future + other.future)

    @property
    def total(self) -> int:
        """Frames before and after."""
        return self.past + self.future


class TemporalBlock(nn.Module):
    """Residual block: layer norm, convolution over time, pointwise mix.

    ``(B, T, C) -> (B, T - reach.total, C)``.

    Args:
        width: C.
        reach: receptive field of the convolution.
    """

    def __init__(self, width: int, reach: ReceptiveField) -> None:
        super().__init__()
        self.reach = reach
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, reach.total + 1)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = convolve_time(self.conv, self.norm(x))
        return trim(x, self.reach) + self.mix(F.gelu(y))


class TemporalStack(nn.Module):
    """Several :class:`TemporalBlock` in a row, each with the same receptive field."""

    def __init__(self, width: int, blocks: int, reach: ReceptiveField) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TemporalBlock(width, reach) for _ in range(blocks))
        self.reach = ReceptiveField(reach.past * blocks, reach.future * blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def convolve_time(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Undilated convolution of ``(B, T, C)``; a short piece in inference is a matrix product."""
    if not torch.is_inference_mode_enabled() or len(x) > 1 or x.shape[1] > SHORT:
        return conv(x.transpose(1, 2)).transpose(1, 2)
    taps, step, width = conv.kernel_size[0], conv.stride[0], x.shape[2]
    windows = x.contiguous()[0].as_strided(
        ((x.shape[1] - taps) // step + 1, taps * width), (step * width, 1)
    )
    return F.linear(windows, conv.weight.transpose(1, 2).flatten(1), conv.bias)[None]


def store_taps_first(module: nn.Module) -> None:
    """Store convolution weights as :func:`convolve_time` multiplies them, to avoid copies."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d):
            part.weight.data = part.weight.data.transpose(1, 2).contiguous().transpose(1, 2)


def trim(x: Tensor, reach: ReceptiveField) -> Tensor:
    """Remove the first ``past`` and the last ``future`` frames of ``(B, T, C)``."""
    return x[:, reach.past : x.shape[1] - reach.future]


def repeat_edges(x: Tensor, reach: ReceptiveField) -> Tensor:
    """Pad ``(B, T, C)`` with ``past`` copies of the first and ``future`` copies of the last
    frame."""
    first, last = x[:, :1].expand(-1, reach.past, -1), x[:, -1:].expand(-1, reach.future, -1)
    return torch.cat([first, x, last], dim=1)


def mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers with GELU between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def parameter_count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())
