"""EmoNet: control vector and ExpNet's features to ID, TEX and, by default, a change of EXP."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.layers.temporal import mlp
from emo_lightning.models.motion.emotion_matrix import CONTROL_SIZE
from emo_lightning.motion.emotions import ANNOTATED_LEVELS, LEVEL_MAX

MODULATION = 0.3
"""Largest relative change of a unit of the emotion's face by the voice."""


class EmoOutput(NamedTuple):
    """``id`` (B, T, I), ``tex`` (B, T, X), ``exp`` (B, T, E) the change, ``features`` (B, T, W)."""

    id: Tensor
    tex: Tensor
    exp: Tensor
    features: Tensor


class EmoNet(nn.Module):
    """Per frame, without memory: linear in the control vector, modulated by the voice.

    The linear part is initialised with the FACS prototypes; it keeps the cross-fade of an emotion
    track a straight line in EXP.

    Args:
        layout: widths of the coefficient blocks.
        speech: width of ExpNet's features.
        width: hidden channels.
        prototypes: ``(8, E)`` faces at level 15, zeros for a model without named units.
        exp_delta: False leaves EXP to ExpNet, as in the figure.
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
            intensities = torch.tensor(list(ANNOTATED_LEVELS.values())) / LEVEL_MAX
            cells = prototypes[:, None, :] * intensities[None, :, None]
            self.response = nn.Parameter(cells.flatten(0, 1).clone())
            self.modulation = _zero_linear(width, n_exp)

    def forward(
        self, control: Tensor, speech: Tensor, source_id: Tensor, source_tex: Tensor
    ) -> EmoOutput:
        """Identity, texture and change of expression per frame.

        Args:
            control: ``(B, T, 24)`` from the emotion matrix.
            speech: ``(B, T, speech)`` features of ExpNet.
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
    """Linear layer initialised to zero."""
    layer = nn.Linear(n_in, n_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
