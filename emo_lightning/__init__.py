"""EmoSpeaker: one portrait, one recording, an emotion and a level become a talking video."""

__version__ = "0.1.0"
