"""Lip sync: LSE-C, LSE-D, the offset and the two at offset 0, by SyncNet where its weights are and
by our own judge always.

Offsets are in frames of 1/25 s, positive when the audio comes early. LSE takes the best shift, so a
constant lag is invisible to it; the values at offset 0 show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from evaluation.records import MetricColumn, Scores
from evaluation.suite.base import (
    AudioExtractor,
    ClipMetric,
    EvaluatedClip,
    Features,
    FrameExtractor,
    TrackExtractor,
    View,
)

LIPS, VOICE = "lips", "voice"
SYNCNET_VIEW = View(352, 0.0, 0.2, 1.15)
"""Holds the face crop of :func:`evaluation.judges.syncnet.face_windows` and its movement."""
Curve = Callable[[Tensor, Tensor], Tensor]


def _syncnet(device: torch.device) -> SyncNetJudge:
    return SyncNetJudge(syncnet.load(syncnet.locate()), device)


def _open_syncnet_lips(device: torch.device) -> Callable[[np.ndarray, np.ndarray], Features]:
    judge = _syncnet(device)

    def extract(crops: np.ndarray, points: np.ndarray) -> Features:
        windows, seen = syncnet.face_windows(crops, points)
        rows = np.full((len(windows), syncnet.DIMENSION), np.nan, np.float32)
        if seen.any():
            rows[seen] = judge.lips(windows[seen])
        return {LIPS: rows}

    return extract


def _open_syncnet_voice(device: torch.device) -> Callable[[np.ndarray], Features]:
    judge = _syncnet(device)
    return lambda wave: {VOICE: _or_reason(judge.voice, syncnet.to_int16(wave))}


def _open_lips(device: torch.device) -> Callable[[Track], Features]:
    judge = LipSyncJudge(device=device)
    return lambda track: {LIPS: _or_reason(judge.lips, track.points)}


def _open_voice(device: torch.device) -> Callable[[np.ndarray], Features]:
    judge = LipSyncJudge(device=device)
    return lambda wave: {VOICE: _or_reason(judge.voice, wave)}


def _or_reason(embed: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Embeddings; a clip too short for them is not scored."""
    try:
        return embed(values)
    except ValueError as error:
        raise NotScored(str(error)) from None


def _score(
    prefix: str,
    needs: tuple[str, str],
    curve: Curve,
    least: int,
    clip: EvaluatedClip,
    reference: EvaluatedClip | None,
) -> Scores:
    """A clip's scores by one judge, whose column names begin with ``prefix``; the curve is kept."""
    del reference
    rows = [clip.features(name)[key] for name, key in zip(needs, (LIPS, VOICE), strict=True)]
    windows = min(map(len, rows))
    lips, voice = (torch.from_numpy(np.asarray(side[:windows])) for side in rows)
    seen = int(lips.isfinite().all(dim=1).sum())
    if seen < max(least, windows / 2):
        needed = f"at least {least} and half of them are needed"
        raise NotScored(f"{seen} of {windows} windows show a face; {needed}")
    distances = curve(lips, voice)
    found = sync_score(distances)
    values = {
        "lse_c": found.confidence,
        "lse_d": found.distance,
        "offset": float(found.offset),
        "lse_c_0": found.confidence_at_0,
        "lse_d_0": found.distance_at_0,
    }
    kept = torch.nan_to_num(distances, nan=float(distances.nanmean())).tolist()
    return Scores({prefix + name: v for name, v in values.items()}, {f"{prefix}curve": kept})


def _columns(prefix: str, judge: str) -> tuple[MetricColumn, ...]:
    shifts = f"shifts of ±{REACH} frames"
    zero = "the audio not shifted: a constant lag shows"
    best = "the best shift; positive: early audio; meaningless where LSE-C is near 0"
    rows = (
        ("lse_c", "LSE-C", True, f"median distance over {shifts} minus the smallest", 0.0),
        ("lse_d", "LSE-D", False, f"smallest mean distance over {shifts}", 0.0),
        ("offset", "Sync offset", None, best, None),
        ("lse_c_0", "LSE-C at 0", True, zero, None),
        ("lse_d_0", "LSE-D at 0", False, zero, 0.0),
    )
    columns = []
    for name, label, better, about, low in rows:
        label = f"{label} ({judge})" if judge else label
        unit, decimals = ("frames", 1) if name == "offset" else ("", 3)
        column = MetricColumn(prefix + name, label, about, better, "lips", unit, decimals, low=low)
        columns.append(replace(column, histogram=name == "offset"))
    return tuple(columns)


def _entry(prefix: str, judge: str, needs: tuple[str, str], curve: Curve, least: int) -> ClipMetric:
    score = partial(_score, prefix, needs, curve, least)
    return ClipMetric(_columns(prefix, judge), score, needs, needs_reference=False)


SYNCNET, OWN = ("syncnet_lips", "syncnet_voice"), ("sync_lips", "sync_voice")
ORDER = 5
EXTRACTORS = (
    FrameExtractor(SYNCNET[0], syncnet.describe, _open_syncnet_lips, SYNCNET_VIEW, syncnet.WINDOW),
    AudioExtractor(SYNCNET[1], syncnet.describe, _open_syncnet_voice),
    TrackExtractor(OWN[0], lip_sync.describe, _open_lips),
    AudioExtractor(OWN[1], lip_sync.describe, _open_voice),
)
ENTRIES = {
    "lse": _entry("", "", SYNCNET, padded_distances, 1),
    "sync": _entry("sync_", lip_sync.NAME, OWN, overlap_distances, LEAST_PAIRS),
}
