"""Stage 2: ExpNet, EmoNet, PoseNet and the emotion matrix, on the frozen decoupler.

Batch (B windows of T frames): stage 1's, and ``id``, ``tex``, ``angle``, ``trans`` (B, T, n),
``source`` (B, layout.size).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from omegaconf import MISSING
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, Layout
from emo_lightning.losses.lips import (
    brief_closures,
    closure_loss,
    lip_correlation,
    lip_distance,
    lip_table,
)
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
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.layers.temporal import repeat_edges
from emo_lightning.models.motion.emotion_matrix import LEVELS, prototype_table
from emo_lightning.models.motion.motion_model import (
    WIRINGS,
    MotionModel,
    MotionModelConfig,
    MotionModelOutput,
)
from emo_lightning.models.motion.posenet import SMOOTH, STEP, posture_covariance
from emo_lightning.training.augmentation.spectrogram import NOISE_SIZE, augment
from emo_lightning.training.base import Batch, Noise, StageModule, as_config, as_context, sizes_of
from emo_lightning.training.config import Rule, RunConfig, number, one_of
from emo_lightning.training.decoupler import LEVEL_CHOICES, noisy

LIDS = ("AU45_L", "AU45_R")
SAMPLES = 4
"""Motion samples per window, from which the spectrum and mean losses are estimated."""
POSE_PARTS = ("pose", "kl", "spectrum", "beat", "posture", "bearing")


@dataclass
class Stage2Model(MotionModelConfig):
    """Sizes of the motion model, and the learning rate."""

    lr: float = 1e-3
    """Highest learning rate."""


@dataclass
class Stage2Loss:
    """Weights of the losses, ours; 0 removes one."""

    exp: float = 10.0
    """Regression of the composed expression."""
    exp_velocity: float = 5.0
    """Regression of its frame-to-frame differences."""
    speech: float = 5.0
    """Articulation regression on ExpNet alone (default wiring)."""
    amplitude: float = 1.0
    """Standard deviation of the articulation; trains the mouth's gain only."""
    lips: float = 5.0
    """Opening and width of the lips, whatever units they consist of."""
    correlation: float = 0.0
    """Correlation over time of lip opening and width, whatever their amplitude."""
    closure: float = 3.0
    """Classification of brief lip closures (p, b, m)."""
    identity: float = 1.0
    """Regression of ID."""
    texture: float = 1.0
    """Regression of TEX."""
    levels_even: float = 0.05
    """Monotone, evenly spaced response of the emotion matrix."""
    pose: float = 1.0
    """Reconstruction of quick head movements (PoseVAE)."""
    kl: float = 0.05
    """KL divergence, a mean over the latent; PoseVAE has 1 on a sum over its own scale."""
    spectrum: float = 0.3
    """Spectrum of sampled motion, in place of PoseVAE's adversary."""
    beat: float = 1.0
    """Motion that the voice determines is in every sample."""
    posture: float = 0.1
    """Likelihood of posture under its random walk."""
    bearing: float = 0.1
    """Mean pose of an emotion."""


@dataclass
class Stage2Recipe:
    """Training options that are not weights."""

    emotion_as_identity: bool = True
    """Figure wiring: the target of ID looks like the emotion; false: ID as fitted."""
    augment: bool = True
    """Spectrogram augmentation: other voices, microphones and rooms."""
    content_noise: float = 0.5
    """Gaussian noise on content (std relative to its own), for unseen voices."""
    levels: str = "fine"
    """fine: use the fine level labels; annotated: the three intensities only."""


@dataclass
class Stage2Run(RunConfig):
    """A run of stage 2."""

    rules: ClassVar[Mapping[str, Rule]] = {
        "model.*": number(1),
        "model.wiring": one_of(*WIRINGS),
        "model.exp_blocks": number(0),
        "model.blinks_per_minute": number(0),
        "recipe.content_noise": number(0),
        "recipe.levels": LEVEL_CHOICES,
    }

    decoupler: str = MISSING
    """Stage 1's network: decoupler.safetensors or a checkpoint."""
    model: Stage2Model = field(default_factory=Stage2Model)
    loss: Stage2Loss = field(default_factory=Stage2Loss)
    recipe: Stage2Recipe = field(default_factory=Stage2Recipe)

    def check(self) -> None:
        super().check()
        if self.loader.frames < self.model.pose_window:
            accepted = f"at least model.pose_window, {self.model.pose_window}"
            raise UserError("loader.frames", self.loader.frames, accepted)


class Stage2Output(NamedTuple):
    """The motion model's output, and the targets of EXP and ID, ``(B, T, E)`` and ``(B, T, I)``."""

    motion: MotionModelOutput
    exp: Tensor
    identity: Tensor


class MotionModule(StageModule):
    """Trains :class:`MotionModel`.

    Args:
        decoupler: stage 1's network, which is frozen; or its configuration, when its weights
            follow by ``load_state_dict``.
    """

    number, product, network_name, monitor = 2, "heads", "heads", "val/score"
    prototypes: Tensor
    voiced: Tensor
    lip_table: Tensor
    lookalike: Tensor | None

    def __init__(
        self,
        model: Any,
        loss: Any,
        recipe: Any,
        optim: Any,
        context: Any,
        decoupler: AudioDecoupler | Mapping[str, Any],
    ) -> None:
        model, recipe = as_config(Stage2Model, model), as_config(Stage2Recipe, recipe)
        super().__init__(model, as_config(Stage2Loss, loss), recipe, optim, as_context(context))
        if isinstance(decoupler, Mapping):
            decoupler = AudioDecoupler(DecouplerConfig(**decoupler))
        self.save_hyperparameters({**self.hparams, "decoupler": asdict(decoupler.config)})
        self.decoupler = decoupler.requires_grad_(False).eval()
        self.needs_whisper = decoupler.config.front_end == "whisper"
        layout = self.context.layout
        prototypes, sizes = prototype_table(layout), sizes_of(MotionModelConfig, model)
        self.heads = MotionModel(sizes, layout, decoupler.config.content, prototypes)
        names = layout.exp_names or ("",) * layout.width("exp")
        # Blinks do not follow the voice and are generated elsewhere: no loss on them.
        voiced = torch.tensor([float(name not in LIDS) for name in names])
        figure = model.wiring == "figure" and recipe.emotion_as_identity
        self.register_buffer("lookalike", lookalike(layout) if figure else None, persistent=False)
        self.register_buffer("voiced", voiced, persistent=False)
        self.register_buffer("prototypes", prototypes, persistent=False)
        self.register_buffer("lip_table", lip_table(layout), persistent=False)

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "content": self.decoupler.config.content}

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.decoupler.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        params = list(self.heads.parameters())
        return [{"name": "heads", "params": params, "lr": self.model_config.lr, "start": 0}]

    def compiled_networks(self) -> list[nn.Module]:
        return [self.heads, self.decoupler]

    def forward(
        self, sound: Tensor, source: Tensor, emotion: Tensor, level: Tensor
    ) -> MotionModelOutput:
        """Motion of whole clips: audio features, source ``(B, C)``, emotion and level ``(B,)``."""
        return self.predict_motion(self.decoupler(sound).content, source, emotion, level)

    def predict_motion(
        self, content: Tensor, source: Tensor, emotion: Tensor, level: Tensor
    ) -> MotionModelOutput:
        """Motion from content ``(B, T, content)``, constant emotion and level."""
        control = self.heads.matrix(emotion, level)[:, None].expand(-1, content.shape[1], -1)
        return self.heads(repeat_edges(content, self.heads.reach), source, control)

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Predicted EXP, ID and TEX of a batch, ``(B, T, n)``."""
        sound = batch[self.decoupler.front_end.key]
        out = self(sound, batch["source"], batch["emotion"], self.levels(batch))
        return {"exp": out.exp, "id": out.id, "tex": out.tex}

    def levels(self, batch: Batch) -> Tensor:
        """Level label of every clip, ``(B,)``."""
        labels = batch["level"], batch["intensity"], batch["emotion"]
        return known_levels(*labels, self.recipe.levels == "fine")

    @property
    def context_frames(self) -> int:
        """Frames of a window that are masked, since their receptive field leaves it."""
        return (self.decoupler.local_reach + self.heads.reach).total

    def mask(self, batch: Batch) -> Tensor:
        """Frames whose receptive field lies within their own clip, ``(B, T)``."""
        reach = self.decoupler.local_reach + self.heads.reach
        return away_from_edges(batch["mask"], reach.past, reach.future)

    def losses(self, batch: Batch, noise: Noise) -> tuple[dict[str, Tensor], Stage2Output]:
        source = batch["source"]
        if self.training and self.recipe.augment:
            batch = {**batch, "mel": augment(batch["mel"], noise(len(batch["mel"]), NOISE_SIZE))}
        content = self.decoupler(batch[self.decoupler.front_end.key]).content
        if self.training:
            content = noisy(content, self.recipe.content_noise, noise)
            source = self.mix_sources(source, noise(len(source)))
        level, mask = self.levels(batch), self.mask(batch)
        out = self.predict_motion(content, source, batch["emotion"], level)
        speech = articulation(batch["exp"], batch["emotion"], level, self.prototypes)
        exp, identity = self.targets(batch, speech)
        alone = speech if self.heads.emonet.exp_delta else exp
        parts = {
            "exp": smooth_l1(out.exp, exp, mask, weights=self.voiced),
            "exp_velocity": velocity(out.exp * self.voiced, exp * self.voiced, mask),
            "identity": masked_mean((out.id - identity).abs(), mask),
            "texture": masked_mean((out.tex - batch["tex"]).abs(), mask),
            "levels_even": self.evenness(),
            **self.speech_losses(out, alone, mask),
            **self.lip_losses(out, exp, batch["phone"], mask),
            **self.pose_losses(batch, out.condition, noise),
        }
        return parts, Stage2Output(out, exp, identity)

    def validation_metrics(
        self, batch: Batch, parts: dict[str, Tensor], output: Stage2Output
    ) -> dict[str, Tensor]:
        """Expression and lip errors, and the score: both, relative to the size of the target."""
        mask, out = self.mask(batch), output.motion
        exp = masked_mean((out.exp - output.exp).abs() * self.voiced, mask)
        wanted = output.exp @ self.lip_table
        lips = lip_distance(out.exp @ self.lip_table, wanted, mask)
        exp_scale = masked_mean(output.exp.abs() * self.voiced, mask).clamp_min(1e-3)
        lip_scale = lip_distance(torch.zeros_like(wanted), wanted, mask).clamp_min(1e-3)
        return {
            "exp_error": exp,
            "lip_error": lips,
            "score": exp / exp_scale + lips / lip_scale,
        }

    def targets(self, batch: Batch, speech: Tensor) -> tuple[Tensor, Tensor]:
        """Targets of EXP and ID, ``(B, T, E)`` and ``(B, T, I)``.

        ID is fitted once per clip and a source frame has its clip's ID: as fitted, it holds nothing
        about emotion.
        """
        if self.lookalike is None:
            return batch["exp"], batch["id"]
        return speech, batch["id"] + (batch["exp"] - speech) @ self.lookalike.T

    def mix_sources(self, source: Tensor, noise: Tensor) -> Tensor:
        """Sources, about half with another clip's expression, which then cannot leak emotion."""
        exp = self.context.layout.slice("exp")
        mixed = source.clone()
        other = source.roll(1, dims=0)[:, exp]
        mixed[:, exp] = torch.where((noise < 0.0)[:, None], other, source[:, exp])
        return mixed

    def evenness(self) -> Tensor:
        """Penalty on the emotion matrix' response; its refinement where EmoNet leaves EXP alone."""
        if not self.heads.emonet.exp_delta:
            return self.heads.matrix.refinement.square().mean()
        count = len(self.prototypes)
        emotions = torch.arange(count, device=self.device)[:, None].expand(-1, LEVELS)
        levels = torch.arange(1.0, LEVELS + 1, device=self.device).expand(count, -1)
        response = self.heads.matrix(emotions, levels) @ self.heads.emonet.response
        return even_response(response, self.prototypes)

    def speech_losses(
        self, out: MotionModelOutput, speech: Tensor, mask: Tensor
    ) -> dict[str, Tensor]:
        """ExpNet's own losses; the amplitude is fitted to the spread with all else constant."""
        gain = self.heads.expnet.amplitude
        shape = self.heads.close(out.speech / gain, out.closure).detach()
        closed = self.heads.close(out.speech, out.closure)
        return {
            "speech": smooth_l1(closed, speech, mask, weights=self.voiced),
            "amplitude": spread(shape * gain * self.voiced, speech * self.voiced, mask),
        }

    def lip_losses(
        self, out: MotionModelOutput, exp: Tensor, phone: Tensor, mask: Tensor
    ) -> dict[str, Tensor]:
        """Losses on lip movement and brief closures.

        A tracker seldom sees lips quite touch, so closures count where phones are known, that is
        where the face is ground truth.
        """
        wanted = exp @ self.lip_table
        closures = brief_closures(wanted[..., 0], mask)
        return {
            "lips": lip_distance(out.exp @ self.lip_table, wanted, mask),
            "correlation": lip_correlation(out.exp @ self.lip_table, wanted, mask),
            "closure": closure_loss(out.closure_logits, closures, mask & (phone >= 0)),
        }

    def pose_losses(self, batch: Batch, condition: Tensor, noise: Noise) -> dict[str, Tensor]:
        """PoseNet's losses on the first window of every clip that is long enough."""
        net = self.heads.posenet
        if not any(getattr(self.loss, part) for part in POSE_PARTS):
            # PoseNet is trained separately; distributed training needs every parameter's gradient.
            nothing = 0.0 * torch.stack([weight.sum() for weight in net.parameters()]).sum()
            return dict.fromkeys(POSE_PARTS, nothing)
        window = slice(0, net.window)
        rows, found = valid_rows(batch["mask"][:, window].all(dim=1))
        pose = net.to_units(batch["angle"][:, window], batch["trans"][:, window])[rows]
        given = condition[:, window].detach()[rows]
        slow, quick = net.split_paces(pose)
        # The decoder starts after its receptive field, the filter omits both ends: compare the
        # rest.
        quick = quick[:, net.reach.past - SMOOTH :]
        common = slice(0, net.window - SMOOTH - net.reach.past)
        shape = (net.window // STEP + 1, net.latent)
        made = net(pose, given, noise(len(pose), *shape))
        sampled = net.decode(noise(SAMPLES * len(pose), *shape), given.repeat(SAMPLES, 1, 1))
        sampled = sampled.unflatten(0, (SAMPLES, len(pose)))[:, :, common]
        control, lag = given[:, :, -net.control :].mean(dim=1), slow.shape[1] - 1
        variance = 2.0 * (posture_covariance(0) - posture_covariance(lag)) / posture_covariance(0)
        parts = {
            "pose": F.smooth_l1_loss(made.quick[:, common], quick),
            "kl": kl_divergence(made.mean, made.log_variance),
            "spectrum": spectrum_distance(sampled, quick),
            "beat": mean_distance(sampled, quick),
            "posture": walk_likelihood(
                slow[:, -1] - slow[:, 0], net.posture_root(control), variance
            ),
            "bearing": bearing_distance(net.bearing(control), pose.mean(dim=1)),
        }
        return {name: part * found for name, part in parts.items()}


def valid_rows(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Indices ``(B,)`` of valid rows, repeated in turn to fill B, and whether there is any.

    Indexing by the mask would wait for the device.
    """
    order = torch.argsort(~valid, stable=True)
    count = valid.sum().clamp_min(1)
    return order[torch.arange(len(valid), device=valid.device) % count], valid.any()


def lookalike(layout: Layout) -> Tensor | None:
    """Identity ``(I, E)`` that looks most like an expression; None for other face models."""
    if layout.name != BUILTIN.name:
        return None
    return torch.from_numpy(BuiltinFaceModel.load().lookalike())
