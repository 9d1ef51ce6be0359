"""Landmark distances as EAT's evaluation code computes them, for comparison with numbers published
that way.

EAT (Gan et al., "Efficient Emotional Adaptation for Audio-Driven Talking-Head Generation", ICCV
2023) takes dlib's 68 landmarks in pixels of the aligned 256 x 256 crop. M-LMD: each frame's 20
mouth points are moved onto their mean, and the distance of matching points is averaged over points
and frames. F-LMD: the same with all 68. The velocities compare frame-to-frame differences of the
points where they lie, not centred, and divide by the number of frames, not of differences. Its code
adds the mouth's velocity error to the face's sum in place of the face's own, so that the published
face velocity is 20/68 of the mouth's: ``face_velocity`` reproduces that. With the same points the
four numbers equal that code's to rounding (1e-9); which frames are compared is the protocol's
matter (EAT stretches the shorter clip by index, we compare equal timestamps), and so are the points
(MediaPipe's at the same places, here). Our own M-LMD and F-LMD
(:mod:`evaluation.metrics.landmark_distance`) are divided by the inter-ocular distance, and our
F-LMD is not centred.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.metrics.checks import same_shape
from evaluation.metrics.landmark_distance import centred

MOUTH = slice(48, 68)
NAMES = ("mouth", "face", "mouth_velocity", "face_velocity")


@dataclass(frozen=True)
class EatDistances:
    """In pixels of the 256 x 256 crop, the velocities in pixels a frame."""

    mouth: float
    face: float
    mouth_velocity: float
    face_velocity: float


def _distances(generated: Tensor, reference: Tensor) -> Tensor:
    return torch.linalg.vector_norm(generated - reference, dim=-1)


def eat_landmark_distances(generated: Tensor, reference: Tensor) -> EatDistances:
    """The four distances of one clip.

    Args:
        generated: ``(T, 68, 2)`` iBUG points in pixels of a 256 x 256 crop.
        reference: the same shape, at the same moments.

    Raises:
        ValueError: other shapes, or shapes that differ.
    """
    same_shape(generated, reference, 3, "(T, 68, 2)")
    if generated.shape[1:] != (68, 2):
        raise ValueError(f"generated has shape {tuple(generated.shape)}, expected (T, 68, 2)")
    made, true = generated.to(torch.float64), reference.to(torch.float64)
    mouths = made[:, MOUTH], true[:, MOUTH]
    velocity_error = _distances(mouths[0].diff(dim=0), mouths[1].diff(dim=0)).sum() / len(made)
    return EatDistances(
        mouth=float(_distances(centred(mouths[0]), centred(mouths[1])).mean()),
        face=float(_distances(centred(made), centred(true)).mean()),
        mouth_velocity=float(velocity_error / 20),
        face_velocity=float(velocity_error / 68),
    )
