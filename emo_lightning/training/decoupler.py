"""Stage 1: the audio decoupler, trained by the figure's AU contrast and by what content must keep of speech.

Batch (B windows of T frames): ``mel`` (B, 4T, 80), ``au`` (B, T, 17), ``exp`` (B, T, E), ``emotion``, ``level``,
``intensity`` (B,), ``mask`` (B, T) bool, ``phone`` (B, T), 0 for silence and -1 where unknown; ``whisper`` (B, 2T, 384)
where it is heard or learned from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.losses.contrastive import au_contrast, emotion_units
from emo_lightning.losses.distillation import FeatureDistillation
from emo_lightning.losses.domain_adversarial import LabelProbes, ramp, reverse_gradient
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
from emo_lightning.training.augmentation.spectrogram import DRAWS, augment
from emo_lightning.training.base import OptimConfig, StageModule, TrainingContext


@dataclass
class Stage1Model(DecouplerConfig):
    """The decoupler's sizes and the learning rate."""

    lr: float = 1e-3


@dataclass
class Stage1Loss:
    """Weights. ``contrast`` alone is the figure's; the rest is ours. 0 leaves a part out, as an ablation does."""

    contrast: float = 1.0
    """AU(P) of low positive, AU(P) of high negative, against AU(T)."""
    au: float = 1.0
    """AU(P) of low is AU(T): the contrast alone leaves the scale open."""
    speech: float = 10.0
    """Content predicts the articulation, so that it carries speech; units that feeling moves too count by their changes alone."""
    speech_velocity: float = 5.0
    phone: float = 0.5
    """Content tells the 39 phones and silence apart, where the corpus knows them."""
    feeling: float = 0.5
    """Low tells emotion and intensity apart: the figure has low carry emotion, the contrast alone does not see to it."""
    adversary: float = 1.0
    """Strength of the reversed gradient of classifiers of emotion on content; at 0 they only watch."""
    noise: float = 0.5
    """Noise on content in training, in its own standard deviations: what is not worth saying loudly is lost."""
    distil: float = 0.0
    """High predicts the features of a teacher that heard more speech than any corpus with faces has; the teacher hears clean sound."""
    augment: bool = True
    """Train on sound changed as other voices, microphones and rooms would."""
    temperature: float = 0.05
    levels: str = "fine"
    """``fine`` uses fine labels, ``annotated`` the three intensities alone."""


TEACHER = FRONTENDS["whisper"]
ERASURE_STEPS = 4
"""Training steps between two updates of LEACE's moments."""
ERASURE_UPDATES = 5
"""Updates of the moments between two solutions."""
PHONES, INTENSITIES = 40, 4
"""Classes of the phone read-out (silence first) and of the intensity read-out (neutral first)."""
SPOKEN_UNITS = ("AU16", "AU25", "AU26", "jaw", "pucker", "funnel", "press", "tuck")
SHARED_UNITS = ("AU10", "AU12_L", "AU12_R", "AU17", "AU20")
"""Units of the mouth that speech alone moves, and those that feeling moves too: their level would teach content the feeling."""


class DecouplerModule(StageModule):
    """Trains :class:`AudioDecoupler`; its read-outs of speech and emotion serve training alone."""

    number, product = 1, "decoupler"
    units: Tensor
    prototypes: Tensor
    spoken: Tensor
    moved: Tensor

    def __init__(
        self, model: Stage1Model, loss: Stage1Loss, optim: OptimConfig, context: TrainingContext
    ) -> None:
        super().__init__(model, loss, optim, context)
        self.loss = loss
        sizes = {f.name: getattr(model, f.name) for f in fields(DecouplerConfig)}
        self.decoupler = self.trained = AudioDecoupler(DecouplerConfig(**sizes))
        self.speech_readout = nn.Linear(model.content, context.layout.width("exp"))
        self.taught = loss.distil > 0 or self.decoupler.front_end == TEACHER
        self.pupil = FeatureDistillation(model.width) if loss.distil > 0 else None
        self.phone_readout = nn.Linear(model.content, PHONES)
        self.content_readers = LabelProbes(model.content, len(EMOTIONS))
        self.low_readers = LabelProbes(model.width, len(EMOTIONS))
        self.intensity_readers = LabelProbes(model.width, INTENSITIES)
        names = context.layout.exp_names
        spoken = [float(name in SPOKEN_UNITS) for name in names] or [1.0] * context.layout.width(
            "exp"
        )
        moved = [float(name in (*SPOKEN_UNITS, *SHARED_UNITS)) for name in names] or spoken
        self.register_buffer("spoken", torch.tensor(spoken), persistent=False)
        self.register_buffer("moved", torch.tensor(moved), persistent=False)
        self.register_buffer("units", emotion_units(), persistent=False)
        self.register_buffer("prototypes", prototype_table(context.layout), persistent=False)

    def meta(self) -> dict[str, Any]:
        sizes = {f.name for f in fields(DecouplerConfig)}
        return {
            **super().meta(),
            "model": {k: v for k, v in asdict(self.model_config).items() if k in sizes},
        }

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.heard = batch
        if self.loss.augment:
            batch = {**batch, "mel": augment(batch["mel"], self.draw(len(batch["mel"]), DRAWS))}
        parts, _ = self.parts(batch)
        # The classifiers themselves always learn at full rate; the weight is in the gradient that they send back.
        total = self.total(parts) + parts["adversary"]
        self.note("train", {"loss": total, **parts}, len(batch["mel"]))
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step, and then what the erasure makes of it: here, not after the batch, which is after checkpoints were written."""
        super().optimizer_step(*args, **kwargs)
        if self.decoupler.leace is not None and (self.global_step + 1) % ERASURE_STEPS == 0:
            self.learn_erasure(self.heard)

    @torch.no_grad()
    def learn_erasure(self, batch: dict[str, Tensor]) -> None:
        """Show the erasure the content of frames of speech as they sound in use, without the changes of training."""
        # Only where phones are known: a second corpus without emotions must not make neutral its rooms.
        phone = batch["phone"]
        spoken = self.mask(batch) & ((phone > 0) | ~(phone >= 0).any())
        content = self.decoupler(batch[self.decoupler.front_end.key]).content
        labels = batch["emotion"][:, None].expand_as(spoken)
        self.decoupler.leace.update(content, labels, spoken)
        if (self.global_step + 1) % (ERASURE_UPDATES * ERASURE_STEPS) == 0:
            self.decoupler.leace.solve()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        parts, out = self.parts(batch)
        mask = self.mask(batch)
        gauges = {
            "au_low_error": masked_mean((out.au_low - batch["au"]).abs(), mask),
            "au_high_error": masked_mean((out.au_high - batch["au"]).abs(), mask),
        }
        self.note("val", {"loss": self.total(parts), **parts, **gauges}, len(batch["mel"]))

    def parts(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], DecouplerOutput]:
        """Every part of the loss, unweighted, and the network's output."""
        out: DecouplerOutput = self.decoupler(batch[self.decoupler.front_end.key])
        mask = self.mask(batch)
        level = known_levels(
            batch["level"], batch["intensity"], batch["emotion"], self.loss.levels == "fine"
        )
        target = articulation(batch["exp"], batch["emotion"], level, self.prototypes)
        # Both as it is and as it will leave the network: what serves the one alone is lost in the other.
        whole = self.blurred(out.content)
        clean = self.decoupler.disentangle(whole) if self.training else whole
        said = self.speech_readout(clean)
        strength = self.loss.adversary * ramp(self.progress())
        grade = batch["intensity"].clamp_min(0).where(batch["emotion"] != NEUTRAL, 0)
        known = mask & ((batch["intensity"] > 0) | (batch["emotion"] == NEUTRAL))[:, None]
        parts = {
            "contrast": au_contrast(
                out.au_low, out.au_high, batch["au"], mask, self.units, self.loss.temperature
            ),
            "au": smooth_l1(out.au_low, batch["au"], mask),
            "speech": smooth_l1(said, target, mask, weights=self.spoken),
            "speech_velocity": velocity(said * self.moved, target * self.moved, mask),
            "phone": phone_loss(
                self.phone_readout(torch.cat([whole, clean])),
                batch["phone"].repeat(2, 1),
                mask.repeat(2, 1),
            ),
            "feeling": self.low_readers(out.low, batch["emotion"], mask)
            + 0.5 * self.intensity_readers(out.low, grade, known),
            "adversary": self.content_readers(
                reverse_gradient(out.content, strength), batch["emotion"], mask
            ),
        }
        if self.pupil is not None:
            parts["distil"] = self.pupil(out.high, batch[TEACHER.key], mask)
        return parts, out

    def mask(self, batch: dict[str, Tensor]) -> Tensor:
        """Frames that saw sound of their own clip alone, ``(B, T)``."""
        return away_from_edges(
            batch["mask"], self.decoupler.local_reach.past, self.decoupler.local_reach.future
        )

    def blurred(self, content: Tensor) -> Tensor:
        """Content with noise in training."""
        if not (self.training and self.loss.noise):
            return content
        return content + self.loss.noise * content.detach().std(dim=(0, 1)) * self.draw(
            *content.shape
        )

    def progress(self) -> float:
        """Share of the training that is done, 0..1; 1 where there is no training."""
        if not self.training or self._trainer is None:
            return 1.0
        return self.global_step / max(float(self.trainer.estimated_stepping_batches), 1.0)

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """The weighted sum, the classifier apart."""
        weights = asdict(self.loss)
        return torch.stack(
            [weights[name] * value for name, value in parts.items() if name != "adversary"]
        ).sum()

    def configure_optimizers(self) -> dict[str, Any]:
        return self.adamw(self.parameters(), self.model_config.lr)


def phone_loss(logits: Tensor, phone: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy of ``(B, T, PHONES)`` over the frames that count and whose phone is known; 0 when there are none."""
    there = mask & (phone >= 0)
    return F.cross_entropy(logits[there], phone[there]) if bool(there.any()) else logits.sum() * 0.0
