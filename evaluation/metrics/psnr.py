"""Peak signal-to-noise ratio of 8-bit frames, in decibels.

A clip has one PSNR, that of its pooled squared error: averaging decibels over frames instead would let one still frame
(infinite) or one very good frame speak for the clip. Agrees with ``skimage.metrics.peak_signal_noise_ratio`` and with
torchmetrics on the same frames to 1e-5 dB. Frames that are equal to the last bit give infinity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation.metrics.checks import same_shape
from evaluation.metrics.mean_metric import MeanMetric

PEAK = 255.0


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
    """Decibels of a mean squared error in grey values squared; infinity for 0."""
    return 10.0 * torch.log10(PEAK**2 / error.to(torch.float64))


def psnr(generated: Tensor, reference: Tensor) -> Tensor:
    """PSNR of a clip, ``10 log10(255^2 / mse)`` with the error pooled over all its frames.

    Args:
        generated: ``(T, C, H, W)``, values 0..255.
        reference: the same shape.

    Returns:
        Scalar float64, decibels; infinity when the clips are equal.

    Raises:
        ValueError: shapes that differ, are not four-dimensional or are empty.
    """
    return from_squared_error(squared_error(generated, reference).mean())


class PSNR(MeanMetric):
    """PSNR of everything seen, pooled over frames, updates and ranks."""

    higher_is_better = True

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add frames ``(B, C, H, W)``, values 0..255; all updates must have one frame size."""
        self.add(squared_error(generated, reference))

    def compute(self) -> Tensor:
        """Decibels; nan before the first frame."""
        return from_squared_error(super().compute())
