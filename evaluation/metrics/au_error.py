"""Mean absolute difference of facial action unit intensities, for each unit, at matching moments.

Intensities run from 0 (absent) to 1 (FACS grade E); OpenFace's 0..5 divided by 5 is the same scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation.metrics.checks import same_shape


def au_error(generated: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute error of each unit.

    Args:
        generated: ``(T, U)`` intensities.
        reference: the same shape, at the same moments.

    Returns:
        ``(U,)`` float64. Its mean is the clip's score.

    Raises:
        ValueError: shapes that differ, are not two-dimensional or are empty.
    """
    same_shape(generated, reference, 2, "(T, U)")
    return (generated.to(torch.float64) - reference.to(torch.float64)).abs().mean(dim=0)
