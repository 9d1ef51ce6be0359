"""What the networks make of a recording's sound, up to the read-out that is to be refitted.

Shapes: T frames, S portraits' expressions that ExpNet is told, F features, E expression coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from emo_lightning.audio import log_mel
from emo_lightning.calibration.film import Recording
from emo_lightning.emotions import NEUTRAL
from emo_lightning.models.decoupler import MEL_SILENCE
from emo_lightning.models.heads import EXP_CEILING, Heads
from emo_lightning.models.layers import repeat_edges
from emo_lightning.models.talker import Talker

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
    def of(heads: Heads) -> Readout:
        """The one that a network has."""
        net = heads.expnet
        gain = net.amplitude.detach().double().numpy()
        return Readout(net.to_speech.weight.detach().double().numpy() * gain[:, None], net.to_speech.bias.detach().double().numpy() * gain)

    def put_into(self, heads: Heads) -> None:
        """Make it a network's own."""
        net = heads.expnet
        with torch.no_grad():
            gain = net.amplitude.double()
            net.to_speech.weight.copy_(torch.from_numpy(self.weight) / gain[:, None])
            net.to_speech.bias.copy_(torch.from_numpy(self.bias) / gain)

    def mixed(self, other: Readout, share: float) -> Readout:
        """``share`` of the way to another."""
        return Readout(self.weight + share * (other.weight - self.weight), self.bias + share * (other.bias - self.bias))

    def stretched(self, gain: np.ndarray, centre: np.ndarray) -> Readout:
        """Each coefficient's movement about what it is at features ``centre`` (F,), times its ``gain`` (E,)."""
        weight = self.weight * gain[:, None]
        return Readout(weight, self.bias + (self.weight - weight) @ centre)

    def chosen(self, other: Readout, units: np.ndarray) -> Readout:
        """The other's coefficients where ``units`` (E,) is true, one's own elsewhere."""
        return Readout(np.where(units[:, None], other.weight, self.weight), np.where(units, other.bias, self.bias))


@dataclass(frozen=True)
class Heard:
    """``features`` (S, T, F); ``felt`` (S, T, E), what a neutral EmoNet adds to speech; ``closure`` (T,) in 0..1."""

    features: np.ndarray
    felt: np.ndarray
    closure: np.ndarray

    def said(self, readout: Readout, portrait: int = 0) -> np.ndarray:
        """Expression ``(T, E)`` as generation has it, but for the lids."""
        return spoken(self.features[portrait], self.felt[portrait], readout)


def spoken(features: np.ndarray, felt: np.ndarray, readout: Readout) -> np.ndarray:
    """Expression ``(..., E)`` of features ``(..., F)`` and what feeling adds to it."""
    return np.clip(features @ readout.weight.T + readout.bias + felt, 0.0, EXP_CEILING)


@torch.no_grad()
def hear(talker: Talker, recording: Recording, sources: np.ndarray) -> Heard:
    """Features of a whole recording.

    Args:
        talker: the networks.
        recording: whose sound it is.
        sources: ``(S, layout.size)`` joined coefficients that stand for the portrait.
    """
    content = talker.decoupler(torch.from_numpy(log_mel(recording.wave))[None]).content
    return _through(talker.heads, content, sources)


@torch.no_grad()
def hear_silence(talker: Talker, sources: np.ndarray) -> Heard:
    """The same of a few frames without any sound."""
    mel = torch.full((1, 4 * SILENT_FRAMES, talker.decoupler.config.mel_bands), MEL_SILENCE)
    return _through(talker.heads, talker.decoupler(mel).content, sources)


def _through(heads: Heads, content: torch.Tensor, sources: np.ndarray) -> Heard:
    padded = repeat_edges(content, heads.reach)
    control = heads.matrix(torch.tensor([NEUTRAL]), torch.ones(1))[None].expand(1, content.shape[1], -1)
    features, felt = [], []
    for source in sources:
        out = heads(padded, torch.from_numpy(source.astype(np.float32))[None], control)
        said = heads.expnet(padded, torch.from_numpy(source[heads.layout.slice("exp")].astype(np.float32))[None])
        features.append(said.features[0].double().numpy())
        felt.append((out.exp - out.speech)[0].double().numpy())
        closure = out.closure[0, :, 0].double().numpy()
    return Heard(np.stack(features), np.stack(felt), closure)
