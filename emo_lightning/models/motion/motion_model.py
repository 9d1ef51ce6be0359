"""Stage 2's networks together: content, source and control vector to {EXP, ID, TEX} and the condition of {ANGLE, TRANS}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.layers.temporal import Reach
from emo_lightning.models.motion.emonet import EmoNet
from emo_lightning.models.motion.emotion_matrix import CONTROL_SIZE, EmotionMatrix
from emo_lightning.models.motion.expnet import ExpNet
from emo_lightning.models.motion.posenet import PoseNet
from emo_lightning.motion.blinking import BLINKS_PER_MINUTE

LIP_PARTING = ("AU10", "AU16", "AU25", "AU26", "jaw", "funnel")
"""Units that keep the lips apart; they give way where speech closes the mouth."""
SNEER, SNEER_YIELDS = "AU9", 0.4
"""A nose wrinkle lifts the upper lip a little; so much of it gives way that the lips touch, and the nose does not twitch."""
CLOSING = (0.15, 0.4)
"""ExpNet's closure at which the lips start to give way, and from which they touch."""
FEELING_YIELDS = (0.02, 0.25)
"""The same for what a feeling parts: it gives way sooner and more gently, or a dropped jaw would snap at each closure."""
WIRINGS = ("default", "figure")
EXP_CEILING = 1.2


@dataclass
class MotionModelConfig:
    """Sizes and wiring of the heads. Widths are ours."""

    wiring: str = "default"
    """``default``: EmoNet changes EXP too. ``figure``: EmoNet gives ID and TEX alone, ExpNet the whole EXP."""
    exp_width: int = 128
    exp_blocks: int = 2
    emo_width: int = 96
    pose_width: int = 64
    pose_window: int = 56
    """Frames of the windows that PoseNet learns from."""
    pose_latent: int = 16
    """Numbers of PoseNet's latent, one every 4 frames; PoseVAE has 64 for 32 frames."""
    refine_levels: bool = True
    """The emotion matrix is learned; False keeps plain interpolation between the three annotated intensities."""
    blinks_per_minute: float = BLINKS_PER_MINUTE
    """In neutral mood; not learned."""


class MotionModelOutput(NamedTuple):
    """All (B, T, ...): ``speech``, ``closure``, ``emotion`` (change of EXP), ``exp`` composed, ``id``, ``tex``, ``condition``."""

    speech: Tensor
    closure: Tensor
    emotion: Tensor
    exp: Tensor
    id: Tensor
    tex: Tensor
    condition: Tensor


class MotionModel(nn.Module):
    """Emotion matrix, ExpNet, EmoNet and PoseNet, each handing its features on to the next.

    Args:
        config: sizes.
        layout: coefficient layout of the face model.
        content: width of the decoupler's content vector.
        prototypes: ``(8, E)`` where EmoNet's response starts.
    """

    parting: Tensor

    def __init__(
        self, config: MotionModelConfig, layout: Layout, content: int, prototypes: Tensor
    ) -> None:
        super().__init__()
        if config.wiring not in WIRINGS:
            raise ValueError(f"wiring {config.wiring!r} is none of {WIRINGS}")
        self.config, self.layout, self.content_size = config, layout, content
        n_exp = layout.width("exp")
        self.matrix = EmotionMatrix(config.refine_levels)
        self.expnet = ExpNet(content, n_exp, config.exp_width, config.exp_blocks)
        self.emonet = EmoNet(
            layout, config.exp_width, config.emo_width, prototypes, config.wiring == "default"
        )
        condition = config.exp_width + config.emo_width + CONTROL_SIZE
        self.posenet = PoseNet(
            condition, CONTROL_SIZE, config.pose_window, config.pose_latent, config.pose_width
        )
        parting = [
            SNEER_YIELDS if name == SNEER else float(name in LIP_PARTING)
            for name in layout.exp_names
        ] or [0.0] * n_exp
        self.register_buffer("parting", torch.tensor(parting), persistent=False)

    @property
    def reach(self) -> Reach:
        """Frames of content needed before and after a frame."""
        return self.expnet.reach

    def forward(self, content: Tensor, source: Tensor, control: Tensor) -> MotionModelOutput:
        """Coefficients of the middle frames.

        Args:
            content: ``(B, T + reach.total, content)``.
            source: ``(B, layout.size)`` joined coefficients of the portrait.
            control: ``(B, T, 24)`` control vectors.
        """
        source_id, source_exp, source_tex = (
            source[:, self.layout.slice(block)] for block in ("id", "exp", "tex")
        )
        said = self.expnet(content, source_exp)
        felt = self.emonet(control, said.features, source_id, source_tex)
        exp = self.compose(said.speech, felt.exp, said.closure)
        condition = torch.cat([said.features, felt.features, control], dim=-1)
        return MotionModelOutput(
            said.speech, said.closure, felt.exp, exp, felt.id, felt.tex, condition
        )

    def compose(self, speech: Tensor, emotion: Tensor, closure: Tensor) -> Tensor:
        """EXP: speech plus the emotion, closed where speech closes the mouth."""
        return self.close(speech, closure) + self.close(emotion, closure, FEELING_YIELDS)

    def close(self, exp: Tensor, closure: Tensor, between: tuple[float, float] = CLOSING) -> Tensor:
        """The expression with the units that part the lips held back where the mouth must close.

        A mean of open and closed lips is neither, so a likely closure is made a whole one; ``closure`` itself is learned apart.
        """
        low, high = between
        gate = ((closure.detach() - low) / (high - low)).clamp(0.0, 1.0)
        return exp * (1.0 - gate * self.parting)
