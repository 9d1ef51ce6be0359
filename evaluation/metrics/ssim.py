"""Structural similarity of 8-bit colour frames.

Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, "Image quality assessment: from error visibility to
structural similarity", IEEE TIP 13(4), 2004, with the authors' window: Gaussian, 11 x 11, sigma
1.5, K1 = 0.01, K2 = 0.03, population variance. Each colour channel counts alike and only windows
inside the frame count, as in ``skimage.metrics.structural_similarity(gaussian_weights=True,
sigma=1.5, use_sample_covariance=False)``. torchmetrics' mean also counts windows over a mirrored
border, and its convolution costs four times as much for each frame.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics.checks import same_shape

WINDOW, SIGMA, K1, K2, PEAK = 11, 1.5, 0.01, 0.03, 255.0
_TAPS = np.exp(-((np.arange(WINDOW) - (WINDOW - 1) / 2) ** 2) / (2 * SIGMA**2))
WEIGHTS = (_TAPS / _TAPS.sum()).tolist()


def _blur(planes: Tensor) -> Tensor:
    """Separable Gaussian over ``(..., H, W)``, windows inside the frame alone.

    Shifted sums: a convolution of one channel is padded to sixteen on the CPU.
    """
    for dim in (-1, -2):
        size = planes.shape[dim] - WINDOW + 1
        blurred = torch.zeros_like(planes.narrow(dim, 0, size))
        for shift, weight in enumerate(WEIGHTS):
            blurred.add_(planes.narrow(dim, shift, size), alpha=weight)
        planes = blurred
    return planes


def ssim(generated: Tensor, reference: Tensor) -> Tensor:
    """SSIM of each frame, the mean over windows and channels.

    Args:
        generated: ``(B, C, H, W)``, values 0..255 of any dtype, at least 11 x 11.
        reference: the same shape.

    Returns:
        ``(B,)`` float64, at most 1; exactly 1 for equal frames.

    Raises:
        ValueError: shapes that differ, are not four-dimensional, are empty, or are smaller than the
            window.
    """
    same_shape(generated, reference, 4, "(B, C, H, W)")
    if min(generated.shape[2:]) < WINDOW:
        size = tuple(generated.shape[2:])
        raise ValueError(f"frames have shape {size}, at least {WINDOW} x {WINDOW} is needed")
    # Variances are differences of nearly equal numbers: values centred on 0 keep float32 exact
    # enough (1e-6).
    x, y = (plane.to(torch.float32) / PEAK - 0.5 for plane in (generated, reference))
    mean_x, mean_y, square_x, square_y, product = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    variances = (square_x - mean_x**2).clamp_min(0) + (square_y - mean_y**2).clamp_min(0)
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    structure = (2 * covariance + K2**2) / (variances + K2**2)
    return (luminance * structure).flatten(1).mean(dim=1, dtype=torch.float64)
