"""Small videos of the clips for the report: the protocol's crop, silent, about 30 kB each."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from emo_lightning.video import encode_mp4_bytes
from evaluation.cache import FeatureCache
from evaluation.judges.base import JudgeInfo
from evaluation.pairs import Item
from evaluation.protocol import CONTROLS
from evaluation.records import Record
from evaluation.suite.base import Features, FrameExtractor, FrameFunction

SIDE, SECONDS, CRF = 144, 4.0, 30.0
FPS = 12.5
NAME = "preview"


def _open(device: torch.device) -> FrameFunction:
    del device

    def shrink(crops: np.ndarray, points: np.ndarray) -> Features:
        del points
        return {"frames": np.stack([cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for crop in crops])}

    return shrink


def _encode(rows: Features) -> Features:
    """Every other frame of the first seconds as the bytes of an mp4."""
    frames = rows["frames"][::2][: int(SECONDS * FPS)]
    return {"mp4": np.frombuffer(encode_mp4_bytes(frames, crf=CRF, fps=FPS, gop=50), np.uint8)}


PREVIEW = FrameExtractor(NAME, lambda: JudgeInfo(NAME, None, "small videos for the report"), _open, finish=_encode)


def previews(item: Item) -> Sequence[FrameExtractor]:
    """What makes a clip's preview, if the report has a place for it: where its emotion is known."""
    return (PREVIEW,) if item.emotion is not None else ()


def collect(records: Sequence[Record], cache: FeatureCache) -> dict[tuple[str, str], bytes]:
    """The previews of scored clips by system and clip, in order."""
    found = {}
    for record in sorted(records, key=lambda r: (r.system, r.clip)):
        name = record.stored.get(NAME)
        features = cache.load(name) if name is not None and record.failure is None and record.system not in CONTROLS else None
        if features is not None:
            found[record.system, record.clip] = features["mp4"].tobytes()
    return found
