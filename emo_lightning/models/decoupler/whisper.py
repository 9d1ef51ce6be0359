"""The encoder of Whisper (Radford et al., 2022), in plain PyTorch: log-mel rows to features of speech, 50 a second.

It is used frozen, as an ear (:mod:`emo_lightning.models.decoupler.audio_frontend`) and as a teacher. Whisper learned on 30 s at a time; given
less, its attention sees just that, so what comes out depends on where a piece begins and ends.

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
"""30 s: as far as the positions go."""


@dataclass(frozen=True)
class WhisperSize:
    """Sizes of an encoder; those of ``tiny`` by default."""

    bands: int = 80
    width: int = 384
    heads: int = 6
    layers: int = 4


TINY = WhisperSize()


class WhisperBlock(nn.Module):
    """Self-attention and a two-layer network, each behind a layer norm and with a way around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.query_key_value(self.attention_norm(x)).view(
            batch, length, 3, self.heads, width // self.heads
        )
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = (
            F.scaled_dot_product_attention(query, key, value)
            .transpose(1, 2)
            .reshape(batch, length, width)
        )
        x = x + self.attention_out(seen)
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class WhisperEncoder(nn.Module):
    """Two convolutions, the second at half the rate, sinusoidal positions, and the blocks."""

    positions: Tensor

    def __init__(self, size: WhisperSize = TINY) -> None:
        super().__init__()
        self.size = size
        self.conv1 = nn.Conv1d(size.bands, size.width, 3, padding=1)
        self.conv2 = nn.Conv1d(size.width, size.width, 3, stride=ROWS_PER_FEATURE, padding=1)
        self.blocks = nn.ModuleList(
            WhisperBlock(size.width, size.heads) for _ in range(size.layers)
        )
        self.norm = nn.LayerNorm(size.width)
        self.register_buffer("positions", sinusoids(MAX_FEATURES, size.width), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Features ``(B, R / 2, W)`` of ``(B, R, bands)`` Whisper log-mel rows; R even, at most 30 s."""
        return self.norm(self.after(rows, len(self.blocks)))

    def after(self, rows: Tensor, depth: int) -> Tensor:
        """What the first ``depth`` blocks make of the rows, ``(B, R / 2, W)``, no norm behind them."""
        if (
            rows.shape[1] % ROWS_PER_FEATURE
            or not 0 < rows.shape[1] <= ROWS_PER_FEATURE * MAX_FEATURES
        ):
            raise ValueError(
                f"{rows.shape[1]} rows; an even number up to {ROWS_PER_FEATURE * MAX_FEATURES} is needed"
            )
        x = F.gelu(self.conv2(F.gelu(self.conv1(rows.transpose(1, 2))))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for block in self.blocks[:depth]:
            x = block(x)
        return x


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's positions ``(length, width)``: sines, then cosines, of wavelengths from 2 pi to 10000 * 2 pi in a geometric series."""
    rates = torch.exp(
        torch.arange(width // 2, dtype=torch.float64) * (-math.log(10000.0) / (width // 2 - 1))
    )
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()
