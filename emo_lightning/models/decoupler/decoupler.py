"""Audio decoupler, the network of stage 1: audio to content without emotion::

    mel -> fine-grained controller -> LOW -> MID -> HIGH -> content
                                       |              |
                                  AU decoder     AU decoder (same weights)

The controller cuts the audio into sliding windows, one per video frame; the window's size sets how
much audio feeds one vector. Each later encoder adds a few frames of receptive field. Nothing
depends on the batch or on the whole recording.

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
from emo_lightning.models.decoupler.disentanglement import CausalNorm, Leace, binarize
from emo_lightning.models.layers.temporal import (
    ReceptiveField,
    TemporalStack,
    convolve_time,
    mlp,
    trim,
)
from emo_lightning.motion.emotions import EMOTIONS

MEL_MEAN, MEL_STD = -6.0, 3.0
"""Rough statistics of speech; fixed, so that silence and noise keep their level."""


@dataclass
class DecouplerConfig:
    """Sizes of the decoupler. The paper publishes none; these are ours."""

    window: int = 9
    """Sliding window of the fine-grained controller, video frames (40 ms each)."""
    look_ahead: int = 4
    """Frames of the window after the present one; lips lead the audio, so at least 1."""
    front_end: str = "mel"
    """Audio front end: ``mel``, or ``whisper`` for the features of Whisper's encoder."""
    mel_bands: int = 80
    """Bands of the mel spectrogram."""
    front_width: int = 64
    """Channels at mel rate."""
    width: int = 128
    """Channels of the low, mid and high features."""
    content: int = 64
    """Width of the content vector."""
    mid_blocks: int = 2
    """Residual blocks of the MID encoder."""
    high_blocks: int = 2
    """Residual blocks of the HIGH encoder."""
    causal_norm_frames: int = 0
    """Past video frames whose mean and spread causal instance norm removes from content; 0 for
    none."""
    leace: bool = False
    """Erase the linearly decodable emotion from content (LEACE)."""
    binarize: bool = False
    """Binarise content to +1 or -1 per channel."""


class DecouplerOutput(NamedTuple):
    """Features per video frame.

    ``low``, ``mid``, ``high`` (B, T, width), ``content`` (B, T, content), AUs (B, T, 17) in 0..1.
    """

    low: Tensor
    mid: Tensor
    high: Tensor
    content: Tensor
    au_low: Tensor
    au_high: Tensor


class FineGrainedController(nn.Module):
    """Sliding windows over the audio features, one vector per video frame.

    ``(B, n (T + window - 1), bands) -> (B, T, width)``; n is 4 with mel, 2 with Whisper.

    Raises:
        ValueError: a front end that does not exist, or a look-ahead outside the window.
    """

    def __init__(self, config: DecouplerConfig) -> None:
        super().__init__()
        ahead, window = config.look_ahead, config.window
        if not 0 <= ahead < window:
            raise ValueError(f"look_ahead {ahead} must be less than the window, {window} frames")
        if config.front_end not in FRONTENDS:
            raise ValueError(f"front_end {config.front_end!r} is none of {tuple(FRONTENDS)}")
        self.reach = ReceptiveField(window - 1 - ahead, ahead)
        if config.front_end == "mel":
            self.shift, self.scale = MEL_MEAN, MEL_STD
            enter: nn.Module = nn.Conv1d(config.mel_bands, config.front_width, 1)
        else:
            self.shift, self.scale = 0.0, 1.0
            enter = WhisperProjection(config.front_width)
        self.bands = nn.Sequential(enter, nn.GELU())
        step = FRONTENDS[config.front_end].per_frame
        self.window = nn.Conv1d(config.front_width, config.width, step * window, stride=step)

    def forward(self, mel_btf: Tensor) -> Tensor:
        x = (mel_btf - self.shift) / self.scale
        return convolve_time(self.window, self.bands(x.transpose(1, 2)).transpose(1, 2))


class AudioDecoupler(nn.Module):
    """Low, mid and high encoders in a chain, one AU decoder for low and high, content from high.

    Args:
        config: sizes.
    """

    def __init__(self, config: DecouplerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.controller = FineGrainedController(config)
        self.low_encoder = TemporalStack(width, 1, ReceptiveField(0, 0))
        self.mid_encoder = TemporalStack(width, config.mid_blocks, ReceptiveField(1, 1))
        self.high_encoder = TemporalStack(width, config.high_blocks, ReceptiveField(1, 1))
        self.au_decoder = nn.Sequential(
            nn.LayerNorm(width), mlp([width, width, len(AU_NAMES)]), nn.Sigmoid()
        )
        self.to_content = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.content))
        frames = config.causal_norm_frames
        self.causal_norm = CausalNorm(config.content, frames) if frames else None
        self.leace = Leace(config.content, len(EMOTIONS)) if config.leace else None

    @property
    def front_end(self) -> FrontendInfo:
        """Input features: vectors per frame, their width, and their key in a batch."""
        return FRONTENDS[self.config.front_end]

    @property
    def reach(self) -> ReceptiveField:
        """Receptive field in video frames."""
        return self.local_reach + self._norm_reach

    @property
    def local_reach(self) -> ReceptiveField:
        """Receptive field without the causal norm's window of past frames."""
        return self.controller.reach + self.mid_encoder.reach + self.high_encoder.reach

    @property
    def _norm_reach(self) -> ReceptiveField:
        return ReceptiveField(0, 0) if self.causal_norm is None else self.causal_norm.reach

    def forward(self, mel: Tensor) -> DecouplerOutput:
        """Features of a whole clip with silence before its start and after its end.

        Args:
            mel: ``(B, 4T, bands)`` log mel, or ``(B, 2T, 384)`` features of Whisper.
        """
        step = self.front_end.per_frame
        silence = MEL_SILENCE if self.config.front_end == "mel" else 0.0
        padding = (0, 0, step * self.reach.past, step * self.reach.future)
        return self.features(F.pad(mel, padding, value=silence))

    def features(self, mel: Tensor) -> DecouplerOutput:
        """Features of the middle of a segment: ``(B, 4 (T + reach.total), bands) -> T`` frames.

        In training, content is not yet passed through :meth:`disentangle`: losses that remove
        emotion need all of it.
        """
        low = self.low_encoder(self.controller(mel))
        mid = self.mid_encoder(low)
        high = self.high_encoder(mid)
        content = self.normalize(self.to_content(high))
        if not self.training:
            content = self.disentangle(content)
        last = self._norm_reach
        low = trim(low, self.mid_encoder.reach + self.high_encoder.reach + last)
        mid, high = trim(mid, self.high_encoder.reach + last), trim(high, last)
        return DecouplerOutput(low, mid, high, content, self.au_decoder(low), self.au_decoder(high))

    @torch.no_grad()
    def content(self, mel: Tensor) -> Tensor:
        """Content alone, for a segment of audio as in :meth:`features`."""
        return self.disentangle(self.normalize(self.local_content(mel)))

    def local_content(self, mel: Tensor) -> Tensor:
        """Content before the causal norm; a stream keeps these rows.

        ``(B, 4 (T + local_reach.total), bands) -> (B, T, content)``.
        """
        high = self.high_encoder(self.mid_encoder(self.low_encoder(self.controller(mel))))
        return self.to_content(high)

    def normalize(self, content: Tensor) -> Tensor:
        """Causal norm, ``(B, past + T, content) -> (B, T, content)``; identity without one."""
        return content if self.causal_norm is None else self.causal_norm(content)

    def disentangle(self, content: Tensor) -> Tensor:
        """LEACE and binarisation, where the configuration has them."""
        content = content if self.leace is None else self.leace(content)
        return binarize(content) if self.config.binarize else content
