"""Pixels against pixels: PSNR and SSIM."""

from __future__ import annotations

import torch

from evaluation.metrics.psnr import from_squared_error, squared_error
from evaluation.metrics.ssim import ssim
from evaluation.records import Column
from evaluation.suite.base import FrameMetric


def _psnr(mean_squared_error: float) -> float:
    return float(from_squared_error(torch.tensor(mean_squared_error)))


ORDER = 10
ENTRIES = {
    "psnr": FrameMetric(
        Column(
            "psnr",
            "PSNR",
            "dB",
            True,
            None,
            2,
            "pooled over the clip's frames",
            0.0,
            family="picture",
        ),
        lambda device: squared_error,
        _psnr,
    ),
    "ssim": FrameMetric(
        Column(
            "ssim",
            "SSIM",
            "",
            True,
            None,
            3,
            "Gaussian window 11, sigma 1.5, mean over frames",
            -1.0,
            1.0,
            family="picture",
        ),
        lambda device: ssim,
    ),
}
