"""Dense keypoints attached to 3DMM vertices, splatted to a dense flow. Ours.

Ten keypoints detected in an image cannot part lips or close lids within an hour of training on a
CPU. With a linear face model, vertices are keypoints whose canonical positions and motion by the
blendshape basis are known; only what a moved mesh cannot show is left to learn. The paper's size
does without.

All geometry is float32. Shapes: B batch, A mesh keypoints, C the layout's size, h x w grid cells;
positions in crop units, last axis x, y, z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.layers.precision import float32_on
from emo_lightning.models.renderer.keypoint_detector import cell_centres, scale, to_crop
from emo_lightning.models.renderer.mapping_net import KeypointMotion

KERNEL_WIDTH = 0.4
"""Standard deviation of a keypoint's splatting kernel over the distance to its neighbours."""
PART_CODE = 8
"""Size of the learned embedding that identifies a keypoint."""
SEAM = 0.04
"""Gap, in model units, to which rims of lips and lids are parted before cells are assigned to
them."""
LID_PAIRS, PAIRS = 14, 23
"""Pairs of keypoints on opposite rims that may meet but not cross: seven per eye, then nine of
lips."""
ROI_RADIUS = 0.12
"""Radius of the loss weights around weighted keypoints, model units."""


class SplattedMesh(NamedTuple):
    """Fields splatted from the mesh keypoints to the cells of a driving frame.

    ``driving`` and ``source`` (B, 3, h, w): blended positions in either image; ``distance``
    (B, 1, h, w) to the nearest keypoint, model units; ``part_code`` (B, PART_CODE, h, w).
    """

    driving: Tensor
    source: Tensor
    distance: Tensor
    part_code: Tensor


class MeshKeypoints(nn.Module):
    """Keypoints on a face model; buffers come from :meth:`load_face_model` or from weights.

    Args:
        keypoints: A.
        layout: coefficient layout.
    """

    mean: Tensor
    basis: Tensor
    radius: Tensor
    weight: Tensor
    pairs: Tensor

    def __init__(self, keypoints: int, layout: Layout) -> None:
        super().__init__()
        self.expression = layout.slice("exp")
        self.register_buffer("mean", torch.zeros(keypoints, 3))
        self.register_buffer("basis", torch.zeros(layout.size, keypoints, 3))
        self.register_buffer("radius", torch.ones(keypoints))
        self.register_buffer("weight", torch.zeros(keypoints))
        self.register_buffer("pairs", torch.zeros(PAIRS, 2, dtype=torch.int64))
        self.part_code = nn.Parameter(torch.randn(keypoints, PART_CODE))

    def load_face_model(self, arrays: Sequence[Tensor]) -> None:
        """Copy ``mean, basis, radius, weight, pairs``
        (:mod:`emo_lightning.face.keypoint_vertices`)."""
        buffers = (self.mean, self.basis, self.radius, self.weight, self.pairs)
        for buffer, given in zip(buffers, arrays, strict=True):
            buffer.copy_(given)

    def posed_points(
        self, coefficients: Tensor, motion: KeypointMotion, gap: float = 0.0
    ) -> Tensor:
        """Posed keypoints ``(B, A, 3)`` of coefficients ``(B, C)``, rims at least ``gap`` apart."""
        with float32_on(coefficients):
            coefficients, exp = coefficients.float(), self.expression
            change = (coefficients[:, exp] @ self.basis[exp].flatten(1)).view(-1, *self.mean.shape)
            whole = (coefficients @ self.basis.flatten(1)).view(-1, *self.mean.shape)
            neutral = self.mean + whole - change
            shape = self._separate(neutral + self._complete_blinks(neutral, change), gap)
            return to_crop(shape, motion)

    def _complete_blinks(self, neutral: Tensor, change: Tensor) -> Tensor:
        """Expression change with lid closing scaled up for eyes that are open wider than the
        mean's."""
        upper, lower = self.pairs[:LID_PAIRS].unbind(1)
        opening = neutral[:, lower, 1] - neutral[:, upper, 1]
        closing = torch.relu(change[:, upper, 1] - change[:, lower, 1])
        mean_opening = (self.mean[lower, 1] - self.mean[upper, 1]).clamp_min(1e-3)
        excess = torch.relu(opening / mean_opening - 1.0).clamp_max(1.0)
        further = torch.zeros_like(change[..., 1]).index_add(1, upper, closing * excess)
        return torch.stack([change[..., 0], change[..., 1] + further, change[..., 2]], dim=-1)

    def _separate(self, shape: Tensor, gap: float) -> Tensor:
        """Move rims that have crossed, or are nearer than ``gap``, apart to both sides equally."""
        upper, lower = self.pairs.unbind(1)
        overlap = torch.relu(shape[:, upper, 1] + gap - shape[:, lower, 1]) / 2.0
        move = torch.zeros_like(shape[..., 1]).index_add(1, upper, -overlap)
        move = move.index_add(1, lower, overlap)
        return torch.stack([shape[..., 0], shape[..., 1] + move, shape[..., 2]], dim=-1)

    def splat(
        self,
        source: Tensor,
        driving: Tensor,
        coefficients: Tensor,
        motion: KeypointMotion,
        cells: int,
    ) -> SplattedMesh:
        """Blend the keypoints over ``cells`` x ``cells`` cells of the driving frame.

        Args:
            source: ``(B or 1, A, 3)`` posed keypoints of the source.
            driving: ``(B, A, 3)`` posed keypoints of the driving frame.
            coefficients, motion: ``(B, C)``, of the driving frame.
            cells: side of the grid.
        """
        with float32_on(driving):
            size = scale(motion.trans)
            with torch.no_grad():
                # Where rims touch, a cell must belong to one of them: parted keypoints decide.
                parted = self.posed_points(coefficients, motion, SEAM)
                gaps = squared_distances(parted[..., :2], cells)
                kernel = (KERNEL_WIDTH * self.radius * size).square()
                blend = (-0.5 * gaps / kernel).softmax(dim=-1)
                distance = gaps.amin(dim=-1, keepdim=True).sqrt() / size
            fields = (
                blend @ driving,
                blend @ source.expand(len(driving), -1, -1),
                distance,
                blend @ self.part_code,
            )
            return SplattedMesh(*(x.transpose(1, 2).unflatten(2, (cells, cells)) for x in fields))

    def roi_weights(self, driving: Tensor, motion: KeypointMotion, cells: int = 64) -> Tensor:
        """Loss weights ``(B, 1, cells, cells)``: 1, and more near weighted keypoints."""
        with float32_on(driving):
            radius = (ROI_RADIUS * scale(motion.trans)).square()
            gaps = squared_distances(driving[..., :2], cells) / radius
            extra = (torch.exp(-0.5 * gaps) * self.weight).amax(dim=-1)
            return 1.0 + extra.view(-1, 1, cells, cells)

    def region_centre(self, points: Tensor, eyes: bool) -> Tensor:
        """Centre ``(B, 2)`` of the mouth or of both eyes among posed keypoints, detached."""
        lightest = self.weight.masked_fill(self.weight <= 0, torch.inf).amin()
        share = (self.weight == (lightest if eyes else self.weight.amax())).to(points.dtype)
        centre = (points[..., :2] * share[:, None]).sum(dim=1) / share.sum().clamp_min(1.0)
        return centre.detach()


def squared_distances(points: Tensor, cells: int) -> Tensor:
    """Squared distances ``(B, cells ** 2, A)`` of cell centres to points ``(B, A, 2)``."""
    centres = cell_centres(cells, points)
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    grid = torch.stack([x, y], dim=-1).view(1, -1, 2)
    product = grid.expand(len(points), -1, -1) @ points.transpose(1, 2)
    squares = grid.square().sum(-1)[..., None] - 2.0 * product
    return (squares + points.square().sum(-1)[:, None]).clamp_min(0.0)
