"""PoseNet: a conditional VAE of endless head motion, and the stream that samples from it.

Head motion in speech has two paces. Posture wanders slowly, whatever is said: a stationary
Ornstein-Uhlenbeck process whose size follows the emotion, with correlated rotation and translation.
Quick movements accompany syllables and stresses: a variational autoencoder over time with a latent
every :data:`STEP` frames, conditioned on speech and emotion. Besides, an emotion has a bearing,
such as the lowered head of sadness.

The decoder is a causal convolution, so motion is stationary: no window starts or ends, nothing is
integrated, nothing drifts, and no audio beyond the features' own receptive field is waited for. The
filter :func:`smoothing` separates the paces: posture passes it, quick movements are the rest.

Shapes: B batch, N frames of a window, L = N / STEP + 1 latents, 6 pose numbers (pitch, yaw, roll,
tx, ty, log s).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.core.constants import FPS
from emo_lightning.models.layers.temporal import ReceptiveField, TemporalStack

POSE_SIZE = 6
UNIT = (0.02, 0.02, 0.015, 0.015, 0.012, 0.006)
"""Typical quick change of each number, radians and crop units, that normalises poses. Ours."""
BOUND = 5.0
"""Largest quick movement, in these units."""
LIMIT = (0.26, 0.30, 0.24, 0.25, 0.20, 0.12)
"""Largest distance from the portrait's pose: 15 degrees of pitch, 17 of yaw, 14 of roll."""
STEP = 4
"""Frames from one latent to the next."""
SMOOTH = 10
"""Frames either side in the filter between posture and quick movements; its cut-off is near 1
Hz."""
POSTURE_SECONDS = 2.0
"""Time constant of the posture process."""
BEARING_SECONDS = 0.35
"""Time constant of the two low passes between bearings when the emotion changes."""
RAMP_SECONDS = 1.2
"""Fade-in of motion from the portrait's own pose."""


class PoseOutput(NamedTuple):
    """``quick`` (B, N - past, 6) in units, ``mean`` and ``log_variance`` (B, L, latent)."""

    quick: Tensor
    mean: Tensor
    log_variance: Tensor


class PoseNet(nn.Module):
    """Conditional VAE of quick movements, size of the posture process, and bearing.

    Args:
        condition: width of the features per frame; the last ``control`` are the control vector.
        control: width of the control vector.
        window: frames of a training window, a multiple of 4 longer than the receptive field.
        latent: size of a latent.
        width: hidden channels.

    Raises:
        ValueError: a window that does not fit.
    """

    unit: Tensor
    filter: Tensor

    def __init__(
        self, condition: int, control: int, window: int = 56, latent: int = 16, width: int = 64
    ) -> None:
        super().__init__()
        self.reach = ReceptiveField(12, 0)
        least = self.reach.past + 2 * SMOOTH
        if window % STEP or window <= least:
            raise ValueError(f"window {window} is not a multiple of {STEP} above {least}")
        self.window, self.latent, self.control = window, latent, control
        self.register_buffer("unit", torch.tensor(UNIT), persistent=False)
        self.register_buffer("filter", torch.from_numpy(smoothing()).float(), persistent=False)
        self.condition = nn.Linear(condition, width)
        halvings = (
            nn.Sequential(nn.Conv1d(n, width, 4, stride=2, padding=2), nn.GELU())
            for n in (width + POSE_SIZE, width)
        )
        self.encoder = nn.Sequential(*halvings)
        self.to_mean = nn.Conv1d(width, latent, 3, padding=1)
        self.to_log_variance = nn.Conv1d(width, latent, 3, padding=1)
        self.enter = nn.Linear(width + latent, width)
        self.body = TemporalStack(width, 4, ReceptiveField(self.reach.past // 4, 0))
        self.to_pose = nn.Linear(width, POSE_SIZE)
        self.log_size = nn.Linear(control, POSE_SIZE)
        self.mixing = nn.Parameter(torch.eye(POSE_SIZE))
        self.to_bearing = nn.Linear(control, POSE_SIZE)
        for layer in (self.log_size, self.to_bearing):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.log_size.bias, math.log(2.0))

    def encode(self, pose: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance ``(B, L, latent)`` of the posterior.

        Args:
            pose: ``(B, N, 6)`` in units; its mean is subtracted.
            condition: ``(B, N, condition)``.
        """
        centred = pose - pose.mean(dim=1, keepdim=True)
        x = torch.cat([self.condition(condition), centred], dim=-1).transpose(1, 2)
        x = self.encoder(x)
        log_variance = self.to_log_variance(x).clamp(-8.0, 4.0)
        return self.to_mean(x).transpose(1, 2), log_variance.transpose(1, 2)

    def decode(self, latents: Tensor, condition: Tensor) -> Tensor:
        """Quick movements ``(B, N - past, 6)`` in units, within :data:`BOUND`.

        Args:
            latents: ``(B, N / STEP + 1, latent)``; the first belongs to the first frame.
            condition: ``(B, N, condition)``.
        """
        x = torch.cat([self.condition(condition), interpolate_latents(latents)], dim=-1)
        return BOUND * torch.tanh(self.to_pose(self.body(self.enter(x))) / BOUND)

    def forward(self, pose: Tensor, condition: Tensor, noise: Tensor) -> PoseOutput:
        """Reconstruct a window; ``noise`` is (B, L, latent), standard normal."""
        mean, log_variance = self.encode(pose, condition)
        latents = mean + noise * torch.exp(0.5 * log_variance)
        return PoseOutput(self.decode(latents, condition), mean, log_variance)

    def to_units(self, angle: Tensor, trans: Tensor) -> Tensor:
        """Pose ``(B, N, 6)`` in units of angles and translations ``(B, N, 3)``."""
        return torch.cat([angle, trans], dim=-1) / self.unit

    def split_paces(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Posture and quick movements, each ``(B, N - 2 SMOOTH, 6)``, of ``pose`` (B, N, 6)."""
        rows = pose.transpose(1, 2).reshape(-1, 1, pose.shape[1])
        slow = F.conv1d(rows, self.filter[None, None]).view(len(pose), POSE_SIZE, -1)
        slow = slow.transpose(1, 2)
        return slow, pose[:, SMOOTH : pose.shape[1] - SMOOTH] - slow

    def posture_root(self, control: Tensor) -> Tensor:
        """Triangular root ``(..., 6, 6)`` of the posture's covariance, in units."""
        return self.log_size(control).exp()[..., None] * self.mixing_matrix()

    def mixing_matrix(self) -> Tensor:
        """Triangular root ``(6, 6)`` of the posture's correlations, before sizes."""
        return torch.tril(self.mixing, -1) + torch.diag(torch.diag(self.mixing).abs())

    def bearing(self, control: Tensor) -> Tensor:
        """Mean pose ``(..., 6)`` of an emotion in units, up to a constant."""
        return self.to_bearing(control)


class PoseStream:
    """Sampler of endless head motion.

    Frames are generated ``step`` at a time from the conditions up to them, so the result is bit for
    bit independent of how the conditions arrive. All noise comes from the seed, in the order of the
    frames.

    Args:
        net: the trained network.
        seed: 0 or more.
        rest: ``(control,)`` control vector at which the bearing is the portrait's own pose.
        step: frames generated at a time, a multiple of :data:`STEP`.
    """

    def __init__(self, net: PoseNet, seed: int, rest: Tensor, step: int = STEP) -> None:
        self.net, self.step = net, step
        self._noise = np.random.default_rng([seed, 0x90])
        self._posture = _PostureProcess(np.random.default_rng([seed, 0x51]))
        self._device = net.unit.device
        with torch.inference_mode():
            self._rest, self._mixing = net.bearing(rest), net.mixing_matrix().T.contiguous()
        self._limit = torch.tensor(LIMIT, device=self._device)
        self._steps = torch.arange(step, device=self._device)
        self._bearing = np.zeros((2, POSE_SIZE))
        self._frame = 0
        self._pending = torch.zeros(0, net.condition.in_features, device=self._device)
        self._context = self._pending
        self._latents = self._sample_latents(net.reach.past // STEP + 1)

    def add(self, condition: Tensor) -> Tensor:
        """Add ``(n, condition)`` features; return the completed frames.

        Returns:
            ``(m, 6)`` radians and crop units; up to ``step - 1`` frames wait.
        """
        self._pending = torch.cat([self._pending, condition])
        pieces = [torch.zeros(0, POSE_SIZE, device=self._device)]
        while len(self._pending) >= self.step:
            pieces.append(self._generate(self._pending[: self.step]))
            self._pending = self._pending[self.step :]
        return torch.cat(pieces)

    def flush(self) -> Tensor:
        """Remaining frames, fewer than a step, with the last features repeated."""
        count = len(self._pending)
        if not count:
            return torch.zeros(0, POSE_SIZE, device=self._device)
        repeated = self._pending[-1:].expand(self.step - count, -1)
        return self._generate(torch.cat([self._pending, repeated]))[:count]

    def _sample_latents(self, count: int) -> Tensor:
        noise = self._noise.standard_normal((count, self.net.latent), np.float32)
        return torch.from_numpy(noise).to(self._device)

    @torch.inference_mode()
    def _generate(self, condition: Tensor) -> Tensor:
        """Frames of the next step."""
        net, first = self.net, not self._frame
        before = condition[:1].expand(net.reach.past, -1) if first else self._context
        window = torch.cat([before, condition])
        self._latents = torch.cat([self._latents, self._sample_latents(self.step // STEP)])
        quick = net.decode(self._latents[None], window[None])[0]
        self._context, self._latents = window[self.step :], self._latents[self.step // STEP :]
        control = condition[:, -net.control :]
        posture = torch.from_numpy(self._posture.sample(self.step)).to(self._device)
        slow = net.log_size(control).exp() * (posture @ self._mixing)
        targets = (net.bearing(control) - self._rest).double().cpu().numpy()
        bearing = torch.from_numpy(self._smooth_bearing(targets, first)).to(self._device)
        pose = (quick + slow + bearing) * net.unit
        ramp = ((self._steps + self._frame) / (RAMP_SECONDS * FPS)).clamp(max=1.0)[:, None]
        self._frame += self.step
        return self._limit * torch.tanh(pose / self._limit) * ramp * ramp * (3.0 - 2.0 * ramp)

    def _smooth_bearing(self, targets: np.ndarray, first: bool) -> np.ndarray:
        """Bearing ``(n, 6)`` after two low passes."""
        if first:
            self._bearing[:] = targets[0]
        keep, out = math.exp(-1.0 / (BEARING_SECONDS * FPS)), np.empty_like(targets, np.float32)
        for n, target in enumerate(targets):
            self._bearing[0] = keep * self._bearing[0] + (1.0 - keep) * target
            self._bearing[1] = keep * self._bearing[1] + (1.0 - keep) * self._bearing[0]
            out[n] = self._bearing[1]
        return out


class _PostureProcess:
    """Smoothed Ornstein-Uhlenbeck noise, six numbers of unit variance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._keep = rng, math.exp(-1.0 / (POSTURE_SECONDS * FPS))
        self._filter = complementary_filter() / math.sqrt(posture_covariance(0))
        self._last = rng.standard_normal(POSE_SIZE)
        self._past = self._walk(len(self._filter) - 1)

    def sample(self, count: int) -> np.ndarray:
        """The next ``(count, 6)`` float32."""
        rows = np.concatenate([self._past, self._walk(count)])
        self._past = rows[count:]
        taps = len(self._filter)
        smooth = [self._filter @ rows[n : n + taps] for n in range(count)]
        return np.stack(smooth).astype(np.float32)

    def _walk(self, count: int) -> np.ndarray:
        out = np.empty((count, POSE_SIZE))
        for n, noise in enumerate(self._rng.standard_normal((count, POSE_SIZE))):
            self._last = self._keep * self._last + math.sqrt(1.0 - self._keep**2) * noise
            out[n] = self._last
        return out


def smoothing() -> np.ndarray:
    """Low pass of the posture: a Hann window of 2 SMOOTH + 1 frames with sum 1."""
    window = np.hanning(2 * SMOOTH + 3)[1:-1]
    return window / window.sum()


def complementary_filter() -> np.ndarray:
    """Filter of sampled posture, so that its power and the quick movements' add up to the motion's.

    Where :func:`smoothing` passes H of a movement and leaves 1 - H to the quick ones, which are
    sampled independently, this passes sqrt(1 - (1 - H)^2).
    """
    taps, reach = smoothing(), 2 * SMOOTH
    passed = np.fft.rfft(np.roll(np.pad(taps, (0, 8 * len(taps))), -SMOOTH)).real
    root = np.fft.irfft(np.sqrt(np.maximum(passed * (2.0 - passed), 0.0)), 9 * len(taps))
    window = np.hanning(4 * reach + 3)[reach + 1 : 3 * reach + 2]
    return np.roll(root, reach)[: 2 * reach + 1] * window


def posture_covariance(lag: int) -> float:
    """Covariance of the smoothed unit process with itself ``lag`` frames later."""
    taps = smoothing()
    apart = np.abs(np.subtract.outer(np.arange(len(taps)), np.arange(len(taps))) + lag)
    return float(taps @ np.exp(-apart / (POSTURE_SECONDS * FPS)) @ taps)


def interpolate_latents(latents: Tensor) -> Tensor:
    """Latents ``(B, L, Z)`` per frame, ``(B, (L - 1) STEP, Z)``, along a quarter circle.

    Unlike a line, a quarter circle keeps unit variance.
    """
    steps = torch.arange(STEP, dtype=latents.dtype, device=latents.device)[:, None]
    turn = 0.5 * math.pi * steps / STEP
    here, there = latents[:, :-1, None], latents[:, 1:, None]
    return (here * turn.cos() + there * turn.sin()).flatten(1, 2)
