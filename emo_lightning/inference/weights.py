"""Trained networks joined for inference: a folder of weights to :class:`AudioToMotion`."""

from __future__ import annotations

import copy
from pathlib import Path

from emo_lightning.core.device import InferenceContext
from emo_lightning.inference.audio_frontends import open_frontend
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.models.checkpoint_io import (
    PRODUCTS,
    SHIPPED,
    check_follows,
    load_decoupler,
    load_motion_model,
    read_network,
)
from emo_lightning.models.decoupler.audio_frontend import WhisperFrontend

SHIPPED_WEIGHTS = {"mel": SHIPPED, "whisper": SHIPPED / "whisper"}
"""Shipped decoupler and motion model by audio front end: log-mel, or Whisper's encoder."""


def load_audio_to_motion(
    folder: str | Path | None = None,
    argument: str = "--checkpoint-dir",
    inference: InferenceContext | None = None,
) -> AudioToMotion:
    """Decoupler and motion model of a folder, joined.

    Args:
        folder: holds ``decoupler.safetensors`` and ``heads.safetensors``; the shipped weights by
            default.
        argument: name of the folder in error messages.
        inference: device; the CPU by default. These small networks are always float32.

    Raises:
        UserError: a file is missing or cannot be read, including Whisper's where it is needed.
        MismatchError: the motion model was not trained on that decoupler.
    """
    place = SHIPPED if folder is None else Path(folder)
    decoupler = read_network(place / "decoupler.safetensors", "decoupler", argument)
    heads = read_network(place / "heads.safetensors", "heads", argument)
    check_follows(heads, decoupler, argument)
    encoder, motion = load_decoupler(decoupler, argument), load_motion_model(heads, argument)
    frontend = open_frontend(encoder.config.front_end)
    if inference is not None:
        encoder, motion = inference.prepare(encoder), inference.prepare(motion)
        if isinstance(frontend, WhisperFrontend):
            # A copy: the loaded encoder is shared by everything in this process that uses it.
            frontend.encoder = inference.prepare(copy.deepcopy(frontend.encoder))
    return AudioToMotion(encoder, motion, frontend)


def weight_files(folder: str | Path | None = None) -> list[Path]:
    """The network files of a folder, or those shipped."""
    place = SHIPPED if folder is None else Path(folder)
    return [
        path
        for path in (place / f"{product}.safetensors" for product in PRODUCTS)
        if path.is_file()
    ]
