"""Stage 2: ExpNet, EmoNet, PoseNet and the emotion matrix, on the frozen decoupler.

Batch (B windows of T frames): stage 1's, and ``id``, ``tex``, ``angle``, ``trans`` (B, T, n), ``source`` (B, layout.size).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.losses.lips import brief_closures, closure_loss, lip_distance, lip_table
from emo_lightning.losses.masked import (
    articulation,
    away_from_edges,
    known_levels,
    masked_mean,
    smooth_l1,
    spread,
    velocity,
)
from emo_lightning.losses.motion import (
    bearing_distance,
    even_response,
    kl_divergence,
    mean_distance,
    spectrum_distance,
    walk_likelihood,
)
from emo_lightning.models.decoupler.decoupler import AudioDecoupler
from emo_lightning.models.layers.temporal import repeat_edges
from emo_lightning.models.motion.emotion_matrix import LEVELS, prototype_table
from emo_lightning.models.motion.motion_model import (
    MotionModel,
    MotionModelConfig,
    MotionModelOutput,
)
from emo_lightning.models.motion.posenet import SMOOTH, STEP, posture_covariance
from emo_lightning.training.augmentation.spectrogram import DRAWS, augment
from emo_lightning.training.base import OptimConfig, StageModule, TrainingContext, weighted_sum

LIDS = ("AU45_L", "AU45_R")
DRAWN = 4
"""Draws of motion for each window, from which its spectrum and mean are told."""
POSE_PARTS = ("pose", "kl", "spectrum", "beat", "posture", "bearing")


@dataclass
class Stage2Model(MotionModelConfig):
    """The heads' sizes and the learning rate."""

    lr: float = 1e-3


@dataclass
class Stage2Loss:
    """Weights; ours where no source is named."""

    exp: float = 10.0
    """The composed expression."""
    exp_velocity: float = 5.0
    speech: float = 5.0
    """ExpNet alone gives the articulation (default wiring)."""
    amplitude: float = 1.0
    """Fits the mouth's gain; touches nothing else."""
    lips: float = 5.0
    """Opening and width of the lips as such, however units make them up; 0 leaves it out, as an ablation does."""
    closure: float = 3.0
    """ExpNet tells brief closures of the lips, those of p, b and m."""
    identity: float = 1.0
    texture: float = 1.0
    emotion_as_identity: bool = True
    """In the figure's wiring, ID is to look like what the feeling does to the face, which ExpNet cannot know; False: ID as fitted."""
    levels_even: float = 0.05
    """Monotone, evenly spaced response of the emotion matrix."""
    pose: float = 1.0
    """Reconstruction of the quick movements (PoseVAE)."""
    kl: float = 0.05
    """PoseVAE has 1 on a sum over its own scale; a mean over the latent needs less, or the latent dies."""
    spectrum: float = 0.3
    """Drawn motion has real motion's spectrum, in place of PoseVAE's adversary."""
    beat: float = 1.0
    """What the voice tells of the motion is in every draw."""
    posture: float = 0.1
    bearing: float = 0.1
    augment: bool = True
    """Train on sound changed as other voices, microphones and rooms would."""
    noise: float = 0.5
    """Of content in training, in its standard deviations: a voice never heard says the same thing a little differently."""
    levels: str = "fine"
    """``fine`` uses fine labels, ``annotated`` the three intensities alone."""


class MotionModule(StageModule):
    """Trains :class:`MotionModel`; the decoupler is frozen and not part of its checkpoints' product."""

    number, product = 2, "heads"
    prototypes: Tensor
    voiced: Tensor
    lip_table: Tensor
    lookalike: Tensor | None

    def __init__(self, model: Stage2Model, loss: Stage2Loss, optim: OptimConfig, context: TrainingContext, decoupler: AudioDecoupler,
                 lookalike: Tensor | None = None) -> None:  # fmt: skip
        """``lookalike`` (I, E) gives the identity that looks most like an expression, None where the face model cannot say."""
        super().__init__(model, loss, optim, context)
        self.loss = loss
        self.decoupler = decoupler.requires_grad_(False).eval()
        self.taught = decoupler.config.front_end == "whisper"
        layout = context.layout
        prototypes = prototype_table(layout)
        sizes = {f.name: getattr(model, f.name) for f in fields(MotionModelConfig)}
        self.heads = self.trained = MotionModel(
            MotionModelConfig(**sizes), layout, decoupler.config.content, prototypes
        )
        self.register_buffer("prototypes", prototypes, persistent=False)
        # Blinks do not follow the voice; they are made apart, so the expression is not judged by them.
        voiced = [float(name not in LIDS) for name in layout.exp_names] or [1.0] * layout.width(
            "exp"
        )
        self.register_buffer("voiced", torch.tensor(voiced), persistent=False)
        wanted = model.wiring == "figure" and loss.emotion_as_identity
        self.register_buffer("lookalike", lookalike if wanted else None, persistent=False)
        self.register_buffer("lip_table", lip_table(layout), persistent=False)

    def meta(self) -> dict[str, Any]:
        sizes = {f.name for f in fields(MotionModelConfig)}
        model = {k: v for k, v in asdict(self.model_config).items() if k in sizes}
        return {**super().meta(), "model": model, "content": self.decoupler.config.content}

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.decoupler.eval()
        return self

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.loss.augment:
            batch = {**batch, "mel": augment(batch["mel"], self.draw(len(batch["mel"]), DRAWS))}
        parts, _ = self.parts(batch, shuffle=True)
        total = self.total(parts)
        self.note("train", {"loss": total, **parts}, len(batch["mel"]))
        return total

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        parts, out = self.parts(batch, shuffle=False)
        error = masked_mean((out.exp - batch["exp"]).abs() * self.voiced, self.mask(batch))
        self.note(
            "val", {"loss": self.total(parts), **parts, "exp_error": error}, len(batch["mel"])
        )

    def mask(self, batch: dict[str, Tensor]) -> Tensor:
        """Frames that saw sound of their own clip alone, ``(B, T)``."""
        reach = self.decoupler.local_reach + self.heads.reach
        return away_from_edges(batch["mask"], reach.past, reach.future)

    def parts(
        self, batch: dict[str, Tensor], shuffle: bool
    ) -> tuple[dict[str, Tensor], MotionModelOutput]:
        """Every part of the loss, unweighted, and the heads' output."""
        frames = batch["mask"].shape[1]
        level = known_levels(
            batch["level"], batch["intensity"], batch["emotion"], self.loss.levels == "fine"
        )
        control = self.heads.matrix(batch["emotion"], level)[:, None].expand(-1, frames, -1)
        content = repeat_edges(
            self.blurred(self.decoupler(batch[self.decoupler.front_end.key]).content),
            self.heads.reach,
        )
        source = self._shuffled(batch["source"]) if shuffle else batch["source"]
        out: MotionModelOutput = self.heads(content, source, control)
        mask = self.mask(batch)
        said = articulation(batch["exp"], batch["emotion"], level, self.prototypes)
        exp, identity = self.goals(batch, said)
        parts = {
            "exp": smooth_l1(out.exp, exp, mask, weights=self.voiced),
            "exp_velocity": velocity(out.exp * self.voiced, exp * self.voiced, mask),
            "identity": masked_mean((out.id - identity).abs(), mask),
            "texture": masked_mean((out.tex - batch["tex"]).abs(), mask),
            "levels_even": self.evenness(),
            **self._speech(out, said if self.heads.emonet.exp_delta else exp, mask),
            **self._lips(out, {**batch, "exp": exp}, mask),
            **self._pose(batch, out.condition),
        }
        return parts, out

    def goals(self, batch: dict[str, Tensor], said: Tensor) -> tuple[Tensor, Tensor]:
        """EXP and ID to reach, ``(B, T, E)`` and ``(B, T, I)``.

        ID is fitted once a clip and a source frame has its clip's, so ID as fitted teaches EmoNet nothing of feeling.
        """
        if self.lookalike is None:
            return batch["exp"], batch["id"]
        return said, batch["id"] + (batch["exp"] - said) @ self.lookalike.T

    def blurred(self, content: Tensor) -> Tensor:
        """Content with noise in training."""
        if not (self.training and self.loss.noise):
            return content
        return content + self.loss.noise * content.std(dim=(0, 1)) * self.draw(*content.shape)

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """The weighted sum."""
        return weighted_sum(parts, asdict(self.loss))

    def evenness(self) -> Tensor:
        """Penalty on the emotion matrix' response; 0 where EmoNet leaves EXP alone."""
        if not self.heads.emonet.exp_delta:
            return self.heads.matrix.refinement.square().mean()
        emotions = torch.arange(len(self.prototypes), device=self.device)[:, None].expand(
            -1, LEVELS
        )
        levels = torch.arange(1.0, LEVELS + 1, device=self.device).expand(len(self.prototypes), -1)
        return even_response(
            self.heads.matrix(emotions, levels) @ self.heads.emonet.response, self.prototypes
        )

    def configure_optimizers(self) -> dict[str, Any]:
        return self.adamw(self.heads.parameters(), self.model_config.lr)

    def _shuffled(self, source: Tensor) -> Tensor:
        """Sources, about half with the expression of another clip, so that feeling is not read off it. Ours."""
        swap = self.draw(len(source)) < 0.0
        exp = self.context.layout.slice("exp")
        mixed = source.clone()
        mixed[:, exp] = torch.where(swap[:, None], source.roll(1, dims=0)[:, exp], source[:, exp])
        return mixed

    def _speech(self, out: MotionModelOutput, said: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """ExpNet's own losses; the amplitude is fitted to the spread, all else held."""
        gain = self.heads.expnet.amplitude
        shape = self.heads.close(out.speech / gain, out.closure).detach()
        return {
            "speech": smooth_l1(
                self.heads.close(out.speech, out.closure), said, mask, weights=self.voiced
            ),
            "amplitude": spread(shape * gain * self.voiced, said * self.voiced, mask),
        }

    def _lips(
        self, out: MotionModelOutput, batch: dict[str, Tensor], mask: Tensor
    ) -> dict[str, Tensor]:
        """The lips' own losses: they open and widen as they should, and their brief closures are told.

        A tracker seldom sees lips quite touch, so closures are learned where the phones are known and the face is the truth.
        """
        wanted = batch["exp"] @ self.lip_table
        known = mask & (batch["phone"] >= 0)
        return {
            "lips": lip_distance(out.exp @ self.lip_table, wanted, mask),
            "closure": closure_loss(
                out.closure_logits, brief_closures(wanted[..., 0], mask), known
            ),
        }

    def _pose(self, batch: dict[str, Tensor], condition: Tensor) -> dict[str, Tensor]:
        """PoseNet on the first window of every clip that is long enough: the quick movements' VAE, posture and bearing."""
        net = self.heads.posenet
        if batch["mask"].shape[1] < net.window:
            raise ValueError(
                f"windows of {batch['mask'].shape[1]} frames are shorter than PoseNet's {net.window}"
            )
        part = slice(0, net.window)
        pick = batch["mask"][:, part].all(dim=1)
        if not bool(pick.any()):
            # Nothing to learn from, but every process must see every weight.
            nothing = torch.stack([weights.sum() for weights in net.parameters()]).sum() * 0.0
            return dict.fromkeys(POSE_PARTS, nothing)
        pose = net.to_units(batch["angle"][:, part], batch["trans"][:, part])[pick]
        given = condition[:, part].detach()[pick]
        slow, quick = net.split_paces(pose)
        # The decoder starts after its reach, the filter leaves both ends out: what both give is compared.
        quick, seen = (
            quick[:, net.reach.past - SMOOTH :],
            slice(0, net.window - SMOOTH - net.reach.past),
        )
        shape = (net.window // STEP + 1, net.latent)
        made = net(pose, given, self.draw(len(pose), *shape))
        noise = self.draw(DRAWN * len(pose), *shape)
        drawn = net.decode(noise, given.repeat(DRAWN, 1, 1)).unflatten(0, (DRAWN, len(pose)))[
            :, :, seen
        ]
        control = given[:, :, -net.control :].mean(dim=1)
        lag = slow.shape[1] - 1
        walked = 2.0 * (posture_covariance(0) - posture_covariance(lag)) / posture_covariance(0)
        return {
            "pose": F.smooth_l1_loss(made.quick[:, seen], quick),
            "kl": kl_divergence(made.mean, made.log_variance),
            "spectrum": spectrum_distance(drawn, quick),
            "beat": mean_distance(drawn, quick),
            "posture": walk_likelihood(slow[:, -1] - slow[:, 0], net.posture_root(control), walked),
            "bearing": bearing_distance(net.bearing(control), pose.mean(dim=1)),
        }
