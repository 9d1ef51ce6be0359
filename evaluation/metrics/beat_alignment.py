"""Beat alignment: do the head's movements fall on the beats of the speech?

Bailando's score (Siyao et al., CVPR 2022, eq. 9), which SadTalker (Zhang et al., 2023) carried over from dancers to heads: each
motion beat is compared with the nearest audio beat,

    score = mean over motion beats t_m of exp(-min over audio beats t_a of (t_m - t_a)^2 / (2 sigma^2)),   sigma = 3 frames.

(The score averages over motion beats, so that a head which seldom moves is judged by what it does.) Motion beats are the moments in which the
head's angular speed, smoothed over a fifth of a second, has a local minimum: the head comes to rest or turns about. Bailando uses
the kinetic velocity of joints alike. Audio beats are onsets (local peaks of spectral flux, as ``librosa.onset``) or the beats
that a tracker derives from them; speech has no steady beat, and the suite passes onsets. A value means something beside the reference's own and
beside that of foreign sound, because beats that are dense by chance are always near.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

SIGMA_FRAMES = 3.0
SMOOTH_FRAMES = 5
STILL = 0.02
"""Degrees a frame: a head slower than this at its fastest has no beats, only the tracker's noise."""


def motion_beats(angles: Tensor) -> Tensor:
    """Moments, in frames, at which the head comes to rest or turns about.

    Args:
        angles: ``(T, 3)`` radians.

    Returns:
        ``(M,)`` float64, rising; the moment between frames k and k + 1 is k + 0.5. Empty for a still head.

    Raises:
        ValueError: another shape.
    """
    if angles.ndim != 2 or angles.shape[1] != 3:
        raise ValueError(f"angles have shape {tuple(angles.shape)}, expected (T, 3)")
    empty = torch.zeros(0, dtype=torch.float64)
    if len(angles) < SMOOTH_FRAMES:
        return empty
    moved = torch.rad2deg(angles.detach().cpu().to(torch.float64))
    pad = SMOOTH_FRAMES // 2
    padded = torch.cat([moved[:1].expand(pad, -1), moved, moved[-1:].expand(pad, -1)])
    smooth = padded.unfold(0, SMOOTH_FRAMES, 1).mean(dim=-1)
    speed = torch.linalg.vector_norm(smooth.diff(dim=0), dim=1)
    if len(speed) < 3 or float(speed.max()) < STILL:
        return empty
    lowest = (speed[1:-1] < speed[:-2]) & (speed[1:-1] <= speed[2:])
    return torch.nonzero(lowest)[:, 0].to(torch.float64) + 1.5


def beat_alignment(motion: Tensor, audio: Tensor, sigma: float = SIGMA_FRAMES) -> Tensor:
    """How near motion beats are to audio beats.

    Args:
        motion: ``(M,)`` moments in frames.
        audio: ``(A,)`` moments in frames.
        sigma: distance in frames at which a beat counts exp(-1/2).

    Returns:
        Float64 scalar, 0..1.

    Raises:
        ValueError: no beat on either side, another shape, or a sigma that is not positive.
    """
    for name, beats in (("motion", motion), ("audio", audio)):
        if beats.ndim != 1 or not len(beats):
            raise ValueError(f"{name} beats have shape {tuple(beats.shape)}, expected (N,) with N at least 1")
    if sigma <= 0:
        raise ValueError(f"sigma is {sigma}, expected a number above 0")
    apart = (motion.to(torch.float64)[:, None] - audio.to(torch.float64)[None, :]).abs().min(dim=1).values
    return torch.exp(-apart.square() / (2 * sigma**2)).mean()


class BeatAlignment(Metric):
    """Mean score over clips, each with beats on both sides."""

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    total: Tensor
    clips: Tensor

    def __init__(self, sigma: float = SIGMA_FRAMES) -> None:
        super().__init__()
        self.sigma = sigma
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, motion: Tensor, audio: Tensor) -> None:
        """Add one clip's beats; see :func:`beat_alignment`."""
        self.total += beat_alignment(motion, audio, self.sigma).to(self.total.device)
        self.clips += 1

    def compute(self) -> Tensor:
        """The mean; nan before the first clip."""
        return self.total / self.clips
