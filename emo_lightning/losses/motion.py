"""Losses of the pose VAE."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from N(mean, variance) to N(0, 1), a latent number (Kingma & Welling, 2014); ``(B, Z)`` each."""
    return -0.5 * (1.0 + log_variance - mean**2 - log_variance.exp()).mean()


def spectrum_distance(drawn: Tensor, real: Tensor) -> Tensor:
    """L1 distance of the mean log spectra, so drawn motion has the strength of real motion at every frequency.

    Ours, in place of PoseVAE's adversary. Both ``(B, N, 6)``.
    """

    def log_power(x: Tensor) -> Tensor:
        power = torch.fft.rfft(x - x.mean(dim=1, keepdim=True), dim=1).abs() ** 2
        return (power.mean(dim=0) + 1e-3).log()

    return (log_power(drawn) - log_power(real)).abs().mean()
