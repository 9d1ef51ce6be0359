"""ExpNet: content and the source's expression to the expression of speech."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.models.layers.temporal import ReceptiveField, TemporalStack


class ExpOutput(NamedTuple):
    """``speech`` (B, T, E), ``closure_logits`` (B, T, 1), ``features`` (B, T, width)."""

    speech: Tensor
    closure_logits: Tensor
    features: Tensor


class ExpNet(nn.Module):
    """Temporal convolutions over content with a receptive field of two frames either side.

    Args:
        content: width of the content vector.
        exp: number of expression coefficients E.
        width: hidden channels.
        blocks: residual blocks, each with one frame either side.
    """

    def __init__(self, content: int, exp: int, width: int = 128, blocks: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(content + exp, width)
        self.body = TemporalStack(width, blocks, ReceptiveField(1, 1))
        self.norm = nn.LayerNorm(width)
        self.to_speech = nn.Linear(width, exp)
        self.to_closure = nn.Linear(width, 1)
        self.amplitude = nn.Parameter(torch.ones(exp))
        nn.init.constant_(self.to_closure.bias, -3.0)

    @property
    def reach(self) -> ReceptiveField:
        """Receptive field in frames of content."""
        return self.body.reach

    def forward(self, content: Tensor, source_exp: Tensor) -> ExpOutput:
        """Expression of the middle frames.

        Args:
            content: ``(B, T + reach.total, content)``.
            source_exp: ``(B, E)`` expression of the portrait.
        """
        source = source_exp[:, None].expand(-1, content.shape[1], -1)
        features = self.norm(self.body(self.enter(torch.cat([content, source], dim=-1))))
        # A regression towards the mean has too little amplitude; losses.masked.spread fits the
        # gain.
        speech = self.to_speech(features) * self.amplitude.detach()
        return ExpOutput(speech, self.to_closure(features), features)
