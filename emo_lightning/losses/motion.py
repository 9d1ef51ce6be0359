"""Losses of the pose VAE and of the emotion matrix.

Shapes: K samples, B batch, N frames, 6 pose numbers. Spectra and likelihoods are in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

POWER_FLOOR = 1e-4
"""Power, in squared units, below which head motion is invisible."""


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence from N(mean, variance) to N(0, 1), mean over latent numbers (Kingma, 2014)."""
    mean, log_variance = mean.float(), log_variance.float()
    return -0.5 * (1.0 + log_variance - mean**2 - log_variance.exp()).mean()


def spectrum_distance(sampled: Tensor, real: Tensor) -> Tensor:
    """Itakura-Saito distance of each window's spectrum from the mean spectrum of its samples.

    Its minimum over many windows is Whittle's likelihood (Whittle, 1953): sampled motion gets real
    motion's power at every frequency, for each condition. Ours, in place of PoseVAE's adversary.

    Args:
        sampled: ``(K, B, N, 6)`` several samples for each window's condition.
        real: ``(B, N, 6)``.
    """
    mean = _power(sampled.flatten(0, 1)).unflatten(0, sampled.shape[:2]).mean(dim=0)
    ratio = _power(real) / mean
    return (ratio - ratio.log() - 1.0).mean()


def mean_distance(sampled: Tensor, real: Tensor) -> Tensor:
    """Unbiased squared distance of the samples' mean from the real motion.

    Products of different samples' errors: what the condition determines, such as a nod on a stress,
    must be in every sample, and the rest may differ. ``(K, B, N, 6)``, K at least 2, ``(B, N, 6)``.
    """
    errors = sampled - real
    count = len(sampled)
    return ((errors.sum(dim=0) ** 2 - (errors**2).sum(dim=0)) / (count * (count - 1))).mean()


def walk_likelihood(displacement: Tensor, spread: Tensor, variance: float) -> Tensor:
    """Negative log likelihood per number, up to a constant, under correlated normal noise.

    Args:
        displacement: ``(B, 6)``.
        spread: ``(B, 6, 6)`` triangular root of the covariance of unit noise.
        variance: of the unit noise's displacement.
    """
    spread, displacement = spread.float(), displacement.float()
    white = torch.linalg.solve_triangular(spread, displacement[..., None], upper=False)[..., 0]
    sizes = torch.diagonal(spread, dim1=-2, dim2=-1)
    return (0.5 * white**2 / variance + sizes.log()).mean()


def bearing_distance(bearing: Tensor, pose: Tensor) -> Tensor:
    """Squared distance of bearings and poses ``(B, 6)``, each from its batch's mean.

    Where a head is in the picture carries no information about the emotion.
    """
    difference = (bearing - bearing.mean(dim=0)) - (pose - pose.mean(dim=0))
    return 1e-2 * (difference**2).mean()


def even_response(response: Tensor, prototypes: Tensor) -> Tensor:
    """Penalty on a level response that is not monotone or not evenly spaced. Ours.

    Args:
        response: ``(8, 15, E)`` change of EXP for each emotion and level.
        prototypes: ``(8, E)``; an emotion's own units are those where this is not 0.

    Returns:
        Mean squared second difference relative to the mean step, plus steps that go backwards.
    """
    steps = (response * prototypes.sign()[:, None]).diff(dim=1)
    relative = steps / steps.mean(dim=1, keepdim=True).abs().clamp_min(1e-3).detach()
    # Units that are not the emotion's own have a sign of 0, so they add nothing to the sums.
    own = (prototypes != 0).sum().clamp_min(1)
    uneven, backwards = relative.diff(dim=1).square(), torch.relu(-relative)
    return uneven.mean(dim=1).sum() / own + backwards.mean(dim=1).sum() / own


def _power(x: Tensor) -> Tensor:
    """Power spectrum ``(B, F, 6)`` of ``(B, N, 6)``, smoothed over five neighbours."""
    taper = torch.hann_window(x.shape[1] + 2, periodic=False, device=x.device)[1:-1, None]
    power = torch.fft.rfft(x.float() * taper, dim=1).abs() ** 2 / (taper**2).sum()
    kernel = (3.0 - torch.arange(-2.0, 3.0, device=x.device).abs()) / 9.0
    rows = F.pad(power.transpose(1, 2), (2, 2), mode="reflect")
    # Not a convolution: autocast would run that in half precision.
    return (rows.unfold(-1, 5, 1) * kernel).sum(dim=-1).transpose(1, 2) + POWER_FLOOR
