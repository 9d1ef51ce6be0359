"""Networks of stage 2: content, source and control vector to {EXP, ID, TEX} and PoseNet's
condition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.layers.temporal import ReceptiveField
from emo_lightning.models.motion.emonet import EmoNet
from emo_lightning.models.motion.emotion_matrix import CONTROL_SIZE, EmotionMatrix
from emo_lightning.models.motion.expnet import ExpNet
from emo_lightning.models.motion.posenet import PoseNet
from emo_lightning.motion.blinking import BLINKS_PER_MINUTE

LIP_PARTING = ("AU10", "AU16", "AU25", "AU26", "jaw", "funnel")
"""Units that part the lips; suppressed where speech closes the mouth."""
SNEER, SNEER_SUPPRESSION = "AU9", 0.4
"""A nose wrinkle lifts the upper lip a little: it is suppressed in part, so that the lips touch."""
SPEECH_CLOSURE = (0.15, 0.4)
"""Closure probability at which the suppression of speech's units starts, and is complete."""
EMOTION_CLOSURE = (0.02, 0.25)
"""The same for the emotion's units: earlier, or a dropped jaw would snap at each closure."""
WIRINGS = ("default", "figure")
EXP_CEILING = 1.2


@dataclass
class MotionModelConfig:
    """Sizes and wiring of the motion model. Widths are ours."""

    wiring: str = "default"
    """``default``: EmoNet changes EXP too. ``figure``: EmoNet gives ID and TEX, ExpNet all EXP."""
    exp_width: int = 128
    """Channels of ExpNet."""
    exp_blocks: int = 2
    """Residual blocks of ExpNet."""
    emo_width: int = 96
    """Channels of EmoNet."""
    pose_width: int = 64
    """Channels of PoseNet."""
    pose_window: int = 56
    """Frames of PoseNet's training windows."""
    pose_latent: int = 16
    """Size of PoseNet's latent, one every 4 frames; PoseVAE has 64 for 32 frames."""
    refine_levels: bool = True
    """Train the emotion matrix; False keeps the interpolation of the annotated intensities."""
    blinks_per_minute: float = BLINKS_PER_MINUTE
    """Blink rate in neutral; not learned."""


class MotionModelOutput(NamedTuple):
    """All (B, T, ...): ``speech``, ``closure_logits``, ``emotion`` (the change of EXP), ``exp``
    composed, ``id``, ``tex``, and the ``condition`` of PoseNet."""

    speech: Tensor
    closure_logits: Tensor
    emotion: Tensor
    exp: Tensor
    id: Tensor
    tex: Tensor
    condition: Tensor

    @property
    def closure(self) -> Tensor:
        """Probability (B, T, 1) that the lips must touch."""
        return torch.sigmoid(self.closure_logits)


class MotionModel(nn.Module):
    """Emotion matrix, ExpNet, EmoNet and PoseNet; features accumulate from one to the next.

    Args:
        config: sizes.
        layout: coefficient layout of the face model.
        content: width of the decoupler's content vector.
        prototypes: ``(8, E)`` initial response of EmoNet.

    Raises:
        ValueError: a wiring that does not exist.
    """

    parting: Tensor

    def __init__(
        self, config: MotionModelConfig, layout: Layout, content: int, prototypes: Tensor
    ) -> None:
        super().__init__()
        if config.wiring not in WIRINGS:
            raise ValueError(f"wiring {config.wiring!r} is none of {WIRINGS}")
        self.config, self.layout, self.content_size = config, layout, content
        n_exp, n_speech, n_emo = layout.width("exp"), config.exp_width, config.emo_width
        self.matrix = EmotionMatrix(config.refine_levels)
        self.expnet = ExpNet(content, n_exp, n_speech, config.exp_blocks)
        self.emonet = EmoNet(layout, n_speech, n_emo, prototypes, config.wiring == "default")
        condition = n_speech + n_emo + CONTROL_SIZE
        self.posenet = PoseNet(
            condition, CONTROL_SIZE, config.pose_window, config.pose_latent, config.pose_width
        )
        parting = [
            SNEER_SUPPRESSION if name == SNEER else float(name in LIP_PARTING)
            for name in layout.exp_names
        ]
        self.register_buffer("parting", torch.tensor(parting or [0.0] * n_exp), persistent=False)

    @property
    def reach(self) -> ReceptiveField:
        """Receptive field in frames of content."""
        return self.expnet.reach

    def forward(
        self, content: Tensor, source: Tensor, control: Tensor, voice: Tensor | None = None
    ) -> MotionModelOutput:
        """Coefficients of the middle frames.

        Args:
            content: ``(B, T + reach.total, content)``.
            source: ``(B, layout.size)`` joined coefficients of the portrait.
            control: ``(B, T, 24)`` control vectors.
            voice: ``(B, T, 1)`` voice activity; at 0, speech parts no lips. Everywhere 1 by
                default.
        """
        blocks = (source[:, self.layout.slice(block)] for block in ("id", "exp", "tex"))
        source_id, source_exp, source_tex = blocks
        speech, closure_logits, features = self.expnet(content, source_exp)
        if voice is not None:
            speech = speech * (1.0 - (1.0 - voice) * self.parting)
        emotion = self.emonet(control, features, source_id, source_tex)
        exp = self.compose(speech, emotion.exp, torch.sigmoid(closure_logits))
        condition = torch.cat([features, emotion.features, control], dim=-1)
        return MotionModelOutput(
            speech, closure_logits, emotion.exp, exp, emotion.id, emotion.tex, condition
        )

    def compose(self, speech: Tensor, emotion: Tensor, closure: Tensor) -> Tensor:
        """EXP: speech plus emotion, with the lips closed where ``closure`` is likely."""
        return self.close(speech, closure) + self.close(emotion, closure, EMOTION_CLOSURE)

    def close(
        self, exp: Tensor, closure: Tensor, limits: tuple[float, float] = SPEECH_CLOSURE
    ) -> Tensor:
        """Expression with the lip-parting units suppressed between two closure probabilities.

        A mean of open and closed lips is neither, so a likely closure becomes a complete one; no
        gradient reaches ``closure`` here, it has its own loss.
        """
        low, high = limits
        gate = ((closure.detach() - low) / (high - low)).clamp(0.0, 1.0)
        return exp * (1.0 - gate * self.parting)
