"""What a refit sees: speech features of the networks beside tracked expression and lips, in blocks.

The videos are cut into blocks of some seconds: most to fit, every fourth held out, with a margin
between, so that no audio counts in both. Shapes: n frames in use, S portraits, F features, E
expression coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from emo_lightning.calibration.lips import ScoreSums, lips_of_expression
from emo_lightning.calibration.recording import Recording
from emo_lightning.core.constants import FPS
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.media.spectrogram import MelStream
from emo_lightning.models.motion.motion_model import EXP_CEILING, MotionModel
from emo_lightning.motion.emotions import NEUTRAL

BOOTSTRAP_FRAMES = 38
"""Frames (1.5 s) resampled together for intervals: lips are independent over less."""
SILENT_FRAMES = 8
HELD_OUT_EVERY = 4
FOLDS = 4
"""Parts of the fitting blocks that take turns in validation."""
BLOCK_SECONDS, SHORT_BLOCK_SECONDS = 5.0, 2.5
SHORT_BELOW = 45.0
"""Seconds of usable video below which blocks are the short ones."""
MIN_SHARE = 0.3
"""Share of usable frames below which a block is skipped."""


@dataclass(frozen=True)
class Readout:
    """ExpNet's last layer: ``speech = features @ weight.T + bias``, its amplitude multiplied in.

    Attributes:
        weight: ``(E, F)``.
        bias: ``(E,)``.
    """

    weight: np.ndarray
    bias: np.ndarray

    @staticmethod
    def of(heads: MotionModel) -> Readout:
        """A network's readout."""
        net = heads.expnet
        parameters = (net.amplitude, net.to_speech.weight, net.to_speech.bias)
        gain, weight, bias = (part.detach().cpu().double().numpy() for part in parameters)
        return Readout(weight * gain[:, None], bias * gain)

    def put_into(self, heads: MotionModel) -> None:
        """Replace a network's readout by this one."""
        net = heads.expnet
        with torch.no_grad():
            gain = net.amplitude.cpu().double()
            net.to_speech.weight.copy_(torch.from_numpy(self.weight) / gain[:, None])
            net.to_speech.bias.copy_(torch.from_numpy(self.bias) / gain)

    def interpolated(self, other: Readout, share: float) -> Readout:
        """A readout between this one (share 0) and another (share 1)."""
        weight = self.weight + share * (other.weight - self.weight)
        return Readout(weight, self.bias + share * (other.bias - self.bias))

    def scaled(self, gain: np.ndarray, centre: np.ndarray) -> Readout:
        """Scale each coefficient's movement about its value at features ``centre`` by ``gain``."""
        weight = self.weight * gain[:, None]
        return Readout(weight, self.bias + (self.weight - weight) @ centre)

    def merged(self, other: Readout, units: np.ndarray) -> Readout:
        """The other's coefficients where ``units`` (E,) is true, this one's elsewhere."""
        weight = np.where(units[:, None], other.weight, self.weight)
        return Readout(weight, np.where(units, other.bias, self.bias))


@dataclass(frozen=True)
class SpeechFeatures:
    """Input of a readout: ``EXP = gate * (features @ weight.T + bias) + offset``, clipped.

    Attributes:
        features: ``(S, n, F)``.
        gate: ``(S, n, E)``, the share of a unit that mouth closure leaves.
        offset: ``(S, n, E)``, what a neutral EmoNet adds.
    """

    features: np.ndarray
    gate: np.ndarray
    offset: np.ndarray

    def __getitem__(self, frames: np.ndarray | slice) -> SpeechFeatures:
        return SpeechFeatures(*(v[:, frames] for v in (self.features, self.gate, self.offset)))

    @staticmethod
    def joined(parts: Sequence[SpeechFeatures]) -> SpeechFeatures:
        """Concatenate in time."""
        blocks = zip(*((p.features, p.gate, p.offset) for p in parts), strict=True)
        return SpeechFeatures(*(np.concatenate(block, axis=1) for block in blocks))

    def speech(self, readout: Readout) -> np.ndarray:
        """Ungated speech movement for all portraits, ``(S, n, E)``."""
        return self.features @ readout.weight.T + readout.bias

    def expression(self, readout: Readout) -> np.ndarray:
        """Expression ``(n, E)`` of the first portrait, as generated, except for the lids."""
        speech = self.features[0] @ readout.weight.T + readout.bias
        return np.clip(self.gate[0] * speech + self.offset[0], 0.0, EXP_CEILING)


def extract_features(
    talker: AudioToMotion, recording: Recording, sources: np.ndarray
) -> SpeechFeatures:
    """Speech features of a whole recording.

    Args:
        talker: the networks.
        recording: whose audio is used.
        sources: ``(S, layout.size)`` joined coefficients that stand for the portrait.
    """
    mel = MelStream(talker.mel_kind)
    rows = np.concatenate(list(talker.frontend.transform([mel.add(recording.wave), mel.flush()])))
    return _features_of(talker, rows, sources)


def silence_features(talker: AudioToMotion, sources: np.ndarray) -> SpeechFeatures:
    """Speech features of a few silent frames."""
    count = talker.frontend.front_end.per_frame * SILENT_FRAMES
    return _features_of(talker, np.repeat(talker.frontend.silence[None], count, axis=0), sources)


@torch.no_grad()
def _features_of(talker: AudioToMotion, rows: np.ndarray, sources: np.ndarray) -> SpeechFeatures:
    """With silence before and after, as in generation."""
    heads, per_frame, quiet = (
        talker.motion_model,
        talker.frontend.front_end.per_frame,
        talker.frontend.silence[None],
    )
    reach = talker.decoupler.reach + heads.reach
    before, after = (np.repeat(quiet, per_frame * n, axis=0) for n in (reach.past, reach.future))
    padded = torch.from_numpy(np.concatenate([before, rows, after]))
    content = talker.decoupler.content(padded[None].to(talker.device))
    neutral = torch.tensor([NEUTRAL], device=talker.device)
    control = heads.matrix(neutral, torch.ones_like(neutral, dtype=torch.float32))[None]
    control = control.expand(1, len(rows) // per_frame, -1)
    parts = []
    for source in torch.from_numpy(sources.astype(np.float32)).to(talker.device):
        out = heads(content, source[None], control)
        speech = heads.expnet(content, source[None, heads.layout.slice("exp")])
        offset = heads.compose(torch.zeros_like(out.speech), out.emotion, out.closure)
        gate = heads.compose(torch.ones_like(out.speech), out.emotion, out.closure) - offset
        parts.append([v[0].cpu().double().numpy() for v in (speech.features, gate, offset)])
    return SpeechFeatures(*(np.stack(blocks) for blocks in zip(*parts, strict=True)))


@dataclass(frozen=True)
class FrameIndex:
    """Which recording, which of its frames, and which block, for each of n frames."""

    recording: np.ndarray
    frame: np.ndarray
    block: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, chosen: np.ndarray) -> FrameIndex:
        return FrameIndex(self.recording[chosen], self.frame[chosen], self.block[chosen])


def index_frames(recordings: Sequence[Recording]) -> FrameIndex:
    """Every frame of a speaking face, with its block; blocks never span two files."""
    seconds = sum(int(r.usable.sum()) for r in recordings) / FPS
    length = round(FPS * (BLOCK_SECONDS if seconds >= SHORT_BELOW else SHORT_BLOCK_SECONDS))
    parts, blocks = [], 0
    for number, recording in enumerate(recordings):
        frame = np.flatnonzero(recording.usable)
        count = max(1, round(len(recording.segment) / length))
        block = np.minimum(frame * count // max(len(recording.segment), 1), count - 1)
        filled = np.bincount(block, minlength=count) >= MIN_SHARE * len(recording.segment) / count
        renumbered = np.cumsum(filled) - 1 + blocks
        blocks += int(filled.sum())
        use = filled[block]
        parts.append((np.full(int(use.sum()), number), frame[use], renumbered[block[use]]))
    return FrameIndex(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def held_out_frames(index: FrameIndex) -> np.ndarray:
    """``(n,)`` bool: frames of every fourth block."""
    return index.block % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def fold_of(index: FrameIndex) -> np.ndarray:
    """``(n,)`` int: the fold in which a frame validates; for frames that are not held out."""
    return (index.block - index.block // HELD_OUT_EVERY) % FOLDS


def training_frames(index: FrameIndex, held_out: np.ndarray, margin: int) -> np.ndarray:
    """``(n,)`` bool: frames more than ``margin`` from any held-out frame of the same recording."""
    far = ~held_out
    for number in np.unique(index.recording):
        mine = index.recording == number
        there = np.sort(index.frame[mine & held_out])
        if len(there):
            at = index.frame[mine]
            right = np.clip(np.searchsorted(there, at), 0, len(there) - 1)
            left = np.maximum(right - 1, 0)
            far[mine] &= np.minimum(np.abs(there[right] - at), np.abs(there[left] - at)) > margin
    return far


@dataclass(frozen=True)
class CalibrationFrames:
    """The frames of a fit.

    Attributes:
        speech: features ``(S, n, ...)`` at each frame.
        exp: ``(n, E)`` tracked expression.
        lips: ``(n, 2)`` tracked lips.
        identity: ``(n, 40)``.
        index: where each frame comes from.
    """

    speech: SpeechFeatures
    exp: np.ndarray
    lips: np.ndarray
    identity: np.ndarray
    index: FrameIndex

    def __len__(self) -> int:
        return len(self.exp)

    def __getitem__(self, chosen: np.ndarray) -> CalibrationFrames:
        parts = (self.speech, self.exp, self.lips, self.identity, self.index)
        return CalibrationFrames(*(part[chosen] for part in parts))

    @cached_property
    def centre(self) -> np.ndarray:
        """Mean features ``(F,)``."""
        return self.speech.features.mean((0, 1))

    @cached_property
    def covariance(self) -> np.ndarray:
        """Covariance of the features, ``(F, F)``."""
        return np.cov(np.concatenate(self.speech.features).T, bias=True)

    def predicted_lips(self, readout: Readout) -> np.ndarray:
        """Opening and width ``(n, 2)`` that a readout gives on the person's own face."""
        return lips_of_expression(self.identity, self.speech.expression(readout))

    def score_sums(self, readout: Readout) -> ScoreSums:
        """Sums from which scores of a readout and their intervals follow."""
        piece = self.index.recording * 1_000_000 + self.index.frame // BOOTSTRAP_FRAMES
        return ScoreSums.of(self.predicted_lips(readout), self.lips, self.index.block, piece)


def build_frames(
    recordings: Sequence[Recording],
    speech: Sequence[SpeechFeatures],
    lags: Sequence[int],
    index: FrameIndex,
) -> CalibrationFrames:
    """Frames in use, each file's audio shifted by its lag: frame t has the audio at ``t - lag``."""
    at = index.frame - np.asarray(lags)[index.recording]
    lengths = np.array([len(r.segment) for r in recordings])
    inside = (at >= 0) & (at < lengths[index.recording])
    index, at = index[inside], at[inside]
    parts = []
    for number in np.unique(index.recording):
        mine = index.recording == number
        recording, t = recordings[number], index.frame[mine]
        exp, identity = (recording.coefficients[name][t].astype(float) for name in ("exp", "id"))
        parts.append((speech[number][at[mine]], exp, recording.lips[t], identity))
    features, *tracked = zip(*parts, strict=True)
    tracked = [np.concatenate(part) for part in tracked]
    return CalibrationFrames(SpeechFeatures.joined(features), *tracked, index)
