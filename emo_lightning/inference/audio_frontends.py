"""The ear that a network was trained with, ready to use: Whisper's weights are looked up when they are needed."""

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
    STEP,
    Ear,
    MelFrontend,
    WhisperFrontend,
)


def open_frontend(kind: str) -> Ear:
    """The ear of a front end.

    Raises:
        UserError: no such front end, or Whisper's weights are absent or damaged.
    """
    if kind not in FRONTENDS:
        raise UserError("front_end", kind, ", ".join(FRONTENDS), "is not a front end")
    if kind == "mel":
        return MelFrontend()
    return WhisperFrontend(load_whisper(), MEL_KINDS[kind].quiet)


def whisper_teacher() -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    """What makes Whisper's features ``(2T, 384)`` of sound ``(N,)`` at 16 kHz, and how, in plain values.

    Raises:
        UserError: Whisper's weights are absent or damaged.
    """
    ear = open_frontend("whisper")
    assert isinstance(ear, WhisperFrontend)
    about = {
        "network": "Whisper tiny.en",
        "blocks": DEPTH,
        "frames": {"before": CONTEXT.past, "piece": STEP, "after": CONTEXT.future},
    }
    return lambda wave: ear.features(log_mel(levelled(wave), ear.kind)), {
        **about,
        "peak": WHISPER_PEAK,
    }
