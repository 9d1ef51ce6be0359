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

from emo_lightning.coefficients import AU_NAMES
from emo_lightning.models.ear import FRONT_ENDS, MEL_SILENCE, FrontEnd, WhisperEntrance
from emo_lightning.models.layers import Reach, TemporalStack, mlp, trim

MEL_PER_FRAME = 4
MEL_MEAN, MEL_STD = -6.0, 3.0
"""Rough statistics of speech, so that the first layer sees numbers near one; fixed, so silence and noise keep their level."""
SPEECH_LOUDNESS, LOUDNESS_SLOPE = -7.5, 3.0
"""Mean log mel above which a frame is more speech than not, and how sharply."""


@dataclass
class DecouplerConfig:
    """Sizes of the decoupler. The paper publishes none; these are ours."""

    window: int = 9
    """Sliding window of the fine-grained controller, video frames (40 ms each)."""
    look_ahead: int = 4
    """How many of the window's frames lie after the present one; lips lead the sound, so at least 1."""
    front_end: str = "mel"
    """What is heard, one of :data:`~emo_lightning.models.ear.FRONT_ENDS`: our mel, or the features of Whisper's encoder."""
    mel_bands: int = 80
    front_width: int = 64
    """Channels at mel rate."""
    width: int = 128
    """Channels of the low, mid and high features."""
    content: int = 64
    """Width of the content vector."""
    mid_blocks: int = 2
    high_blocks: int = 2
    settle: int = 0
    """Frames of the past whose mean and spread are taken out of LOW before MID; 0 leaves LOW as it is."""


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
            raise ValueError(f"look_ahead {config.look_ahead} must be less than the window, {config.window} frames")
        self.reach = Reach(config.window - 1 - config.look_ahead, config.look_ahead)
        if config.front_end not in FRONT_ENDS:
            raise ValueError(f"front_end {config.front_end!r} is none of {tuple(FRONT_ENDS)}")
        self.shift, self.scale = (MEL_MEAN, MEL_STD) if config.front_end == "mel" else (0.0, 1.0)
        enter = nn.Conv1d(config.mel_bands, config.front_width, 1) if config.front_end == "mel" else WhisperEntrance(config.front_width)
        self.bands = nn.Sequential(enter, nn.GELU())
        step = FRONT_ENDS[config.front_end].per_frame
        self.window = nn.Conv1d(config.front_width, config.width, step * config.window, stride=step)

    def forward(self, mel_btf: Tensor) -> Tensor:
        x = (mel_btf - self.shift) / self.scale
        return self.window(self.bands(x.transpose(1, 2))).transpose(1, 2)


class Settling(nn.Module):
    """Takes out of each channel the mean and the spread that it had over the last frames of speech.

    What stays the same over a second or two is who speaks, into what and in which mood; what is said changes faster. Instance
    normalisation does so over a whole recording (Chou, Yeh & Lee, *One-shot voice conversion by separating speaker and content
    representations with instance normalization*, Interspeech 2019); looking back alone, this one streams. Until enough speech
    has been heard a learned mean and spread stand in, with the weight of :data:`PRIOR_FRAMES`.

    ``(B, T + past, C)`` and the loudness ``(B, T + past)`` of the same frames give ``(B, T, C)``.
    """

    PRIOR_FRAMES = 6.0

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.reach = Reach(frames, 0)
        self.mean = nn.Parameter(torch.zeros(width))
        self.log_spread = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, loudness: Tensor) -> Tensor:
        past = self.reach.past
        weight = torch.sigmoid(LOUDNESS_SLOPE * (loudness - SPEECH_LOUDNESS))[..., None]
        prior = self.PRIOR_FRAMES
        # Sums over one window at a time, not differences of running sums: those would depend on where a stream began.
        kernel = torch.cat([weight, weight * x, weight * x.square()], dim=-1).transpose(1, 2)
        sums = F.avg_pool1d(kernel, past + 1, stride=1).transpose(1, 2) * (past + 1)
        total, first, second = sums[..., :1], *sums[..., 1:].chunk(2, dim=-1)
        spread = self.log_spread.exp().square()
        mean = (prior * self.mean + first) / (prior + total)
        power = (prior * (spread + self.mean.square()) + second) / (prior + total)
        return (trim(x, self.reach) - mean) * (power - mean.square()).clamp_min(1e-4).rsqrt()


class AudioDecoupler(nn.Module):
    """Low, mid and high encoders in a chain, one AU decoder for low and high, content from high."""

    def __init__(self, config: DecouplerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        if config.settle and config.front_end != "mel":
            raise ValueError("settle goes by the mel's loudness, which the other front ends do not hand on")
        self.controller = FineGrainedController(config)
        self.low_encoder = TemporalStack(width, 1, Reach(0, 0))
        self.settling = Settling(width, config.settle) if config.settle else None
        self.mid_encoder = TemporalStack(width, config.mid_blocks, Reach(1, 1))
        self.high_encoder = TemporalStack(width, config.high_blocks, Reach(1, 1))
        self.au_decoder = nn.Sequential(nn.LayerNorm(width), mlp([width, width, len(AU_NAMES)]), nn.Sigmoid())
        self.to_content = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.content))

    @property
    def front_end(self) -> FrontEnd:
        """What is heard: vectors a frame, their width, and their key in a batch."""
        return FRONT_ENDS[self.config.front_end]

    @property
    def reach(self) -> Reach:
        """Video frames of sound needed before and after a frame."""
        return self.near + (Reach(0, 0) if self.settling is None else self.settling.reach)

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
        return self.features(F.pad(mel, (0, 0, step * self.reach.past, step * self.reach.future), value=quiet))

    def features(self, mel: Tensor) -> DecouplerOutput:
        """Features of the middle of a piece of sound: ``(B, 4 (T + reach.total), bands) -> T frames``."""
        low = self.low_encoder(self.controller(mel))
        mid = self.mid_encoder(self._settled(low, mel))
        high = self.high_encoder(mid)
        mid = trim(mid, self.high_encoder.reach)
        later = self.mid_encoder.reach + self.high_encoder.reach
        low = trim(low, later if self.settling is None else later + self.settling.reach)
        return DecouplerOutput(low, mid, high, self.to_content(high), self.au_decoder(low), self.au_decoder(high))

    @torch.no_grad()
    def content(self, mel: Tensor) -> Tensor:
        """The content vector alone, for a piece of sound as in :meth:`features`."""
        low = self.low_encoder(self.controller(mel))
        return self.to_content(self.high_encoder(self.mid_encoder(self._settled(low, mel))))

    def _settled(self, low: Tensor, mel: Tensor) -> Tensor:
        if self.settling is None:
            return low
        loudness = mel.unflatten(1, (-1, MEL_PER_FRAME)).mean(dim=(2, 3))
        return self.settling(low, trim(loudness[..., None], self.controller.reach)[..., 0])
