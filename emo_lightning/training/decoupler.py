"""Stage 1: the audio decoupler, trained by the figure's AU contrast and by speech read-outs of
content.

Batch (B windows of T frames): ``mel`` (B, 4T, 80), ``au`` (B, T, 17), ``exp`` (B, T, E),
``emotion``, ``level``, ``intensity`` (B,), ``mask`` (B, T) bool, ``phone`` (B, T), 0 for silence
and -1 where unknown; ``whisper`` (B, 2T, 384) where it is the front end or the teacher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.core.errors import UserError
from emo_lightning.losses.contrastive import au_contrast, emotion_units
from emo_lightning.losses.distillation import FeatureDistillation
from emo_lightning.losses.domain_adversarial import LabelProbes, ramp, reverse_gradient
from emo_lightning.losses.lips import lip_correlation, lip_distance, lip_table
from emo_lightning.losses.masked import (
    articulation,
    away_from_edges,
    known_levels,
    masked_mean,
    smooth_l1,
    velocity,
)
from emo_lightning.models.decoupler.audio_frontend import FRONTENDS
from emo_lightning.models.decoupler.decoupler import (
    AudioDecoupler,
    DecouplerConfig,
    DecouplerOutput,
)
from emo_lightning.models.motion.emotion_matrix import prototype_table
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL
from emo_lightning.training.augmentation.spectrogram import NOISE_SIZE, augment
from emo_lightning.training.base import Batch, Noise, StageModule, as_config, as_context, sizes_of
from emo_lightning.training.config import Rule, RunConfig, number, one_of


@dataclass
class Stage1Model(DecouplerConfig):
    """Sizes of the decoupler, and the learning rate."""

    lr: float = 1e-3
    """Highest learning rate."""


@dataclass
class Stage1Loss:
    """Weights of the losses; 0 removes one. ``contrast`` is the figure's, the rest is ours."""

    contrast: float = 1.0
    """AU contrast: AUs from LOW positive, from HIGH negative, against the video's."""
    au: float = 1.0
    """AU regression on LOW; the contrast alone leaves the scale open."""
    speech: float = 10.0
    """Articulation regression on content."""
    speech_velocity: float = 5.0
    """Regression of the articulation's frame-to-frame differences."""
    lips: float = 0.0
    """Regression of lip opening and width on content, whatever units they consist of."""
    correlation: float = 0.0
    """Correlation over time of lip opening and width, predicted from content."""
    phone: float = 0.5
    """Phone classification on content (39 phones and silence), where labels exist."""
    emotion_classification: float = 0.5
    """Emotion and intensity classification on LOW; the contrast alone does not enforce it."""
    adversary: float = 1.0
    """Strength of the reversed gradient of emotion probes on content; at 0 they only watch."""
    distil: float = 0.0
    """Distillation of Whisper's features into HIGH; the teacher gets audio without augmentation."""


@dataclass
class Stage1Recipe:
    """Training options that are not weights."""

    augment: bool = True
    """Spectrogram augmentation: other voices, microphones and rooms."""
    content_noise: float = 0.5
    """Gaussian noise on content (std relative to its own): an information bottleneck."""
    temperature: float = 0.05
    """Temperature of the AU contrast."""
    levels: str = "fine"
    """fine: use the fine level labels; annotated: the three intensities only."""


LEVEL_CHOICES = one_of("fine", "annotated")
TEACHER = FRONTENDS["whisper"]
LEACE_STEPS, LEACE_SOLVE = 4, 20
"""Batches between two updates of LEACE's moments, and between two solutions."""
PHONES, INTENSITIES = 40, 4
"""Classes of the phone read-out (silence first) and of the intensity read-out (neutral first)."""
SPOKEN_UNITS = ("AU16", "AU25", "AU26", "jaw", "pucker", "funnel", "press", "tuck")
SHARED_UNITS = ("AU10", "AU12_L", "AU12_R", "AU17", "AU20")
"""Units of the mouth that speech alone moves, and those that emotion moves too: of the latter only
the velocity counts, because their level would leak emotion into content."""


@dataclass
class Stage1Run(RunConfig):
    """A run of stage 1."""

    rules: ClassVar[Mapping[str, Rule]] = {
        "model.*": number(1),
        "model.window": number(1),
        "model.look_ahead": number(0),
        "model.front_end": one_of(*FRONTENDS),
        "model.mid_blocks": number(0),
        "model.high_blocks": number(0),
        "model.causal_norm_frames": number(0),
        "recipe.content_noise": number(0),
        "recipe.temperature": number(0, above=True),
        "recipe.levels": LEVEL_CHOICES,
    }

    model: Stage1Model = field(default_factory=Stage1Model)
    loss: Stage1Loss = field(default_factory=Stage1Loss)
    recipe: Stage1Recipe = field(default_factory=Stage1Recipe)

    def check(self) -> None:
        super().check()
        window, ahead = self.model.window, self.model.look_ahead
        if window <= ahead:
            raise UserError("model.window", window, f"more than model.look_ahead, {ahead}")


class Stage1Output(NamedTuple):
    """The decoupler's output, and the articulation predicted from content and its target (B, T,
    E)."""

    features: DecouplerOutput
    predicted: Tensor
    target: Tensor


class DecouplerModule(StageModule):
    """Trains :class:`AudioDecoupler`, with read-outs of speech and emotion."""

    number, product, network_name, monitor = 1, "decoupler", "decoupler", "val/score"
    units: Tensor
    prototypes: Tensor
    spoken: Tensor
    moved: Tensor
    lip_table: Tensor

    def __init__(self, model: Any, loss: Any, recipe: Any, optim: Any, context: Any) -> None:
        model, loss = as_config(Stage1Model, model), as_config(Stage1Loss, loss)
        super().__init__(model, loss, as_config(Stage1Recipe, recipe), optim, as_context(context))
        layout = self.context.layout
        self.decoupler = AudioDecoupler(sizes_of(DecouplerConfig, model))
        self.needs_whisper = loss.distil > 0 or self.decoupler.front_end == TEACHER
        self.distillation = FeatureDistillation(model.width) if loss.distil > 0 else None
        self.speech_readout = nn.Linear(model.content, layout.width("exp"))
        self.phone_readout = nn.Linear(model.content, PHONES)
        self.content_probes = LabelProbes(model.content, len(EMOTIONS))
        self.low_probes = LabelProbes(model.width, len(EMOTIONS))
        self.intensity_probes = LabelProbes(model.width, INTENSITIES)
        names = layout.exp_names or SPOKEN_UNITS[:1] * layout.width("exp")
        spoken = torch.tensor([float(name in SPOKEN_UNITS) for name in names])
        moved = torch.tensor([float(name in SPOKEN_UNITS + SHARED_UNITS) for name in names])
        self.register_buffer("spoken", spoken, persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        self.register_buffer("lip_table", lip_table(layout), persistent=False)
        self.register_buffer("units", emotion_units(), persistent=False)
        self.register_buffer("prototypes", prototype_table(layout), persistent=False)

    def forward(self, mel: Tensor) -> DecouplerOutput:
        """Features per video frame of whole clips, ``(B, 4T, 80)`` or ``(B, 2T, 384)``."""
        return self.decoupler(mel)

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Content and AUs of a batch."""
        out = self(batch[self.decoupler.front_end.key])
        return {"content": out.content, "au_low": out.au_low, "au_high": out.au_high}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        leace = self.decoupler.leace
        if leace is not None and batch_idx % LEACE_STEPS == 0:
            leace.add_moments(self.reduce_sum(self.leace_moments(batch)))
            if batch_idx % LEACE_SOLVE == LEACE_SOLVE - LEACE_STEPS:
                leace.solve()
        return super().training_step(batch, batch_idx)

    @torch.no_grad()
    def leace_moments(self, batch: Batch) -> Tensor:
        """LEACE's sums over frames of speech, of audio without augmentation.

        Only where phones are known, if any are: a second corpus without emotion labels must not
        link neutral to its rooms.
        """
        assert self.decoupler.leace is not None
        labelled = (batch["phone"] >= 0).any()
        mask = self.mask(batch) & ((batch["phone"] > 0) | ~labelled)
        content = self.decoupler(batch[self.decoupler.front_end.key]).content
        labels = batch["emotion"][:, None].expand_as(mask)
        return self.decoupler.leace.batch_moments(content, labels, mask)

    def reduce_sum(self, value: Tensor) -> Tensor:
        """Sum over the processes that train together."""
        return self.trainer.strategy.reduce(value, reduce_op="sum") if self.is_attached else value

    def losses(self, batch: Batch, noise: Noise) -> tuple[dict[str, Tensor], Stage1Output]:
        if self.training and self.recipe.augment:
            batch = {**batch, "mel": augment(batch["mel"], noise(len(batch["mel"]), NOISE_SIZE))}
        out: DecouplerOutput = self(batch[self.decoupler.front_end.key])
        mask, emotion, intensity = self.mask(batch), batch["emotion"], batch["intensity"]
        level = known_levels(batch["level"], intensity, emotion, self.recipe.levels == "fine")
        target = articulation(batch["exp"], emotion, level, self.prototypes)
        # Both before and after disentanglement: losses on one alone do not serve the other.
        raw = noisy(out.content, self.recipe.content_noise, noise) if self.training else out.content
        clean = self.decoupler.disentangle(raw) if self.training else raw
        predicted = self.speech_readout(clean)
        strength = self.loss.adversary * ramp(self.progress())
        grade = intensity.clamp_min(0).where(emotion != NEUTRAL, 0)
        graded = mask & ((intensity > 0) | (emotion == NEUTRAL))[:, None]
        phones = self.phone_readout(torch.cat([raw, clean]))
        reversed_content = reverse_gradient(out.content, strength)
        au = (out.au_low, out.au_high, batch["au"])
        lips = predicted @ self.lip_table, target @ self.lip_table, mask
        parts = {
            "contrast": au_contrast(*au, mask, self.units, self.recipe.temperature),
            "au": smooth_l1(out.au_low, batch["au"], mask),
            "speech": smooth_l1(predicted, target, mask, weights=self.spoken),
            "speech_velocity": velocity(predicted * self.moved, target * self.moved, mask),
            "lips": lip_distance(*lips),
            "correlation": lip_correlation(*lips),
            "phone": phone_loss(phones, batch["phone"].repeat(2, 1), mask.repeat(2, 1)),
            "emotion_classification": self.low_probes(out.low, emotion, mask)
            + 0.5 * self.intensity_probes(out.low, grade, graded),
            "adversary": self.content_probes(reversed_content, emotion, mask),
        }
        if self.distillation is not None:
            parts["distil"] = self.distillation(out.high, batch[TEACHER.key], mask)
        return parts, Stage1Output(out, predicted, target)

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum; the probes' own loss is no part of it."""
        return super().total({name: part for name, part in parts.items() if name != "adversary"})

    def objective(self, parts: Mapping[str, Tensor]) -> Tensor:
        # The probes always learn at full rate; their weight is in the gradient that they reverse.
        return self.total(parts) + parts["adversary"]

    def validation_metrics(
        self, batch: Batch, parts: dict[str, Tensor], output: Stage1Output
    ) -> dict[str, Tensor]:
        """AU and articulation errors; the score is both, relative, plus content's emotion leak."""
        mask, au = self.mask(batch), batch["au"]
        low = masked_mean((output.features.au_low - au).abs(), mask)
        speech = masked_mean((output.predicted - output.target).abs() * self.spoken, mask)
        scale = masked_mean(output.target.abs() * self.spoken, mask).clamp_min(1e-3)
        leak = torch.relu(1.0 - parts["adversary"] / math.log(len(EMOTIONS)))
        return {
            "au_low_error": low,
            "au_high_error": masked_mean((output.features.au_high - au).abs(), mask),
            "articulation_error": speech,
            "content_emotion_leak": leak,
            "score": low / masked_mean(au, mask).clamp_min(1e-3) + speech / scale + leak,
        }

    @property
    def context_frames(self) -> int:
        """Frames of a window that are masked, since their receptive field leaves it."""
        return self.decoupler.local_reach.total

    def mask(self, batch: Batch) -> Tensor:
        """Frames whose receptive field lies within their own clip, ``(B, T)``."""
        reach = self.decoupler.local_reach
        return away_from_edges(batch["mask"], reach.past, reach.future)


def noisy(content: Tensor, share: float, noise: Noise) -> Tensor:
    """Content with Gaussian noise, ``share`` of each channel's standard deviation."""
    if not share:
        return content
    return content + share * content.detach().std(dim=(0, 1)) * noise(*content.shape)


def phone_loss(logits: Tensor, phone: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy of ``(B, T, PHONES)`` over masked frames with a known phone, or 0."""
    known = mask & (phone >= 0)
    loss = F.cross_entropy(
        logits.flatten(0, 1).float(), phone.clamp_min(0).flatten(), reduction="none"
    )
    return (loss * known.flatten()).sum() / known.sum().clamp_min(1)
