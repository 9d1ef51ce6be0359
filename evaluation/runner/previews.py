"""Small videos of the clips for the report: the protocol's crop, silent, about 30 kB each."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.media.video_writer import encode_mp4_bytes
from evaluation.judges.base import JudgeInfo
from evaluation.protocol import CONTROLS
from evaluation.records import Record
from evaluation.runner.cache import FeatureCache
from evaluation.runner.pairs import Item
from evaluation.suite.base import Features, FrameExtractor, FrameFunction

SIDE, SECONDS, CRF = 144, 4.0, 30.0
FPS = 12.5
NAME = "preview"
BUDGET = 18 << 20
"""Most bytes of all previews in one report; base64 makes 24 MB of them."""


def _open(device: torch.device) -> FrameFunction:
    del device

    def shrink(crops: np.ndarray, points: np.ndarray) -> Features:
        del points
        size, area = (SIDE, SIDE), cv2.INTER_AREA
        return {"frames": np.stack([cv2.resize(crop, size, interpolation=area) for crop in crops])}

    return shrink


def _encode(rows: Features) -> Features:
    """Every other frame of the first seconds as the bytes of an mp4."""
    frames = rows["frames"][::2][: int(SECONDS * FPS)]
    return {"mp4": np.frombuffer(encode_mp4_bytes(frames, crf=CRF, fps=FPS, gop=50), np.uint8)}


def _describe() -> JudgeInfo:
    return JudgeInfo(NAME, None, "small videos for the report")


PREVIEW = FrameExtractor(NAME, _describe, _open, finish=_encode)


def previews(item: Item) -> Sequence[FrameExtractor]:
    """The extractor of a clip's preview, if the report has a place for it: where its emotion is
    known."""
    return (PREVIEW,) if item.emotion is not None else ()


def collect(
    records: Sequence[Record], cache: FeatureCache, budget: int = BUDGET
) -> list[dict[str, Any]]:
    """Previews for the report's grid: one clip for each system, emotion and level, the first by
    name.

    Returns:
        ``system``, ``clip``, ``emotion``, ``level``, ``type`` and base64 ``data`` of each: videos
        if all of them fit into the budget together, else first frames, as many as fit.
    """
    chosen: dict[tuple[str, str | None, float | None], Record] = {}
    for record in sorted(records, key=lambda r: (r.system, r.clip)):
        if NAME in record.stored and record.failure is None and record.system not in CONTROLS:
            chosen.setdefault((record.system, record.emotion, record.level), record)
    keys = [(record, record.stored[NAME]) for record in chosen.values()]
    posters = sum(cache.path(key).stat().st_size for _, key in keys if cache.has(key)) > budget
    found = []
    for record, key in keys:
        features = cache.load(key)
        if features is None:
            continue
        kind, data = "video/mp4", features["mp4"].tobytes()
        if posters:
            kind, data = "image/jpeg", _first_frame(data)
        budget -= len(data)
        if budget < 0:
            break
        labels = {name: getattr(record, name) for name in ("system", "clip", "emotion", "level")}
        found.append({**labels, "type": kind, "data": base64.b64encode(data).decode("ascii")})
    return found


def _first_frame(mp4: bytes) -> bytes:
    frame = np.ascontiguousarray(decode_mp4_bytes(mp4, [0])[0][:, :, ::-1])
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
