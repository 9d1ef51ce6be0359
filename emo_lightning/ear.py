"""The ear that a network was trained with, ready to use: Whisper's weights are looked up when they are needed."""

from __future__ import annotations

from emo_lightning.audio import MEL_KINDS
from emo_lightning.ear_weights import load_whisper
from emo_lightning.errors import UserError
from emo_lightning.models.ear import FRONT_ENDS, Ear, MelEar, WhisperEar


def open_ear(kind: str) -> Ear:
    """The ear of a front end.

    Raises:
        UserError: no such front end, or Whisper's weights are absent or damaged.
    """
    if kind not in FRONT_ENDS:
        raise UserError("front_end", kind, ", ".join(FRONT_ENDS), "is not a front end")
    if kind == "mel":
        return MelEar()
    return WhisperEar(load_whisper(), MEL_KINDS[kind].quiet)
