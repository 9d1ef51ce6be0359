"""Blinks: how many a minute and how long each lasts, from how far the eyelids stand apart.

The eye aspect ratio (Soukupova & Cech, CVWW 2016: aperture over the eye's width, mean of both eyes)
is compared with the clip's own open eye, its 90th percentile, so that narrow eyes and squints do
not count. A blink is a run of frames under :data:`CLOSED` of that, at most :data:`LONGEST` long;
longer runs are closed eyes, and a run cut by the clip's start or end is left out. A blink's
duration is the time under :data:`OPEN` around it, interpolated between frames. People blink about
10 to 25 times a minute in conversation (Bentivoglio et al., 1997), for 0.1 to 0.4 s; better is what
is near the reference's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CLOSED, OPEN = 0.5, 0.8
"""Shares of the open eye's aperture."""
LONGEST = 0.5
"""Seconds under ``CLOSED``."""
OPEN_QUANTILE = 0.9


@dataclass(frozen=True)
class Blinks:
    """``starts`` and ``durations`` ``(B,)`` float64 in seconds, and the clip's length in
    seconds."""

    starts: Tensor
    durations: Tensor
    seconds: float

    @property
    def per_minute(self) -> float:
        return 60.0 * len(self.starts) / self.seconds


def eye_aspect_ratio(eyes: Tensor) -> Tensor:
    """Aperture over width, mean of both eyes.

    Args:
        eyes: ``(T, 12, 2)`` the 36th to 47th iBUG points: six of each eye, from a corner along the
            upper lid and back.

    Returns:
        ``(T,)`` float64.

    Raises:
        ValueError: another shape.
    """
    if eyes.ndim != 3 or eyes.shape[1:] != (12, 2):
        raise ValueError(f"eyes have shape {tuple(eyes.shape)}, expected (T, 12, 2)")
    points = eyes.to(torch.float64).reshape(-1, 2, 6, 2)

    def apart(a: int, b: int) -> Tensor:
        return torch.linalg.vector_norm(points[:, :, a] - points[:, :, b], dim=-1)

    return ((apart(1, 5) + apart(2, 4)) / (2 * apart(0, 3))).mean(dim=1)


def blinks(aperture: Tensor, fps: float = 25.0) -> Blinks:
    """The blinks of one clip.

    Args:
        aperture: ``(T,)`` eyelid distance in any unit, consecutive frames, nan where the face was
            not found.
        fps: frames a second.

    Raises:
        ValueError: another shape, fewer than three frames that are not nan, or an eye that never
            opens.
    """
    if aperture.ndim != 1 or int(torch.isfinite(aperture).sum()) < 3:
        raise ValueError(
            f"aperture has shape {tuple(aperture.shape)}, expected (T,) with at least three numbers"
        )
    lids = aperture.detach().cpu().to(torch.float64)
    known = torch.isfinite(lids)
    opened = float(lids[known].quantile(OPEN_QUANTILE))
    if opened <= 0:
        raise ValueError(f"aperture reaches {opened}, expected an eye that opens")
    share = torch.where(
        known, lids / opened, torch.tensor(float("nan"), dtype=torch.float64)
    ).tolist()
    starts, durations, frame = [], [], 0
    while frame < len(share):
        if not share[frame] < CLOSED:
            frame += 1
            continue
        end = frame
        while end + 1 < len(share) and share[end + 1] < CLOSED:
            end += 1
        # A run at either end of the clip may have lasted longer than is seen.
        if 0 < frame and end < len(share) - 1 and (end - frame + 1) / fps <= LONGEST:
            left, right = _crossing(share, frame, -1), _crossing(share, end, 1)
            starts.append(left / fps)
            durations.append((right - left) / fps)
            end = max(end, int(right))
        frame = end + 1
    counted = (
        torch.tensor(starts, dtype=torch.float64),
        torch.tensor(durations, dtype=torch.float64),
    )
    return Blinks(*counted, int(known.sum()) / fps)


def _crossing(share: list[float], frame: int, step: int) -> float:
    """The moment, in frames, at which the lid passes ``OPEN`` on the way out of a blink, or where
    what is known ends."""
    while 0 <= frame + step < len(share):
        here, there = share[frame], share[frame + step]
        if there != there:
            break
        if there >= OPEN:
            return frame + step * (OPEN - here) / (there - here)
        frame += step
    return float(frame)
