"""Fine-grained emotion matrix: 8 emotions x 15 levels of control vectors over (EMO 8, INT 3).

Our reading of the figure: a control vector weighs the 8 x 3 annotated cells (emotion, intensity).
The table is initialised by interpolating between the three annotated intensities, at levels 3, 8
and 13; training refines the weights of each level, and
:func:`emo_lightning.losses.motion.even_response` keeps the response monotone and even.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.motion.emotions import ANNOTATED_LEVELS, EMOTIONS, NEUTRAL, prototype_exp

INTENSITIES = len(ANNOTATED_LEVELS)
LEVELS = 15
CONTROL_SIZE = len(EMOTIONS) * INTENSITIES


def interpolated_levels() -> Tensor:
    """Weights ``(15, 3)`` of the three annotated intensities at levels 1..15, piecewise linear.

    Below the first, the line runs to no emotion at level 0; above the last, it is extrapolated.
    """
    anchors = [0.0, *ANNOTATED_LEVELS.values()]
    rows = torch.zeros(LEVELS, INTENSITIES + 1)
    for row, level in enumerate(range(1, LEVELS + 1)):
        right = next((i for i, anchor in enumerate(anchors) if level <= anchor), len(anchors) - 1)
        share = (level - anchors[right - 1]) / (anchors[right] - anchors[right - 1])
        rows[row, right] += share
        rows[row, right - 1] += 1.0 - share
    return rows[:, 1:]


class EmotionMatrix(nn.Module):
    """Control vectors for (emotion, level); neutral has one row for all levels.

    Args:
        refine: False keeps the initial interpolation.
    """

    initial: Tensor

    def __init__(self, refine: bool = True) -> None:
        super().__init__()
        self.register_buffer("initial", interpolated_levels())
        table = torch.zeros(len(EMOTIONS), LEVELS, INTENSITIES)
        self.refinement = nn.Parameter(table, requires_grad=refine)

    def table(self) -> Tensor:
        """``(8, 15, 3)`` weights of each emotion's annotated intensities at each level."""
        table = self.initial + self.refinement
        first_intensity = torch.eye(INTENSITIES, device=table.device, dtype=table.dtype)[0]
        neutral = self.refinement[NEUTRAL, :1].expand(LEVELS, -1) + first_intensity
        return torch.cat([table[:NEUTRAL], neutral[None], table[NEUTRAL + 1 :]])

    def forward(self, emotion: Tensor, level: Tensor) -> Tensor:
        """Control vectors.

        Args:
            emotion: ``(...,)`` int64, index into :data:`EMOTIONS`.
            level: ``(...,)`` float; interpolated between levels, clamped to 1..15.

        Returns:
            ``(..., 24)``: the emotion's three weights in its own cells, zeros elsewhere.
        """
        position = (level.clamp(1.0, float(LEVELS)) - 1.0).to(self.initial.dtype)
        below = position.floor().long().clamp(max=LEVELS - 2)
        share = (position - below)[..., None]
        table = self.table()
        weights = (1.0 - share) * table[emotion, below] + share * table[emotion, below + 1]
        cells = nn.functional.one_hot(emotion, len(EMOTIONS)).to(weights.dtype)
        return (cells[..., :, None] * weights[..., None, :]).flatten(-2)


def prototype_table(layout: Layout) -> Tensor:
    """``(8, exp)`` expression of each emotion at level 15; zeros for a face model without named
    units."""
    if not layout.exp_names:
        return torch.zeros(len(EMOTIONS), layout.width("exp"))
    return torch.stack(
        [torch.from_numpy(prototype_exp(name, layout.exp_names)) for name in EMOTIONS]
    )
