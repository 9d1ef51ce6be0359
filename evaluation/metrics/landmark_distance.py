"""Distances between the landmarks of a generated clip and its reference at the same moments, in
inter-ocular distances.

F-LMD compares all points where they lie in the common crop, so it sees shape, expression and head
motion together. M-LMD compares the mouth's points after moving each frame's mouth onto its own
centre (L. Chen et al., "Lip movements generation at a glance", ECCV 2018), so it sees the mouth's
shape alone. Both are divided by the reference's inter-ocular distance (outer eye corners), which
makes them independent of the resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation.metrics.checks import same_shape


def landmark_distance(generated: Tensor, reference: Tensor, interocular: Tensor) -> Tensor:
    """Mean Euclidean distance of matching points in each frame.

    Args:
        generated: ``(T, P, D)`` points in any unit, D 2 or 3.
        reference: the same shape and unit, at the same moments.
        interocular: ``(T,)`` or scalar, the reference's outer eye-corner distance in that unit.

    Returns:
        ``(T,)`` float64 in inter-ocular distances.

    Raises:
        ValueError: shapes that differ or are empty; an inter-ocular distance that is not positive.
    """
    same_shape(generated, reference, 3, "(T, P, D)")
    unit = torch.as_tensor(interocular, dtype=torch.float64, device=generated.device)
    if not bool((unit > 0).all()):
        raise ValueError(f"interocular holds {float(unit.min())}, expected distances above 0")
    distance = torch.linalg.vector_norm(
        generated.to(torch.float64) - reference.to(torch.float64), dim=-1
    )
    return distance.mean(dim=1) / unit


def centred(points: Tensor) -> Tensor:
    """Each frame's points ``(T, P, D)`` moved so that their mean is the origin."""
    return points - points.mean(dim=1, keepdim=True)


def mouth_distance(generated: Tensor, reference: Tensor, interocular: Tensor) -> Tensor:
    """M-LMD of each frame: :func:`landmark_distance` of mouth points ``(T, P, D)``, each frame on
    its own centre."""
    same_shape(generated, reference, 3, "(T, P, D)")
    return landmark_distance(centred(generated), centred(reference), interocular)
