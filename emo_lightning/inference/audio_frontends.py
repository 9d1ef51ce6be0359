"""Audio front ends with their weights: Whisper's are looked up when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from emo_lightning.core.errors import UserError
from emo_lightning.inference.whisper_checkpoint import load_whisper
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import MEL_KINDS, WHISPER_PEAK, log_mel
from emo_lightning.models.decoupler.audio_frontend import (
    CONTEXT,
    DEPTH,
    FRONTENDS,
    SEGMENT,
    AudioFrontend,
    MelFrontend,
    WhisperFrontend,
)


def open_frontend(kind: str) -> AudioFrontend:
    """Front end ``mel`` or ``whisper``.

    Raises:
        UserError: no such front end, or Whisper's weights are absent or damaged.
    """
    if kind not in FRONTENDS:
        raise UserError("front_end", kind, ", ".join(FRONTENDS), "is not a front end")
    if kind == "mel":
        return MelFrontend()
    return WhisperFrontend(load_whisper(), MEL_KINDS[kind].quiet)


def whisper_teacher() -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    """Extractor of Whisper's features ``(2T, 384)`` from 16 kHz audio ``(N,)``, and its settings.

    Raises:
        UserError: Whisper's weights are absent or damaged.
    """
    frontend = open_frontend("whisper")
    assert isinstance(frontend, WhisperFrontend)
    settings = {
        "network": "Whisper tiny.en",
        "blocks": DEPTH,
        "frames": {"before": CONTEXT.past, "piece": SEGMENT, "after": CONTEXT.future},
        "peak": WHISPER_PEAK,
    }
    return lambda wave: frontend.features(log_mel(levelled(wave), frontend.kind)), settings
