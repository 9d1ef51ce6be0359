"""Lip-sync error from embeddings of lips and sound: LSE-D, LSE-C, the offset, and the same at
offset 0.

Chung & Zisserman, "Out of time: automated lip sync in the wild" (ACCV workshops 2016), as Prajwal
et al. score with it ("A lip sync expert is all you need", ACM MM 2020). Windows of lips are
compared with windows of sound at every shift of up to 15 frames; the mean distance over the clip is
a curve over shifts. LSE-D is its minimum, LSE-C its median minus its minimum, and the offset is
where the minimum lies. Because the best shift is chosen, a constant lag leaves LSE-D and LSE-C
unchanged; the values at offset 0 show it.

**Sign of the offset**, as in syncnet_python: positive when the sound comes early (before the lips),
negative when it is late.

:func:`padded_distances` and :func:`sync_score` agree with syncnet_python's numbers to 1e-6 given
equal embeddings (in practice to the last bit).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, pairwise_distance

REACH = 15
"""Frames that the sound is shifted either way."""
LEAST_PAIRS = 12
"""Pairs of windows that a shift needs to be compared by :func:`overlap_distances`."""


@dataclass(frozen=True)
class SyncScore:
    """What one clip's curve says; distances in the unit of the embeddings.

    Attributes:
        offset: frames, positive when the sound is early.
        distance: LSE-D.
        confidence: LSE-C.
        distance_at_0, confidence_at_0: the same where the sound is left where it is; the confidence
            may then be negative.
    """

    offset: int
    distance: float
    confidence: float
    distance_at_0: float
    confidence_at_0: float


def padded_distances(lips: Tensor, sound: Tensor, reach: int = REACH) -> Tensor:
    """Mean distance at each shift as syncnet_python computes it: beyond its ends the sound's
    embeddings are zero vectors.

    Args:
        lips: ``(N, D)``, one row a window; a window that is nan (no face) does not count.
        sound: ``(N, D)``, row n at the same moment.
        reach: largest shift.

    Returns:
        ``(2 reach + 1,)``; entry k compares lips n with sound ``n + k - reach``.

    Raises:
        ValueError: shapes that differ or are empty.
    """
    seen = _seen(lips, sound)
    padded, count = pad(sound, (0, 0, reach, reach)), len(lips)
    rows = [pairwise_distance(lips, padded[k : k + count]) for k in range(2 * reach + 1)]
    return torch.stack(rows)[:, seen].mean(dim=1)


def overlap_distances(
    lips: Tensor, sound: Tensor, reach: int = REACH, least: int = LEAST_PAIRS
) -> Tensor:
    """Like :func:`padded_distances`, but only windows that exist are compared; nan at a shift with
    fewer than ``least`` pairs.

    Raises:
        ValueError: shapes that differ, or fewer than ``least`` windows.
    """
    windows = int(_seen(lips, sound).sum())
    if windows < least:
        raise ValueError(f"lips have {windows} windows, at least {least} are needed")
    table = torch.cdist(lips, sound, compute_mode="donot_use_mm_for_euclid_dist")
    rows = [
        row[row.isfinite()]
        for row in (torch.diagonal(table, shift) for shift in range(-reach, reach + 1))
    ]
    return torch.stack(
        [row.mean() if len(row) >= least else row.new_tensor(torch.nan) for row in rows]
    )


def sync_score(curve: Tensor) -> SyncScore:
    """Read a curve ``(2 reach + 1,)`` of distances over shifts; shifts that are nan do not count.

    Raises:
        ValueError: an even length, or nothing at shift 0.
    """
    reach, odd = divmod(len(curve), 2)
    if curve.ndim != 1 or not odd or bool(curve[reach].isnan()):
        shape = tuple(curve.shape)
        raise ValueError(f"curve has shape {shape}, expected an odd length, a number in the middle")
    lowest = int(torch.where(curve.isnan(), torch.inf, curve).argmin())
    median = torch.nanmedian(curve)
    return SyncScore(
        reach - lowest,
        float(curve[lowest]),
        float(median - curve[lowest]),
        float(curve[reach]),
        float(median - curve[reach]),
    )


def _seen(lips: Tensor, sound: Tensor) -> Tensor:
    """``(N,)`` bool: windows that count."""
    if lips.ndim != 2 or lips.shape != sound.shape or not lips.numel():
        shapes = f"{tuple(lips.shape)} and audio {tuple(sound.shape)}"
        raise ValueError(f"lips have shape {shapes}, expected one shape (N, D)")
    seen = lips.isfinite().all(dim=1)
    if not bool(seen.any()):
        raise ValueError("lips have no window that is a number")
    return seen
