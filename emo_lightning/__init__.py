"""EmoSpeaker: one portrait, one recording, an emotion and a level become a talking video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emo_lightning.core import torchvision_compat

if TYPE_CHECKING:
    from emo_lightning.inference.speaker import Speaker

__version__ = "0.1.0"
__all__ = ["Speaker", "__version__"]

torchvision_compat.install()


def __getattr__(name: str) -> Any:
    """Import the Python API at its first use: the package itself imports no torch."""
    if name != "Speaker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from emo_lightning.inference.speaker import Speaker

    return Speaker
