"""PoseNet: a conditional variational autoencoder of head motion that goes on for ever, and the stream that draws from it.

A head in talk moves at two paces. Its posture wanders slowly, whatever is said: here a stationary random walk (an
Ornstein-Uhlenbeck process, power falling with the square of frequency) whose size follows the emotion, with correlated
turns and shifts. On top come the quick movements that accompany syllables and stresses: here a variational autoencoder
over time, with a latent every :data:`STEP` frames, conditioned on what the voice says and on the emotion. Third, an
emotion has a bearing of its own, such as the bowed head of sadness.

The decoder is convolutional and looks back alone, so motion is stationary: no window starts or ends, nothing adds up,
nothing drifts, and no sound beyond what the features have seen is waited for. Both paces are parted by one filter,
:func:`smoothing`: the posture is what passes it, the quick movements are the rest.

Shapes: B batch, N frames of a window, L = N / STEP + 1 latents, 6 pose numbers (pitch, yaw, roll, tx, ty, log s).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.core.constants import FPS
from emo_lightning.models.layers.temporal import Reach, TemporalStack

POSE_SIZE = 6
UNIT = (0.02, 0.02, 0.015, 0.015, 0.012, 0.006)
"""Typical quick change of each number, radians and crop units, so that the network sees numbers near one. Ours."""
BOUND = 5.0
"""Largest quick movement, in these units."""
LIMIT = (0.26, 0.30, 0.24, 0.25, 0.20, 0.12)
"""No pose goes further from the portrait's: 15 degrees of pitch, 17 of yaw, 14 of roll."""
STEP = 4
"""Frames from one latent to the next."""
SMOOTH = 10
"""Frames either side that the filter between posture and quick movements sees; it parts them near 1 Hz."""
POSTURE_SECONDS = 2.0
"""Time in which posture forgets: what people do above 0.08 Hz is motion, below it they sit otherwise."""
BEARING_SECONDS = 0.35
"""Time constant, twice in a row, in which the bearing follows a change of emotion."""
RAMP_SECONDS = 1.2
"""Motion sets in from the portrait's own pose."""


class PoseOutput(NamedTuple):
    """``quick`` (B, N - past, 6) in :data:`UNIT`; ``mean`` and ``log_variance`` (B, L, latent) of the posterior."""

    quick: Tensor
    mean: Tensor
    log_variance: Tensor


class PoseNet(nn.Module):
    """Conditional VAE of quick movements, size of the posture's wandering, and bearing.

    Args:
        condition: width of the features a frame; the last ``control`` of them are the emotion's control vector.
        control: width of the control vector.
        window: frames that training looks at, a multiple of 4 and more than the networks' reach.
        latent: numbers of a latent.
        width: hidden channels.
    """

    unit: Tensor
    filter: Tensor

    def __init__(
        self, condition: int, control: int, window: int = 56, latent: int = 16, width: int = 64
    ) -> None:
        super().__init__()
        self.reach = Reach(12, 0)
        if window % STEP or window <= self.reach.past + 2 * SMOOTH:
            raise ValueError(
                f"window {window} is not a multiple of {STEP} above {self.reach.past + 2 * SMOOTH}"
            )
        self.window, self.latent, self.control = window, latent, control
        self.register_buffer("unit", torch.tensor(UNIT), persistent=False)
        self.register_buffer("filter", torch.from_numpy(smoothing()).float(), persistent=False)
        self.condition = nn.Linear(condition, width)
        self.encoder = nn.Sequential(_down(width + POSE_SIZE, width), _down(width, width))
        self.to_mean = nn.Conv1d(width, latent, 3, padding=1)
        self.to_log_variance = nn.Conv1d(width, latent, 3, padding=1)
        self.enter = nn.Linear(width + latent, width)
        self.body = TemporalStack(width, 4, Reach(self.reach.past // 4, 0))
        self.to_pose = nn.Linear(width, POSE_SIZE)
        self.log_size = nn.Linear(control, POSE_SIZE)
        self.mixing = nn.Parameter(torch.eye(POSE_SIZE))
        self.held = nn.Linear(control, POSE_SIZE)
        for layer in (self.log_size, self.held):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.log_size.bias, math.log(2.0))

    def encode(self, pose: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance ``(B, L, latent)`` of the posterior of ``pose`` (B, N, 6) in units, its mean removed."""
        x = torch.cat(
            [self.condition(condition), pose - pose.mean(dim=1, keepdim=True)], dim=-1
        ).transpose(1, 2)
        x = self.encoder(x)
        return self.to_mean(x).transpose(1, 2), self.to_log_variance(x).clamp(-8.0, 4.0).transpose(
            1, 2
        )

    def decode(self, latents: Tensor, condition: Tensor) -> Tensor:
        """Quick movements ``(B, N - past, 6)`` in units, within :data:`BOUND`.

        Args:
            latents: ``(B, N / STEP + 1, latent)``; the first stands at the first frame.
            condition: ``(B, N, condition)``.
        """
        x = torch.cat([self.condition(condition), between(latents)], dim=-1)
        return BOUND * torch.tanh(self.to_pose(self.body(self.enter(x))) / BOUND)

    def forward(self, pose: Tensor, condition: Tensor, noise: Tensor) -> PoseOutput:
        """Reconstruct a window through sampled latents; ``noise`` is (B, L, latent), standard normal."""
        mean, log_variance = self.encode(pose, condition)
        latents = mean + noise * torch.exp(0.5 * log_variance)
        return PoseOutput(self.decode(latents, condition), mean, log_variance)

    def to_units(self, angle: Tensor, trans: Tensor) -> Tensor:
        """Pose ``(B, N, 3)`` and ``(B, N, 3)`` to ``(B, N, 6)`` in units."""
        return torch.cat([angle, trans], dim=-1) / self.unit

    def part(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Posture and quick movements, each ``(B, N - 2 SMOOTH, 6)``, of ``pose`` (B, N, 6)."""
        rows = pose.transpose(1, 2).reshape(-1, 1, pose.shape[1])
        slow = (
            F.conv1d(rows, self.filter[None, None]).view(len(pose), POSE_SIZE, -1).transpose(1, 2)
        )
        return slow, pose[:, SMOOTH : pose.shape[1] - SMOOTH] - slow

    def spread(self, control: Tensor) -> Tensor:
        """Triangular matrix ``(..., 6, 6)`` that gives unit noise the posture's sizes and correlations, in units."""
        return self.log_size(control).exp()[..., None] * self.lower()

    def lower(self) -> Tensor:
        """How unit noise mixes, ``(6, 6)`` triangular, before sizes."""
        return torch.tril(self.mixing, -1) + torch.diag(torch.diag(self.mixing).abs())

    def bearing(self, control: Tensor) -> Tensor:
        """Held pose ``(..., 6)`` in units, up to a constant."""
        return self.held(control)


class PoseStream:
    """Endless head motion.

    Frames are made ``step`` at a time from the conditions up to them, so the result does not depend on how the
    conditions arrive, to the last bit. All noise comes from the seed, in the order of the frames.

    Args:
        net: the trained network.
        seed: 0 or more.
        rest: ``(control,)`` the control vector at which the bearing is the portrait's own.
        step: frames that are made at a time, a multiple of :data:`STEP`.
    """

    def __init__(self, net: PoseNet, seed: int, rest: Tensor, step: int = STEP) -> None:
        self.net, self.step = net, step
        self._noise = np.random.default_rng([seed, 0x90])
        self._posture = _Posture(np.random.default_rng([seed, 0x51]))
        with torch.inference_mode():
            self._rest, self._mixing = net.bearing(rest), net.lower().T.contiguous()
        self._limit, self._steps = torch.tensor(LIMIT), torch.arange(step)
        self._held = np.zeros((2, POSE_SIZE))
        self._frame = 0
        self._pending = torch.zeros(0, net.condition.in_features)
        self._context = self._pending
        self._latents = torch.from_numpy(self._draw(net.reach.past // STEP + 1))

    def push(self, condition: Tensor) -> Tensor:
        """Take ``(n, condition)`` features; return what is ready, ``(m, 6)`` radians and crop units; some frames may wait."""
        self._pending = torch.cat([self._pending, condition])
        pieces = [torch.zeros(0, POSE_SIZE)]
        while len(self._pending) >= self.step:
            pieces.append(self._advance(self._pending[: self.step]))
            self._pending = self._pending[self.step :]
        return torch.cat(pieces)

    def finish(self) -> Tensor:
        """The last frames, fewer than a step, as if the last features went on."""
        left = len(self._pending)
        if not left:
            return torch.zeros(0, POSE_SIZE)
        return self._advance(
            torch.cat([self._pending, self._pending[-1:].expand(self.step - left, -1)])
        )[:left]

    def _draw(self, count: int) -> np.ndarray:
        return self._noise.standard_normal((count, self.net.latent), np.float32)

    @torch.inference_mode()
    def _advance(self, condition: Tensor) -> Tensor:
        """The next step's frames."""
        net, first = self.net, not self._frame
        before = condition[:1].expand(net.reach.past, -1) if first else self._context
        window = torch.cat([before, condition])
        self._latents = torch.cat([self._latents, torch.from_numpy(self._draw(self.step // STEP))])
        quick = net.decode(self._latents[None], window[None])[0]
        self._context, self._latents = window[self.step :], self._latents[self.step // STEP :]
        control = condition[:, -net.control :]
        slow = net.log_size(control).exp() * (
            torch.from_numpy(self._posture.next(self.step)) @ self._mixing
        )
        towards = (net.bearing(control) - self._rest).double().numpy()
        pose = (quick + slow + torch.from_numpy(self._bear(towards, first))) * net.unit
        ramp = ((self._steps + self._frame) / (RAMP_SECONDS * FPS)).clamp(max=1.0)[:, None]
        self._frame += self.step
        return self._limit * torch.tanh(pose / self._limit) * ramp * ramp * (3.0 - 2.0 * ramp)

    def _bear(self, towards: np.ndarray, first: bool) -> np.ndarray:
        """The bearing on its way to ``(n, 6)``, through two low passes."""
        if first:
            self._held[:] = towards[0]
        keep, out = math.exp(-1.0 / (BEARING_SECONDS * FPS)), np.empty_like(towards, np.float32)
        for n, goal in enumerate(towards):
            self._held[0] = keep * self._held[0] + (1.0 - keep) * goal
            self._held[1] = keep * self._held[1] + (1.0 - keep) * self._held[0]
            out[n] = self._held[1]
        return out


class _Posture:
    """Smoothed Ornstein-Uhlenbeck noise, six numbers of unit variance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._keep = rng, math.exp(-1.0 / (POSTURE_SECONDS * FPS))
        self._filter = complement() / math.sqrt(posture_covariance(0))
        self._last = rng.standard_normal(POSE_SIZE)
        self._past = self._walk(len(self._filter) - 1)

    def next(self, count: int) -> np.ndarray:
        """The next ``(count, 6)`` float32."""
        rows = np.concatenate([self._past, self._walk(count)])
        self._past = rows[count:]
        return np.stack(
            [self._filter @ rows[n : n + len(self._filter)] for n in range(count)]
        ).astype(np.float32)

    def _walk(self, count: int) -> np.ndarray:
        out = np.empty((count, POSE_SIZE))
        for n, noise in enumerate(self._rng.standard_normal((count, POSE_SIZE))):
            self._last = self._keep * self._last + math.sqrt(1.0 - self._keep**2) * noise
            out[n] = self._last
        return out


def smoothing() -> np.ndarray:
    """The filter that leaves the posture: a Hann window of 2 SMOOTH + 1 frames, sum 1."""
    window = np.hanning(2 * SMOOTH + 3)[1:-1]
    return window / window.sum()


def complement() -> np.ndarray:
    """The filter for drawn posture: with quick movements drawn apart from it, the powers must add up to the whole motion's.

    Where :func:`smoothing` passes H of a movement and leaves 1 - H to the quick ones, this passes sqrt(1 - (1 - H)^2).
    """
    taps = smoothing()
    passed = np.fft.rfft(np.roll(np.pad(taps, (0, 8 * len(taps))), -SMOOTH)).real
    root = np.fft.irfft(np.sqrt(np.maximum(passed * (2.0 - passed), 0.0)), 9 * len(taps))
    reach = 2 * SMOOTH
    return (
        np.roll(root, reach)[: 2 * reach + 1] * np.hanning(4 * reach + 3)[reach + 1 : 3 * reach + 2]
    )


def posture_covariance(lag: int) -> float:
    """Covariance of the smoothed unit process with itself ``lag`` frames later."""
    taps = smoothing()
    apart = np.abs(np.subtract.outer(np.arange(len(taps)), np.arange(len(taps))) + lag)
    return float(taps @ np.exp(-apart / (POSTURE_SECONDS * FPS)) @ taps)


def between(latents: Tensor) -> Tensor:
    """Latents ``(B, L, Z)`` a frame, ``(B, (L - 1) STEP, Z)``: along a quarter circle, so that unit variance stays."""
    turn = (
        0.5
        * math.pi
        * torch.arange(STEP, dtype=latents.dtype, device=latents.device)[:, None]
        / STEP
    )
    here, there = latents[:, :-1, None], latents[:, 1:, None]
    return (here * turn.cos() + there * turn.sin()).flatten(1, 2)


def _down(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(n_in, n_out, 4, stride=2, padding=2), nn.GELU())
