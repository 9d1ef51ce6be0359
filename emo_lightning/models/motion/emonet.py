"""EmoNet: the control vector and what ExpNet knows to ID, TEX and, in our default, a change of EXP."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.layers.temporal import mlp
from emo_lightning.models.motion.emotion_matrix import CONTROL_SIZE
from emo_lightning.motion.emotions import ANNOTATED_LEVELS, LEVEL_MAX

MODULATION = 0.3
"""How far the voice may raise or lower a unit of the emotion's face, as a share of it."""


class EmoOutput(NamedTuple):
    """``id`` (B, T, I), ``tex`` (B, T, X), ``exp`` (B, T, E) the change of expression, ``features`` (B, T, width)."""

    id: Tensor
    tex: Tensor
    exp: Tensor
    features: Tensor


class EmoNet(nn.Module):
    """Per frame, without memory: a linear response to the control vector, modulated by what the voice does.

    The linear part starts as the FACS prototypes and keeps an emotion track's cross-fade a straight line in EXP.

    Args:
        layout: widths of the coefficient blocks.
        speech: width of ExpNet's features.
        width: hidden channels.
        prototypes: ``(8, E)`` level-15 faces, zeros for a face model without named units.
        exp_delta: False leaves EXP to ExpNet, as the figure is drawn.
    """

    def __init__(
        self, layout: Layout, speech: int, width: int, prototypes: Tensor, exp_delta: bool = True
    ) -> None:
        super().__init__()
        self.exp_delta = exp_delta
        n_id, n_exp, n_tex = (layout.width(block) for block in ("id", "exp", "tex"))
        self.trunk = mlp([speech + CONTROL_SIZE + n_id + n_tex, width, width])
        self.to_id, self.to_tex = _zero_linear(width, n_id), _zero_linear(width, n_tex)
        if exp_delta:
            anchors = torch.tensor(list(ANNOTATED_LEVELS.values())) / LEVEL_MAX
            cells = prototypes[:, None, :] * anchors[None, :, None]
            self.response = nn.Parameter(cells.flatten(0, 1).clone())
            self.modulation = _zero_linear(width, n_exp)

    def forward(
        self, control: Tensor, speech: Tensor, source_id: Tensor, source_tex: Tensor
    ) -> EmoOutput:
        """Identity, texture and change of expression a frame.

        Args:
            control: ``(B, T, 24)`` from the emotion matrix.
            speech: ``(B, T, speech)`` ExpNet's features.
            source_id, source_tex: ``(B, I)`` and ``(B, X)`` of the portrait.
        """
        frames = control.shape[1]
        steady = torch.cat([source_id, source_tex], dim=-1)[:, None].expand(-1, frames, -1)
        features = self.trunk(torch.cat([speech, control, steady], dim=-1))
        identity = source_id[:, None] + self.to_id(features)
        texture = source_tex[:, None] + self.to_tex(features)
        return EmoOutput(identity, texture, self.expression(control, features), features)

    def expression(self, control: Tensor, features: Tensor) -> Tensor:
        """Change of EXP ``(B, T, E)``."""
        if not self.exp_delta:
            return features.new_zeros(*features.shape[:-1], 1)
        return control @ self.response * (1.0 + MODULATION * torch.tanh(self.modulation(features)))


def _zero_linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer that starts as "no change"."""
    layer = nn.Linear(n_in, n_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
