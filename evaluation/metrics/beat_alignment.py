"""Beat alignment: whether the head's movements coincide with the beats of the speech.

Bailando's score (Siyao et al., CVPR 2022), which SadTalker (Zhang et al., CVPR 2023) applied to
heads: each audio beat is compared with the nearest motion beat,

    score = mean over audio beats a of exp(-min over motion beats m of (t_m - t_a)^2 / (2 sigma^2)),
    sigma = 3 frames.

Motion beats are the strict local minima of the speed of the head's rotation, smoothed by a Gaussian
of 83 ms (five of Bailando's 60 frames a second). Speech has no steady beat, so the suite passes
onsets (``librosa.onset``) as audio beats. A trembling head has beats everywhere and scores high:
compare with the reference and with foreign audio.
"""

from __future__ import annotations

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

SIGMA_FRAMES = 3.0
SMOOTH_SECONDS = 5 / 60
STILL = 0.02
"""Degrees a frame: a head that never moves faster has no beats, only the tracker's noise."""


def motion_beats(angles: Tensor, fps: float = 25.0) -> Tensor:
    """Moments, in frames, at which the head comes to rest or turns back.

    Args:
        angles: ``(T, 3)`` radians, consecutive frames.
        fps: frames a second.

    Returns:
        ``(M,)`` float64, rising; the moment between frames k and k + 1 is k + 0.5. Empty for a
        still head.

    Raises:
        ValueError: another shape.
    """
    if angles.ndim != 2 or angles.shape[1] != 3:
        raise ValueError(f"angles have shape {tuple(angles.shape)}, expected (T, 3)")
    if len(angles) < 4:
        return torch.zeros(0, dtype=torch.float64)
    degrees = torch.rad2deg(angles.detach().cpu().to(torch.float64))
    speed = torch.linalg.vector_norm(degrees.diff(dim=0), dim=1)
    smooth = torch.from_numpy(gaussian_filter1d(speed.numpy(), SMOOTH_SECONDS * fps))
    if float(smooth.max()) < STILL:
        return torch.zeros(0, dtype=torch.float64)
    lowest = (smooth[1:-1] < smooth[:-2]) & (smooth[1:-1] < smooth[2:])
    return torch.nonzero(lowest)[:, 0].to(torch.float64) + 1.5


def beat_alignment(motion: Tensor, audio: Tensor, sigma: float = SIGMA_FRAMES) -> Tensor:
    """Mean closeness of each audio beat to its nearest motion beat.

    Args:
        motion: ``(M,)`` moments in frames.
        audio: ``(A,)`` moments in frames, A at least 1.
        sigma: distance in frames at which a beat counts exp(-1/2).

    Returns:
        Float64 scalar, 0..1; 0 for a head without beats.

    Raises:
        ValueError: no audio beat, another shape, or a sigma that is not positive.
    """
    if motion.ndim != 1 or audio.ndim != 1 or not len(audio):
        shapes = f"{tuple(motion.shape)}, audio beats {tuple(audio.shape)}"
        raise ValueError(f"motion beats have shape {shapes}; expected (M,) and (A,), A at least 1")
    if sigma <= 0:
        raise ValueError(f"sigma is {sigma}, expected a number above 0")
    if not len(motion):
        return torch.zeros((), dtype=torch.float64)
    gaps = (audio.to(torch.float64)[:, None] - motion.to(torch.float64)[None, :]).abs()
    return torch.exp(-gaps.min(dim=1).values.square() / (2 * sigma**2)).mean()
