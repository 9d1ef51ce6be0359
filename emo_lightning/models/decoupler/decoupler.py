"""Stage 1's network: audio to content, with emotion left behind on the way.

    mel -> fine-grained controller -> LOW -> MID -> HIGH -> content
                                       |              |
                                  AU decoder     AU decoder (same weights)

The controller cuts the sound into sliding windows, one a video frame, so the window's size sets how much sound feeds one
vector. Each later encoder sees a few frames more. Nothing depends on the batch or on the whole recording.

Shapes: B batch, T video frames at 25 frames/s, 4T mel frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.face.coefficients import AU_NAMES
from emo_lightning.models.decoupler.audio_frontend import (
    FRONTENDS,
    MEL_SILENCE,
    FrontendInfo,
    WhisperProjection,
)
from emo_lightning.models.decoupler.content_layers import CausalNorm, Leace, bits
from emo_lightning.models.layers.temporal import Reach, TemporalStack, along_time, mlp, trim
from emo_lightning.motion.emotions import EMOTIONS

MEL_PER_FRAME = 4
MEL_MEAN, MEL_STD = -6.0, 3.0
"""Rough statistics of speech, so that the first layer sees numbers near one; fixed, so silence and noise keep their level."""


@dataclass
class DecouplerConfig:
    """Sizes of the decoupler. The paper publishes none; these are ours."""

    window: int = 9
    """Sliding window of the fine-grained controller, video frames (40 ms each)."""
    look_ahead: int = 4
    """How many of the window's frames lie after the present one; lips lead the sound, so at least 1."""
    front_end: str = "mel"
    """What is heard, one of :data:`~emo_lightning.models.decoupler.audio_frontend.FRONTENDS`: our mel, or the features of Whisper's encoder."""
    mel_bands: int = 80
    front_width: int = 64
    """Channels at mel rate."""
    width: int = 128
    """Channels of the low, mid and high features."""
    content: int = 64
    """Width of the content vector."""
    mid_blocks: int = 2
    high_blocks: int = 2
    causal_norm_frames: int = 0
    """Past video frames whose mean and spread causal instance norm removes from content; 0 for none."""
    leace: bool = False
    """Erase the linearly decodable emotion from content (LEACE)."""
    binarize: bool = False
    """Binarise content to +1 or -1 per channel."""


class DecouplerOutput(NamedTuple):
    """Features a video frame: ``low``, ``mid``, ``high`` (B, T, width), ``content`` (B, T, content), AUs (B, T, 17) in 0..1."""

    low: Tensor
    mid: Tensor
    high: Tensor
    content: Tensor
    au_low: Tensor
    au_high: Tensor


class FineGrainedController(nn.Module):
    """Sliding windows over the mel spectrogram, or over Whisper's features, one vector a video frame.

    ``(B, 4 (T + window - 1), bands) -> (B, T, width)``; 2 a frame with Whisper.
    """

    def __init__(self, config: DecouplerConfig) -> None:
        super().__init__()
        if not 0 <= config.look_ahead < config.window:
            raise ValueError(
                f"look_ahead {config.look_ahead} must be less than the window, {config.window} frames"
            )
        self.reach = Reach(config.window - 1 - config.look_ahead, config.look_ahead)
        if config.front_end not in FRONTENDS:
            raise ValueError(f"front_end {config.front_end!r} is none of {tuple(FRONTENDS)}")
        self.shift, self.scale = (MEL_MEAN, MEL_STD) if config.front_end == "mel" else (0.0, 1.0)
        enter = (
            nn.Conv1d(config.mel_bands, config.front_width, 1)
            if config.front_end == "mel"
            else WhisperProjection(config.front_width)
        )
        self.bands = nn.Sequential(enter, nn.GELU())
        step = FRONTENDS[config.front_end].per_frame
        self.window = nn.Conv1d(config.front_width, config.width, step * config.window, stride=step)

    def forward(self, mel_btf: Tensor) -> Tensor:
        x = (mel_btf - self.shift) / self.scale
        return along_time(self.window, self.bands(x.transpose(1, 2)).transpose(1, 2))


class AudioDecoupler(nn.Module):
    """Low, mid and high encoders in a chain, one AU decoder for low and high, content from high."""

    def __init__(self, config: DecouplerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.controller = FineGrainedController(config)
        self.low_encoder = TemporalStack(width, 1, Reach(0, 0))
        self.mid_encoder = TemporalStack(width, config.mid_blocks, Reach(1, 1))
        self.high_encoder = TemporalStack(width, config.high_blocks, Reach(1, 1))
        self.au_decoder = nn.Sequential(
            nn.LayerNorm(width), mlp([width, width, len(AU_NAMES)]), nn.Sigmoid()
        )
        self.to_content = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.content))
        self.settling = (
            CausalNorm(config.content, config.causal_norm_frames)
            if config.causal_norm_frames
            else None
        )
        self.erasure = Leace(config.content, len(EMOTIONS)) if config.leace else None

    @property
    def front_end(self) -> FrontendInfo:
        """What is heard: vectors a frame, their width, and their key in a batch."""
        return FRONTENDS[self.config.front_end]

    @property
    def reach(self) -> Reach:
        """Video frames of sound needed before and after a frame."""
        return self.near + self._settling_reach

    @property
    def near(self) -> Reach:
        """The part of :attr:`reach` whose sound a frame is made of; before it, sound only sets what counts as usual."""
        return self.controller.reach + self.mid_encoder.reach + self.high_encoder.reach

    def forward(self, mel: Tensor) -> DecouplerOutput:
        """Features of a whole clip, silent before its start and after its end.

        Args:
            mel: ``(B, 4T, bands)`` log mel, or ``(B, 2T, 384)`` features of Whisper.
        """
        step = self.front_end.per_frame
        quiet = MEL_SILENCE if self.config.front_end == "mel" else 0.0
        return self.features(
            F.pad(mel, (0, 0, step * self.reach.past, step * self.reach.future), value=quiet)
        )

    def features(self, mel: Tensor) -> DecouplerOutput:
        """Features of the middle of a piece of sound: ``(B, 4 (T + reach.total), bands) -> T frames``.

        While training content is not :meth:`cleaned` yet: losses that take emotion out must see all of it.
        """
        low = self.low_encoder(self.controller(mel))
        mid = self.mid_encoder(low)
        high = self.high_encoder(mid)
        content = self.settled(high)
        if not self.training:
            content = self.cleaned(content)
        last = self._settling_reach
        low = trim(low, self.mid_encoder.reach + self.high_encoder.reach + last)
        mid, high = trim(mid, self.high_encoder.reach + last), trim(high, last)
        return DecouplerOutput(low, mid, high, content, self.au_decoder(low), self.au_decoder(high))

    @torch.no_grad()
    def content(self, mel: Tensor) -> Tensor:
        """The content vector alone, for a piece of sound as in :meth:`features`."""
        return self.finished(self.unsettled(mel))

    def unsettled(self, mel: Tensor) -> Tensor:
        """Content that knows nothing of the past yet, ``(B, 4 (T + near.total), bands) -> (B, T, content)``; a stream keeps these rows."""
        return self.to_content(
            self.high_encoder(self.mid_encoder(self.low_encoder(self.controller(mel))))
        )

    def finished(self, content: Tensor) -> Tensor:
        """Content as it leaves the network, of ``(B, settle + T, content)`` rows of :meth:`unsettled`."""
        return self.cleaned(content if self.settling is None else self.settling(content))

    def settled(self, high: Tensor) -> Tensor:
        """Content before anything is erased, ``(B, T + settle, width) -> (B, T, content)``."""
        content = self.to_content(high)
        return content if self.settling is None else self.settling(content)

    def cleaned(self, content: Tensor) -> Tensor:
        """Content as it leaves the network."""
        content = content if self.erasure is None else self.erasure(content)
        return bits(content) if self.config.binarize else content

    @property
    def _settling_reach(self) -> Reach:
        return Reach(0, 0) if self.settling is None else self.settling.reach
