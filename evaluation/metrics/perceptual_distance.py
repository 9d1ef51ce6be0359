"""Distance of two pictures in the feature maps of a network, the form behind LPIPS, with or without learned weights.

Each cell's channels are scaled to unit length, the squared differences are weighted and summed over channels, averaged over
cells, and added over layers (R. Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric",
CVPR 2018, equation 1). With the authors' weights on the authors' networks this is LPIPS (:mod:`evaluation.metrics.lpips`).
With equal weights (each layer's sum counts alike) it is the same paper's unlearned baseline; on any other network it is a
number of its own, comparable within that network alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evaluation.metrics.mean_metric import MeanMetric

EPSILON = 1e-10
FeatureMaps = Callable[[Tensor], Sequence[Tensor]]
"""From pictures ``(B, 3, H, W)`` to one map ``(B, C, h, w)`` a layer."""


def _unit(features: Tensor) -> Tensor:
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + EPSILON)


def feature_distance(
    generated: Sequence[Tensor],
    reference: Sequence[Tensor],
    weights: Sequence[Tensor] | None = None,
) -> Tensor:
    """Distance of each pair of pictures.

    Args:
        generated: one map ``(B, C, h, w)`` a layer.
        reference: the same shapes.
        weights: ``(C,)`` a layer; by default 1 / layers in every channel, so that the distance lies in 0..4.

    Returns:
        ``(B,)`` float64, 0 for equal maps.

    Raises:
        ValueError: layers, shapes or weights that do not fit each other.
    """
    if (
        not generated
        or len(generated) != len(reference)
        or (weights is not None and len(weights) != len(generated))
    ):
        raise ValueError(
            f"{len(generated)} generated and {len(reference)} reference layers do not fit each other or the weights"
        )
    total: Tensor | None = None
    for i, (a, b) in enumerate(zip(generated, reference, strict=True)):
        if (
            a.ndim != 4
            or a.shape != b.shape
            or (weights is not None and weights[i].shape != a.shape[1:2])
        ):
            raise ValueError(
                f"layer {i} has shapes {tuple(a.shape)} and {tuple(b.shape)}, which do not fit each other or its weights"
            )
        squared = (_unit(a) - _unit(b)).square_()
        if weights is None:
            cells = squared.sum(dim=1) / len(generated)
        else:
            cells = squared.movedim(1, -1) @ weights[i].to(squared)
        layer = cells.flatten(1).mean(dim=1, dtype=torch.float64)
        total = layer if total is None else total + layer
    assert total is not None
    return total


class PerceptualDistance(MeanMetric):
    """Mean feature distance over every pair of frames seen.

    Args:
        network: from frames ``(B, 3, H, W)`` uint8 to feature maps.
        weights: as in :func:`feature_distance`.
    """

    higher_is_better = False

    def __init__(self, network: FeatureMaps, weights: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        # Kept out of torchmetrics' reach, which would move, copy and save a network as if it were state.
        object.__setattr__(
            self, "_score", lambda a, b: feature_distance(network(a), network(b), weights)
        )

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add frames ``(B, 3, H, W)``."""
        self.add(self._score(generated, reference))
