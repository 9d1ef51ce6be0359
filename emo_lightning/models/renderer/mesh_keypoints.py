"""The face as one sheet: many keypoints that lie on a face model and move by its bases, blended by nearness. Ours.

Ten keypoints found in an image cannot part lips or close lids within an hour of training on a CPU. Where the coefficients
belong to a linear face model, its vertices are keypoints for nothing: their canonical places and their motion are known, and
only what a moved sheet cannot show is left to learn. The paper's size does without.

Shapes: B batch, A anchors, C the layout's size, h x w cells; positions in crop units, last axis x, y, z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.renderer.keypoint_detector import axis, rotation, scale, shift
from emo_lightning.models.renderer.mapping_net import Motion

TIGHT = 0.4
"""Standard deviation of an anchor's influence, of its distance to its neighbours."""


MARK = 8
"""Numbers that an anchor is told apart by; learned."""


SEAM = 0.04
"""Rims nearer than this share nothing of what lies between them: each keeps to its own side of the seam; model units."""
LIDS, PAIRS = 14, 23
"""Pairs of anchors of two rims that may meet but not cross: seven of each eye first, then nine of the lips."""


class Sheet(NamedTuple):
    """What a driving frame's cells have under them: blended anchors ``now`` and where they ``were`` in the source, (B, 3, h, w),
    how ``far`` the nearest anchor is, (B, 1, h, w), in model units, and their ``mark``, (B, MARK, h, w), which says what part of
    the face this is."""

    now: Tensor
    was: Tensor
    far: Tensor
    mark: Tensor


class MeshKeypoints(nn.Module):
    """Anchors on a face model, its numbers filled in by :meth:`fill` or from weights.

    Args:
        anchors: A.
        layout: of the coefficients.
    """

    mean: Tensor
    basis: Tensor
    radius: Tensor
    weight: Tensor
    pairs: Tensor

    def __init__(self, anchors: int, layout: Layout) -> None:
        super().__init__()
        self.moving = layout.slice("exp")
        self.register_buffer("mean", torch.zeros(anchors, 3))
        self.register_buffer("basis", torch.zeros(layout.size, anchors, 3))
        self.register_buffer("radius", torch.ones(anchors))
        self.register_buffer("weight", torch.zeros(anchors))
        self.register_buffer("pairs", torch.zeros(PAIRS, 2, dtype=torch.int64))
        self.mark = nn.Parameter(torch.randn(anchors, MARK))

    def fill(self, numbers: Sequence[Tensor]) -> None:
        """Take the face model's ``mean, basis, radius, weight, pairs``: see :class:`emo_lightning.face.keypoint_vertices.AnchorTable`."""
        mine = (self.mean, self.basis, self.radius, self.weight, self.pairs)
        for buffer, given in zip(mine, numbers, strict=True):
            buffer.copy_(given)

    def points(self, coefficients: Tensor, motion: Motion, apart: float = 0.0) -> Tensor:
        """Posed anchors ``(B, A, 3)`` of coefficients ``(B, C)``, rims at least so far ``apart``."""
        moved = (coefficients[:, self.moving] @ self.basis[self.moving].flatten(1)).view(
            -1, *self.mean.shape
        )
        still = (
            self.mean + (coefficients @ self.basis.flatten(1)).view(-1, *self.mean.shape) - moved
        )
        shape = self._uncrossed(still + self._shut(still, moved), apart)
        return scale(motion.trans) * shape @ rotation(motion.angle).transpose(1, 2) + shift(
            motion.trans
        )

    def _shut(self, still: Tensor, moved: Tensor) -> Tensor:
        """What expression moves, with lids wider apart than the mean face's closing as much further: a blink shuts every eye."""
        upper, lower = self.pairs[:LIDS].unbind(1)
        open_by, closing = (
            still[:, lower, 1] - still[:, upper, 1],
            torch.relu(moved[:, upper, 1] - moved[:, lower, 1]),
        )
        wider = torch.relu(
            open_by / (self.mean[lower, 1] - self.mean[upper, 1]).clamp_min(1e-3) - 1.0
        ).clamp_max(1.0)
        further = torch.zeros_like(moved[..., 1]).index_add(1, upper, closing * wider)
        return torch.stack([moved[..., 0], moved[..., 1] + further, moved[..., 2]], dim=-1)

    def _uncrossed(self, shape: Tensor, apart: float) -> Tensor:
        """Where an upper rim has passed its lower one, as a lid that closes too far does, both lie in the middle instead."""
        upper, lower = self.pairs.unbind(1)
        crossed = torch.relu(shape[:, upper, 1] + apart - shape[:, lower, 1]) / 2.0
        move = (
            torch.zeros_like(shape[..., 1])
            .index_add(1, upper, -crossed)
            .index_add(1, lower, crossed)
        )
        return torch.stack([shape[..., 0], shape[..., 1] + move, shape[..., 2]], dim=-1)

    def lay(
        self, source: Tensor, driving: Tensor, coefficients: Tensor, motion: Motion, cells: int
    ) -> Sheet:
        """Blend the anchors over ``cells`` x ``cells`` cells of the driving frame.

        Args:
            source: ``(B or 1, A, 3)`` posed anchors of the source.
            driving: ``(B, A, 3)`` posed anchors of the driving frame.
            coefficients, motion: ``(B, C)``, of the driving frame.
        """
        size = scale(motion.trans)
        with torch.no_grad():
            # Where rims meet, cells must not be torn between them: what is near is told from anchors a little apart.
            gaps = squared_gaps(self.points(coefficients, motion, SEAM)[..., :2], cells)
            blend = (-0.5 * gaps / (TIGHT * self.radius * size).square()).softmax(dim=-1)
            far = gaps.amin(dim=-1, keepdim=True).sqrt() / size
        laid = (
            blend @ driving,
            blend @ source.expand(len(driving), -1, -1),
            far,
            blend @ self.mark,
        )
        return Sheet(*(x.transpose(1, 2).unflatten(2, (cells, cells)) for x in laid))

    def attention(self, driving: Tensor, motion: Motion, cells: int = 64) -> Tensor:
        """How much an error counts at each cell ``(B, 1, cells, cells)``: 1, and more near heavy anchors."""
        heavy = self.weight > 0
        gaps = squared_gaps(driving[:, heavy, :2], cells) / (0.12 * scale(motion.trans)).square()
        extra = (torch.exp(-0.5 * gaps) * self.weight[heavy]).amax(dim=-1)
        return 1.0 + extra.view(-1, 1, cells, cells)

    def centre(self, points: Tensor, eyes: bool) -> Tensor:
        """Where the mouth, or between where the eyes are: ``(B, 2)`` of posed anchors."""
        heavy = self.weight == (self.weight[self.weight > 0].min() if eyes else self.weight.max())
        return points[:, heavy, :2].mean(dim=1).detach()


def squared_gaps(points: Tensor, cells: int) -> Tensor:
    """Squared distance of each cell's centre to each point ``(B, A, 2)``: ``(B, cells ** 2, A)``."""
    places = axis(cells, points)
    y, x = torch.meshgrid(places, places, indexing="ij")
    grid = torch.stack([x, y], dim=-1).view(1, -1, 2)
    product = grid.expand(len(points), -1, -1) @ points.transpose(1, 2)
    return (
        grid.square().sum(-1)[..., None] - 2.0 * product + points.square().sum(-1)[:, None]
    ).clamp_min(0.0)
