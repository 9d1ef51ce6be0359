"""Building blocks over time with a bounded receptive field.

Nothing here pads: a block that looks at ``past`` and ``future`` frames returns that many fewer. The caller pads once, at
the input, so a stream cut into pieces gives the same numbers as the whole recording.

Shapes: B batch, T frames, C channels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHORT = 128
"""Frames up to which :func:`along_time` takes a matrix product."""


@dataclass(frozen=True)
class Reach:
    """How many frames a block looks back and ahead."""

    past: int
    future: int

    def __add__(self, other: Reach) -> Reach:
        return Reach(self.past + other.past, self.future + other.future)

    @property
    def total(self) -> int:
        return self.past + self.future


class TemporalBlock(nn.Module):
    """Residual block: layer norm over channels, convolution over time, pointwise mix. ``(B, T, C) -> (B, T - reach, C)``.

    Args:
        width: C.
        reach: frames looked at before and after each frame.
        dilation: step between the frames looked at; must divide the reach.
    """

    def __init__(self, width: int, reach: Reach, dilation: int = 1) -> None:
        super().__init__()
        if reach.past % dilation or reach.future % dilation:
            raise ValueError(f"dilation {dilation} does not divide {reach}")
        self.reach = reach
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, reach.total // dilation + 1, dilation=dilation)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.dilation == (1,):
            y = along_time(self.conv, self.norm(x))
        else:
            y = self.conv(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return trim(x, self.reach) + self.mix(F.gelu(y))


def along_time(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """An undilated convolution of ``(B, T, C)``. A short piece in inference mode, as in a stream, takes a faster matrix product."""
    if not torch.is_inference_mode_enabled() or len(x) > 1 or x.shape[1] > SHORT:
        return conv(x.transpose(1, 2)).transpose(1, 2)
    taps, step, width = conv.kernel_size[0], conv.stride[0], x.shape[2]
    cuts = x.contiguous()[0].as_strided(
        ((x.shape[1] - taps) // step + 1, taps * width), (step * width, 1)
    )
    return F.linear(cuts, conv.weight.transpose(1, 2).flatten(1), conv.bias)[None]


def lay_out(module: nn.Module) -> None:
    """Put convolutions' weights in memory as :func:`along_time` reads them, so that no call copies them."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d):
            part.weight.data = part.weight.data.transpose(1, 2).contiguous().transpose(1, 2)


class TemporalStack(nn.Module):
    """Several :class:`TemporalBlock` in a row, each with the same reach."""

    def __init__(self, width: int, blocks: int, reach: Reach) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TemporalBlock(width, reach) for _ in range(blocks))
        self.reach = Reach(reach.past * blocks, reach.future * blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def trim(x: Tensor, reach: Reach) -> Tensor:
    """Drop the first ``past`` and last ``future`` frames of ``(B, T, C)``."""
    return x[:, reach.past : x.shape[1] - reach.future]


def repeat_edges(x: Tensor, reach: Reach) -> Tensor:
    """The inverse of :func:`trim` in length: repeat the first and the last frame of ``(B, T, C)``."""
    first, last = x[:, :1].expand(-1, reach.past, -1), x[:, -1:].expand(-1, reach.future, -1)
    return torch.cat([first, x, last], dim=1)


def mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers with GELU between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def parameter_count(module: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in module.parameters())
