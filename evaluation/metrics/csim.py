"""CSIM: cosine similarity of face embeddings, of a generated frame and its reference at the same moment.

In the form of E. Zakharov et al., "Few-shot adversarial learning of realistic neural talking head models", ICCV 2019. The
number means something only together with the network that embedded the faces (:mod:`evaluation.judges.face_embedding`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.metrics.checks import same_shape
from evaluation.metrics.mean_metric import MeanMetric


def csim(generated: Tensor, reference: Tensor) -> Tensor:
    """Cosine similarity of each pair. Agrees with ``torch.nn.functional.cosine_similarity`` to 1e-6.

    Args:
        generated: ``(T, E)`` embeddings, of any length but 0.
        reference: the same shape.

    Returns:
        ``(T,)`` float64 in -1..1.

    Raises:
        ValueError: shapes that differ, are not two-dimensional or are empty; an embedding that is all zero or not finite.
    """
    same_shape(generated, reference, 2, "(T, E)")
    sides = [x.to(torch.float64) for x in (generated, reference)]
    for name, side in zip(("generated", "reference"), sides, strict=True):
        length = torch.linalg.vector_norm(side, dim=1)
        if not bool((torch.isfinite(length) & (length > 0)).all()):
            raise ValueError(f"{name} holds an embedding that is zero or not finite")
    return (F.normalize(sides[0], dim=1) * F.normalize(sides[1], dim=1)).sum(dim=1).clamp(-1.0, 1.0)


class CSIM(MeanMetric):
    """Mean CSIM over every pair of frames seen."""

    higher_is_better = True

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add embeddings ``(T, E)``."""
        self.add(csim(generated, reference))
