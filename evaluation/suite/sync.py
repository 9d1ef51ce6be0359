"""Lip sync: LSE-C, LSE-D, the offset and the two at offset 0, by SyncNet where its weights are and by our own judge always.

Offsets are in frames of 1/25 s, positive when the sound comes early. LSE takes the best shift, so it does not see a constant
lag; the values at offset 0 do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from evaluation.judges import lip_sync, syncnet
from evaluation.judges.landmark_track import Track
from evaluation.judges.lip_sync import LipSyncJudge
from evaluation.judges.syncnet import SyncNetJudge
from evaluation.metrics.lip_sync import (
    LEAST_PAIRS,
    REACH,
    overlap_distances,
    padded_distances,
    sync_score,
)
from evaluation.protocol import NotScored
from evaluation.records import Column, Scores
from evaluation.suite.base import (
    Clip,
    ClipMetric,
    Features,
    FrameExtractor,
    SoundExtractor,
    TrackExtractor,
    View,
)

LIPS, VOICE = "lips", "voice"
SYNCNET_VIEW = View(352, 0.0, 0.2, 1.15)
"""Holds the face crop of :func:`evaluation.judges.syncnet.face_windows` with room to move in."""
Curve = Callable[[Tensor, Tensor], Tensor]


def _syncnet(device: torch.device) -> SyncNetJudge:
    return SyncNetJudge(syncnet.load(syncnet.locate()), device)


def _open_syncnet_lips(device: torch.device) -> Callable[[np.ndarray, np.ndarray], Features]:
    judge = _syncnet(device)

    def look(crops: np.ndarray, points: np.ndarray) -> Features:
        windows, seen = syncnet.face_windows(crops, points)
        rows = np.full((len(windows), syncnet.DIMENSION), np.nan, np.float32)
        if seen.any():
            rows[seen] = judge.lips(windows[seen])
        return {LIPS: rows}

    return look


def _open_syncnet_voice(device: torch.device) -> Callable[[np.ndarray], Features]:
    judge = _syncnet(device)
    return lambda wave: {VOICE: _or_reason(judge.voice, syncnet.to_int16(wave))}


def _open_lips(device: torch.device) -> Callable[[Track], Features]:
    judge = LipSyncJudge(device=device)
    return lambda track: {LIPS: _or_reason(judge.lips, track.points)}


def _open_voice(device: torch.device) -> Callable[[np.ndarray], Features]:
    judge = LipSyncJudge(device=device)
    return lambda wave: {VOICE: _or_reason(judge.voice, wave)}


def _or_reason(look: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """A judge's answer; what is too short for it is the clip's matter."""
    try:
        return look(values)
    except ValueError as error:
        raise NotScored(str(error)) from None


def _score(
    prefix: str,
    needs: tuple[str, str],
    curve: Curve,
    least: int,
    clip: Clip,
    reference: Clip | None,
) -> Scores:
    """A clip's curve read under one judge's column names, which begin with ``prefix``; the curve is kept."""
    del reference
    lips, voice = (
        torch.from_numpy(np.asarray(clip.features(name)[key]))
        for name, key in zip(needs, (LIPS, VOICE), strict=True)
    )
    windows = min(len(lips), len(voice))
    lips, voice = lips[:windows], voice[:windows]
    seen = int(lips.isfinite().all(dim=1).sum())
    if seen < max(least, windows / 2):
        raise NotScored(
            f"{seen} of {windows} windows show a face; at least {least} and half of them are needed"
        )
    distances = curve(lips, voice)
    found = sync_score(distances)
    values = {
        f"{prefix}lse_c": found.confidence, f"{prefix}lse_d": found.distance, f"{prefix}offset": float(found.offset),
        f"{prefix}lse_c_0": found.confidence_at_0, f"{prefix}lse_d_0": found.distance_at_0,
    }  # fmt: skip
    return Scores(
        values,
        {f"{prefix}curve": torch.nan_to_num(distances, nan=float(distances.nanmean())).tolist()},
    )


def _columns(prefix: str, judge: str, decimals: int) -> tuple[Column, ...]:
    shifts, zero = f"shifts of ±{REACH} frames", "the sound left where it is: a constant lag shows"

    def column(
        name: str,
        label: str,
        unit: str,
        better: bool | None,
        about: str,
        low: float | None,
        places: int = decimals,
    ) -> Column:
        label = f"{label} ({judge})" if judge else label
        return Column(
            prefix + name,
            label,
            unit,
            better,
            None,
            places,
            about,
            low,
            family="lips",
            histogram=name == "offset",
        )

    return (
        column(
            "lse_c", "LSE-C", "", True, f"median distance over {shifts} minus the smallest", 0.0
        ),
        column("lse_d", "LSE-D", "", False, f"smallest mean distance over {shifts}", 0.0),
        column(
            "offset",
            "Sync offset",
            "frames",
            None,
            "the best shift; positive: early sound; moot where LSE-C is near 0",
            None,
            1,
        ),
        column("lse_c_0", "LSE-C at 0", "", True, zero, None),
        column("lse_d_0", "LSE-D at 0", "", False, zero, 0.0),
    )


def _entry(
    prefix: str, judge: str, decimals: int, needs: tuple[str, str], curve: Curve, least: int
) -> ClipMetric:
    return ClipMetric(
        _columns(prefix, judge, decimals),
        partial(_score, prefix, needs, curve, least),
        needs,
        needs_reference=False,
    )


SYNCNET, OWN = ("syncnet_lips", "syncnet_voice"), ("sync_lips", "sync_voice")
ORDER = 5
EXTRACTORS = (
    FrameExtractor(SYNCNET[0], syncnet.describe, _open_syncnet_lips, SYNCNET_VIEW, syncnet.WINDOW),
    SoundExtractor(SYNCNET[1], syncnet.describe, _open_syncnet_voice),
    TrackExtractor(OWN[0], lip_sync.describe, _open_lips),
    SoundExtractor(OWN[1], lip_sync.describe, _open_voice),
)
ENTRIES = {
    "lse": _entry("", "", 3, SYNCNET, padded_distances, 1),
    "sync": _entry("sync_", lip_sync.NAME, 3, OWN, overlap_distances, LEAST_PAIRS),
}
