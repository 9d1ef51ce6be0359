"""FID: Fréchet distance between Gaussians fitted to the features of two sets of images.

M. Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
equilibrium", NIPS 2017. On the Inception features of pytorch-fid it agrees with that package to
1e-3; the formula itself agrees with ``pytorch_fid.fid_score.calculate_frechet_distance`` to 1e-6 of
the value where that is well defined (it adds 1e-6 to the diagonal of singular covariances, which
are the rule with fewer images than features; here they need no such help).

The estimate is biased upwards, roughly as 1 / images, and the more the richer the features:
numbers from sets of different size do not compare, and with fewer than 2,048 images (the number
of Inception's features) the fitted covariance is not even of full rank. An interval from
:mod:`evaluation.metrics.bootstrap` says how far the number depends on the choice of clips; it does
not contain that bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation.metrics.checks import two_sets

ENOUGH = 2048
"""Images a side below which a FID is not to be trusted."""


def _root_trace(values: Tensor) -> Tensor:
    """Sum of square roots of the eigenvalues of a matrix that is positive but for rounding."""
    return values.clamp_min(0).sqrt().sum()


def frechet_distance(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> Tensor:
    """``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``.

    The trace of the root of a product, which is not symmetric, is taken from the symmetric
    ``C_a^(1/2) C_b C_a^(1/2)``: its eigenvalues are the same, real and found stably.

    Args:
        mean_a, mean_b: ``(D,)``.
        covariance_a, covariance_b: ``(D, D)``, symmetric, of any rank.

    Returns:
        Scalar float64, at least 0.

    Raises:
        ValueError: shapes that do not fit, or numbers that are not finite.
    """
    size = (len(mean_a), len(mean_a))
    if mean_a.ndim != 1 or mean_a.shape != mean_b.shape:
        shapes = f"{tuple(mean_a.shape)} and {tuple(mean_b.shape)}"
        raise ValueError(f"means have shapes {shapes}, expected two of (D,)")
    if covariance_a.shape != size or covariance_b.shape != size:
        shapes = f"{tuple(covariance_a.shape)} and {tuple(covariance_b.shape)}"
        raise ValueError(f"covariances have shapes {shapes}, expected two of {size}")
    mean_a, mean_b, covariance_a, covariance_b = (
        x.to(torch.float64) for x in (mean_a, mean_b, covariance_a, covariance_b)
    )
    if not all(bool(torch.isfinite(x).all()) for x in (mean_a, mean_b, covariance_a, covariance_b)):
        raise ValueError("means and covariances must be finite numbers")
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors * values.clamp_min(0).sqrt()
    crossed = _root_trace(torch.linalg.eigvalsh(root.T @ covariance_b @ root))
    return (
        (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * crossed
    ).clamp_min(0)


def _fitted(features: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean ``(D,)`` and centred rows whose ``rows.T @ rows`` is the unbiased covariance."""
    features = features.to(torch.float64)
    if weights is None:
        weights = torch.ones(len(features), dtype=torch.float64, device=features.device)
    features, weights = features[weights > 0], weights[weights > 0].to(features)
    count = weights.sum()
    mean = weights @ features / count
    return mean, (features - mean) * (weights / (count - 1)).sqrt()[:, None]


def fid(
    generated: Tensor, reference: Tensor, weights: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Fréchet distance of two sets of features.

    With fewer images than features the D x D covariances ``A'A`` and ``B'B`` are never formed:
    the trace of the root of their product is the sum of the singular values of ``A B'``, a matrix
    of images by images.

    Args:
        generated: ``(N, D)``, N at least 2.
        reference: ``(M, D)``, M at least 2.
        weights: how often each image counts, ``(N,)`` and ``(M,)``; once each by default.

    Returns:
        Scalar float64, at least 0.

    Raises:
        ValueError: shapes that do not fit, or fewer than two images on a side.
    """
    two_sets(generated, reference)
    weights_a, weights_b = weights if weights is not None else (None, None)
    (mean_a, a), (mean_b, b) = _fitted(generated, weights_a), _fitted(reference, weights_b)
    if min(len(a), len(b)) > generated.shape[1]:
        return frechet_distance(mean_a, a.T @ a, mean_b, b.T @ b)
    short, long = (a, b) if len(a) <= len(b) else (b, a)
    cross = short @ long.T
    crossed = _root_trace(torch.linalg.eigvalsh(cross @ cross.T))
    return (
        (mean_a - mean_b).square().sum() + a.square().sum() + b.square().sum() - 2 * crossed
    ).clamp_min(0)
