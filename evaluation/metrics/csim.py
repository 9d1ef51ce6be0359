"""CSIM: cosine similarity of face embeddings, of a generated frame and its reference at the same
moment.

In the form of E. Zakharov et al., "Few-shot adversarial learning of realistic neural talking head
models", ICCV 2019. The number means something only together with the embedding network
(:mod:`evaluation.judges.face_embedding`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from evaluation.metrics.checks import same_shape


def csim(generated: Tensor, reference: Tensor) -> Tensor:
    """Cosine similarity of each pair.

    Args:
        generated: ``(T, E)`` embeddings, of any length but 0.
        reference: the same shape.

    Returns:
        ``(T,)`` float64 in -1..1.

    Raises:
        ValueError: shapes that differ, are not two-dimensional or are empty; an embedding that is
            zero or not finite.
    """
    same_shape(generated, reference, 2, "(T, E)")
    sides = [x.to(torch.float64) for x in (generated, reference)]
    for name, side in zip(("generated", "reference"), sides, strict=True):
        length = torch.linalg.vector_norm(side, dim=1)
        if not bool((torch.isfinite(length) & (length > 0)).all()):
            raise ValueError(f"{name} holds an embedding that is zero or not finite")
    return cosine_similarity(*sides, dim=1).clamp(-1.0, 1.0)
