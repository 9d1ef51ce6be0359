"""What the networks make of a recording's sound, up to the read-out that is to be refitted.

Shapes: T frames, S portraits' expressions that ExpNet is told, F features, E expression coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from emo_lightning.calibration.recording import Recording
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.media.spectrogram import MelStream
from emo_lightning.models.motion.motion_model import EXP_CEILING, MotionModel
from emo_lightning.motion.emotions import NEUTRAL

SILENT_FRAMES = 8


@dataclass(frozen=True)
class Readout:
    """ExpNet's last step: ``speech = features @ weight.T + bias``, the amplitude multiplied in.

    Attributes:
        weight: ``(E, F)``.
        bias: ``(E,)``.
    """

    weight: np.ndarray
    bias: np.ndarray

    @staticmethod
    def of(heads: MotionModel) -> Readout:
        """The one that a network has."""
        net = heads.expnet
        gain = net.amplitude.detach().double().numpy()
        return Readout(
            net.to_speech.weight.detach().double().numpy() * gain[:, None],
            net.to_speech.bias.detach().double().numpy() * gain,
        )

    def put_into(self, heads: MotionModel) -> None:
        """Make it a network's own."""
        net = heads.expnet
        with torch.no_grad():
            gain = net.amplitude.double()
            net.to_speech.weight.copy_(torch.from_numpy(self.weight) / gain[:, None])
            net.to_speech.bias.copy_(torch.from_numpy(self.bias) / gain)

    def mixed(self, other: Readout, share: float) -> Readout:
        """``share`` of the way to another."""
        return Readout(
            self.weight + share * (other.weight - self.weight),
            self.bias + share * (other.bias - self.bias),
        )

    def stretched(self, gain: np.ndarray, centre: np.ndarray) -> Readout:
        """Each coefficient's movement about what it is at features ``centre`` (F,), times its ``gain`` (E,)."""
        weight = self.weight * gain[:, None]
        return Readout(weight, self.bias + (self.weight - weight) @ centre)

    def chosen(self, other: Readout, units: np.ndarray) -> Readout:
        """The other's coefficients where ``units`` (E,) is true, one's own elsewhere."""
        return Readout(
            np.where(units[:, None], other.weight, self.weight),
            np.where(units, other.bias, self.bias),
        )


@dataclass(frozen=True)
class Heard:
    """What a read-out is put into: ``EXP = held * (features @ weight.T + bias) + added``, cut to its range.

    Attributes:
        features: ``(S, T, F)``.
        held: ``(S, T, E)``, what closing the mouth leaves of a unit.
        added: ``(S, T, E)``, what a neutral EmoNet adds.
    """

    features: np.ndarray
    held: np.ndarray
    added: np.ndarray

    def __getitem__(self, frames: np.ndarray | slice) -> Heard:
        return Heard(self.features[:, frames], self.held[:, frames], self.added[:, frames])

    @staticmethod
    def joined(parts: Sequence[Heard]) -> Heard:
        """One after another."""
        return Heard(
            *(
                np.concatenate(blocks, axis=1)
                for blocks in zip(*((p.features, p.held, p.added) for p in parts), strict=True)
            )
        )

    def speech(self, readout: Readout) -> np.ndarray:
        """Of all portraits, ``(S, T, E)``."""
        return self.features @ readout.weight.T + readout.bias

    def said(self, readout: Readout, portrait: int = 0) -> np.ndarray:
        """Expression ``(T, E)`` as generation has it, but for the lids."""
        speech = self.features[portrait] @ readout.weight.T + readout.bias
        return np.clip(self.held[portrait] * speech + self.added[portrait], 0.0, EXP_CEILING)


def hear(talker: AudioToMotion, recording: Recording, sources: np.ndarray) -> Heard:
    """What the networks make of a whole recording.

    Args:
        talker: the networks.
        recording: whose sound it is.
        sources: ``(S, layout.size)`` joined coefficients that stand for the portrait.
    """
    mel = MelStream(talker.mel_kind)
    rows = np.concatenate(list(talker.frontend.transform([mel.push(recording.wave), mel.finish()])))
    return _through(talker, rows, sources)


def hear_silence(talker: AudioToMotion, sources: np.ndarray) -> Heard:
    """The same of a few frames without any sound."""
    return _through(
        talker,
        np.repeat(
            talker.frontend.silence[None],
            talker.frontend.front_end.per_frame * SILENT_FRAMES,
            axis=0,
        ),
        sources,
    )


@torch.no_grad()
def _through(talker: AudioToMotion, rows: np.ndarray, sources: np.ndarray) -> Heard:
    """With silence before and after, as in generation."""
    heads, per_frame = talker.motion_model, talker.frontend.front_end.per_frame
    reach = talker.decoupler.reach + heads.reach
    before, after = (
        np.repeat(talker.frontend.silence[None], per_frame * n, axis=0)
        for n in (reach.past, reach.future)
    )
    content = talker.decoupler.content(
        torch.from_numpy(np.concatenate([before, rows, after]))[None]
    )
    control = heads.matrix(torch.tensor([NEUTRAL]), torch.ones(1))[None].expand(
        1, len(rows) // per_frame, -1
    )
    parts = []
    for source in torch.from_numpy(sources.astype(np.float32)):
        out = heads(content, source[None], control)
        said = heads.expnet(content, source[None, heads.layout.slice("exp")])
        added = heads.compose(torch.zeros_like(out.speech), out.emotion, out.closure)
        held = heads.compose(torch.ones_like(out.speech), out.emotion, out.closure) - added
        parts.append([part[0].double().numpy() for part in (said.features, held, added)])
    return Heard(*(np.stack(blocks) for blocks in zip(*parts, strict=True)))
