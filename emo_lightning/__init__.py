"""EmoSpeaker: one portrait, one recording, an emotion and a level become a talking video."""

from emo_lightning.core import torchvision_compat

__version__ = "0.1.0"

torchvision_compat.install()
