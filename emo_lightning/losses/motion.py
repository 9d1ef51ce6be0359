"""Losses of the pose VAE.

Shapes: K draws, B batch, N frames, 6 pose numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FLOOR = 1e-4
"""Power, in squared units, below which nothing is seen on a head."""


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from N(mean, variance) to N(0, 1), a latent number (Kingma & Welling, 2014); any shape, the mean over all."""
    return -0.5 * (1.0 + log_variance - mean**2 - log_variance.exp()).mean()


def spectrum_distance(drawn: Tensor, real: Tensor) -> Tensor:
    """Itakura-Saito distance of each window's smoothed spectrum from the mean spectrum of its own draws.

    Its minimum over many windows is Whittle's likelihood (Whittle, 1953): drawn motion has real motion's power at every
    frequency, for each condition and not just on average. Ours, in place of PoseVAE's adversary.

    Args:
        drawn: ``(K, B, N, 6)`` several draws for each window's condition.
        real: ``(B, N, 6)``.
    """
    ratio = _power(real) / _power(drawn.flatten(0, 1)).unflatten(0, drawn.shape[:2]).mean(dim=0)
    return (ratio - ratio.log() - 1.0).mean()


def mean_distance(drawn: Tensor, real: Tensor) -> Tensor:
    """Squared distance of the draws' mean from the real motion, without bias: products of different draws' errors.

    What the condition tells of the motion, such as a nod on a stress, must come out in every draw, and what it does not
    tell may differ freely between them. ``(K, B, N, 6)`` with K at least 2, and ``(B, N, 6)``.
    """
    errors = drawn - real
    draws = len(drawn)
    return ((errors.sum(dim=0) ** 2 - (errors**2).sum(dim=0)) / (draws * (draws - 1))).mean()


def walk_likelihood(moved: Tensor, spread: Tensor, variance: float) -> Tensor:
    """Negative log likelihood, a number and up to a constant, of displacements under correlated normal noise.

    Args:
        moved: ``(B, 6)`` displacements.
        spread: ``(B, 6, 6)`` triangular root of the covariance of unit noise.
        variance: of the unit noise's displacement.
    """
    white = torch.linalg.solve_triangular(spread, moved[..., None], upper=False)[..., 0]
    sizes = torch.diagonal(spread, dim1=-2, dim2=-1)
    return (0.5 * white**2 / variance + sizes.log()).mean()


def bearing_distance(held: Tensor, pose: Tensor) -> Tensor:
    """Squared distance between held poses and poses ``(B, 6)``, each from its batch's mean: where a head is in the picture says nothing."""
    apart = (held - held.mean(dim=0)) - (pose - pose.mean(dim=0))
    return 1e-2 * (apart**2).mean()


def _power(x: Tensor) -> Tensor:
    """Power ``(B, F, 6)`` of ``(B, N, 6)``, smoothed over five neighbours."""
    taper = torch.hann_window(x.shape[1] + 2, periodic=False, device=x.device)[1:-1, None]
    power = torch.fft.rfft(x * taper, dim=1).abs() ** 2 / (taper**2).sum()
    kernel = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0], device=x.device) / 9.0
    rows = F.pad(power.transpose(1, 2), (2, 2), mode="reflect")
    smooth = F.conv1d(rows.flatten(0, 1)[:, None], kernel[None, None])[:, 0]
    return smooth.view(len(x), x.shape[2], -1).transpose(1, 2) + FLOOR
