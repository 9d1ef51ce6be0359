"""PoseNet: a conditional variational autoencoder of head motion, and the endless motion made from its windows.

The network knows one window of frames: the change of pose (pitch, yaw, roll, tx, ty, log s) from the window's first
frame, given what the voice says and the emotion. :class:`PoseStream` joins windows without drift.

Shapes: B batch, N frames of a window, 6 pose numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSE_SIZE = 6
UNIT = (0.1, 0.1, 0.06, 0.06, 0.06, 0.03)
"""Typical change of each number, radians and crop units, so that the network sees numbers near one. Ours."""
BOUND = 3.0
"""Largest change from the first frame, in these units."""
RAMP_SECONDS = 0.8
FPS = 25.0


class PoseOutput(NamedTuple):
    """``delta`` (B, N, 6) in :data:`UNIT`; ``mean`` and ``log_variance`` (B, latent) of the posterior."""

    delta: Tensor
    mean: Tensor
    log_variance: Tensor


class PoseNet(nn.Module):
    """Conditional VAE over windows.

    Args:
        condition: width of the features a frame.
        window: N, a multiple of 8.
        latent: size of the latent.
        width: hidden channels.
    """

    unit: Tensor

    def __init__(self, condition: int, window: int = 64, latent: int = 64, width: int = 64) -> None:
        super().__init__()
        if window % 8:
            raise ValueError(f"window {window} is not a multiple of 8")
        self.window, self.latent = window, latent
        self.register_buffer("unit", torch.tensor(UNIT), persistent=False)
        self.condition = nn.Linear(condition, width)
        self.encoder = nn.Sequential(_down(width + POSE_SIZE, width), _down(width, width), _down(width, width))
        steps = window // 8
        self.to_mean = nn.Linear(steps * width, latent)
        self.to_log_variance = nn.Linear(steps * width, latent)
        self.from_latent = nn.Linear(latent, steps * width)
        self.decoder = nn.ModuleList(_same(2 * width, width) for _ in range(4))
        self.to_pose = nn.Conv1d(width, POSE_SIZE, 5, padding=2)

    def encode(self, delta: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance ``(B, latent)`` of the posterior of ``delta`` (B, N, 6) in units."""
        x = torch.cat([self.condition(condition), delta], dim=-1).transpose(1, 2)
        x = self.encoder(x).flatten(1)
        return self.to_mean(x), self.to_log_variance(x).clamp(-8.0, 4.0)

    def decode(self, latent: Tensor, condition: Tensor) -> Tensor:
        """Change from the first frame, ``(B, N, 6)`` in units, within :data:`BOUND`.

        Args:
            latent: ``(B, latent)``.
            condition: ``(B, N, condition)``.
        """
        given = self.condition(condition).transpose(1, 2)
        x = self.from_latent(latent).view(len(latent), -1, self.window // 8)
        for i, layer in enumerate(self.decoder):
            pooled = F.adaptive_avg_pool1d(given, x.shape[-1])
            x = layer(torch.cat([x, pooled], dim=1))
            if i < 3:
                x = F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=False)
        y = self.to_pose(x).transpose(1, 2)
        return BOUND * torch.tanh((y - y[:, :1]) / BOUND)

    def forward(self, delta: Tensor, condition: Tensor, noise: Tensor) -> PoseOutput:
        """Reconstruct a window through a sampled latent; ``noise`` is (B, latent), standard normal."""
        mean, log_variance = self.encode(delta, condition)
        latent = mean + noise * torch.exp(0.5 * log_variance)
        return PoseOutput(self.decode(latent, condition), mean, log_variance)

    def to_units(self, angle: Tensor, trans: Tensor) -> Tensor:
        """Pose ``(B, N, 3)`` and ``(B, N, 3)`` to change from the first frame ``(B, N, 6)`` in units."""
        pose = torch.cat([angle, trans], dim=-1)
        return (pose - pose[:, :1]) / self.unit


class PoseStream:
    """Endless head motion from overlapping windows.

    Windows start every N / 2 frames. Each loses its mean and fades in and out along a sine, so neighbours add up with even
    strength, nothing drifts however long the sound, and the motion starts from rest. Each window's latent comes from
    (seed, window number) alone: the same seed gives the same motion, however the sound arrives.
    """

    def __init__(self, net: PoseNet, seed: int) -> None:
        self.net, self.seed = net, seed
        self.hop = net.window // 2
        self._fade = torch.sin(math.pi * (torch.arange(net.window) + 0.5) / net.window)[:, None]
        self._pending = torch.zeros(0, net.condition.in_features)
        self._tail = torch.zeros(self.hop, POSE_SIZE)
        self._windows = 0

    @property
    def _next(self) -> int:
        """Number of the frame that the next window makes final; half a window of lead-in comes before frame 0."""
        return (self._windows - 1) * self.hop

    def push(self, condition: Tensor) -> Tensor:
        """Take ``(n, condition)`` features; return what became final, ``(m, 6)`` radians and crop units."""
        if not self._windows and not len(self._pending):
            condition = torch.cat([condition[:1].expand(self.hop, -1), condition])
        self._pending = torch.cat([self._pending, condition])
        pieces = [torch.zeros(0, POSE_SIZE)]
        while len(self._pending) >= self.net.window:
            pieces.append(self._advance())
        return torch.cat(pieces)

    def finish(self, frames: int) -> Tensor:
        """The rest, as if the last features went on, up to ``frames`` in all."""
        pieces = [torch.zeros(0, POSE_SIZE)]
        excess = 0
        while self._next < frames and len(self._pending):
            missing = max(self.net.window - len(self._pending), 0)
            self._pending = torch.cat([self._pending, self._pending[-1:].expand(missing, -1)])
            pieces.append(self._advance())
            excess = max(self._next - frames, 0)
        out = torch.cat(pieces)
        return out[: len(out) - excess]

    def _advance(self) -> Tensor:
        """Make one more window; return the half that no later window changes."""
        start, condition = self._next, self._pending[: self.net.window]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self._windows)
        latent = torch.randn(1, self.net.latent, generator=generator)
        with torch.no_grad():
            delta = self.net.decode(latent, condition[None])[0] * self.net.unit
        delta = (delta - delta.mean(dim=0)) * self._fade
        ready, self._tail = self._tail + delta[: self.hop], delta[self.hop :]
        self._pending = self._pending[self.hop :]
        self._windows += 1
        if start < 0:
            return ready[:0]
        x = ((torch.arange(self.hop) + start) / (RAMP_SECONDS * FPS)).clamp(max=1.0)[:, None]
        return ready * x * x * (3.0 - 2.0 * x)


def _down(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(n_in, n_out, 4, stride=2, padding=1), nn.GELU())


def _same(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(n_in, n_out, 5, padding=2), nn.GELU())
