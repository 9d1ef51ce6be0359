"""Trained networks joined for inference: a folder of weights to :class:`AudioToMotion`."""

from __future__ import annotations

from pathlib import Path

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

SHIPPED_WEIGHTS = {"mel": SHIPPED, "whisper": SHIPPED / "whisper"}
"""Shipped decoupler and motion model by audio front end: log-mel, or Whisper's encoder."""


def load_audio_to_motion(
    folder: str | Path | None = None, argument: str = "--checkpoint-dir"
) -> AudioToMotion:
    """The decoupler and the heads of a folder, joined.

    Args:
        folder: holds ``decoupler.safetensors`` and ``heads.safetensors``; the shipped weights by
            default.
        argument: what the user knows the folder by.

    Raises:
        UserError: a file is missing or cannot be read, Whisper's among them where the decoupler
            needs them.
        MismatchError: the heads were not trained on that decoupler.
    """
    place = SHIPPED if folder is None else Path(folder)
    decoupler = read_network(place / "decoupler.safetensors", "decoupler", argument)
    heads = read_network(place / "heads.safetensors", "heads", argument)
    check_follows(heads, decoupler, argument)
    decoder = load_decoupler(decoupler, argument)
    return AudioToMotion(
        decoder, load_motion_model(heads, argument), open_frontend(decoder.config.front_end)
    )


def weight_files(folder: str | Path | None = None) -> list[Path]:
    """The network files of a folder, or those shipped."""
    place = SHIPPED if folder is None else Path(folder)
    return [
        path
        for path in (place / f"{product}.safetensors" for product in PRODUCTS)
        if path.is_file()
    ]
