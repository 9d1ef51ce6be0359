"""Encoder of Whisper (Radford et al., 2022): log-mel rows to speech features, 50 per second.

Used frozen, as a front end (:mod:`emo_lightning.models.decoupler.audio_frontend`) and as a teacher.
Whisper was trained on 30 s at a time; attention over a shorter segment depends on where it begins
and ends.

Shapes: B batch, R rows (100/s), W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS_PER_FEATURE = 2
MAX_FEATURES = 1500
"""30 s: length of the positional encoding."""


@dataclass(frozen=True)
class WhisperSize:
    """Sizes of an encoder; those of ``tiny`` by default."""

    bands: int = 80
    width: int = 384
    heads: int = 6
    layers: int = 4


TINY = WhisperSize()


class WhisperBlock(nn.Module):
    """Pre-norm residual attention block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        joint = self.query_key_value(self.attention_norm(x))
        joint = joint.view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        x = x + self.attention_out(attended.reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class WhisperEncoder(nn.Module):
    """Two convolutions, the second at half the rate, sinusoidal positions, and the blocks."""

    positions: Tensor

    def __init__(self, size: WhisperSize = TINY) -> None:
        super().__init__()
        self.size = size
        self.conv1 = nn.Conv1d(size.bands, size.width, 3, padding=1)
        self.conv2 = nn.Conv1d(size.width, size.width, 3, stride=ROWS_PER_FEATURE, padding=1)
        blocks = (WhisperBlock(size.width, size.heads) for _ in range(size.layers))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(size.width)
        self.register_buffer("positions", sinusoids(MAX_FEATURES, size.width), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Features ``(B, R / 2, W)`` of ``(B, R, bands)`` Whisper log-mel rows."""
        return self.norm(self.encode(rows, len(self.blocks)))

    def encode(self, rows: Tensor, depth: int) -> Tensor:
        """Output ``(B, R / 2, W)`` of the first ``depth`` blocks, without the final norm.

        Raises:
            ValueError: R is odd, 0, or more than 30 s.
        """
        most = ROWS_PER_FEATURE * MAX_FEATURES
        if rows.shape[1] % ROWS_PER_FEATURE or not 0 < rows.shape[1] <= most:
            raise ValueError(f"{rows.shape[1]} rows; an even number up to {most} is needed")
        x = F.gelu(self.conv2(F.gelu(self.conv1(rows.transpose(1, 2))))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for block in self.blocks[:depth]:
            x = block(x)
        return x


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's positional encoding ``(length, width)``: sines, then cosines.

    Wavelengths form a geometric series from 2 pi to 10000 * 2 pi.
    """
    steps = torch.arange(width // 2, dtype=torch.float64)
    rates = torch.exp(-math.log(10000.0) / (width // 2 - 1) * steps)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()
