"""Peak signal-to-noise ratio of 8-bit frames, in decibels.

A clip has one PSNR, that of its squared error pooled over frames: averaging decibels would let one
still frame speak for the clip. Equal to ``torchmetrics``' ``peak_signal_noise_ratio`` on the whole
clip. Identical clips have no finite PSNR; the error is therefore never taken as smaller than that
of rounding to 8 bits, 1/12 grey value squared, which is 58.9 dB.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation.metrics.checks import same_shape

PEAK = 255.0
QUANTISATION_ERROR = 1 / 12
"""Variance of the rounding error of 8-bit values, grey values squared."""


def squared_error(generated: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of each frame.

    Args:
        generated: ``(B, C, H, W)``, values 0..255 of any dtype.
        reference: the same shape.

    Returns:
        ``(B,)`` float64, grey values squared.

    Raises:
        ValueError: shapes that differ, are not four-dimensional or are empty.
    """
    same_shape(generated, reference, 4, "(B, C, H, W)")
    difference = generated.to(torch.float32) - reference.to(torch.float32)
    return difference.square().flatten(1).mean(dim=1, dtype=torch.float64)


def from_squared_error(error: Tensor) -> Tensor:
    """Decibels of a mean squared error in grey values squared, at most those of 8-bit rounding."""
    return 10.0 * torch.log10(PEAK**2 / error.to(torch.float64).clamp_min(QUANTISATION_ERROR))


CAP = float(from_squared_error(torch.tensor(0.0)))
"""Decibels of identical clips."""
