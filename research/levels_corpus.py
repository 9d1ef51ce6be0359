"""Do the fifteen levels come out where the embedded corpus has them, on held-out speakers and
sentences?

    python -m research.levels_corpus [--data SHARDS] [--checkpoint-dir NAME=DIR ...] [--train STEPS]
    [--variants a,b]
 Without --data a corpus of 480 clips is made in runs/benchmarks. Without more, the shipped weights
are looked at; --train trains the heads on their decoupler: with the three annotated intensities
alone, the same with parts left out, with levels found from the data (``emo shards levels``) and
with the true ones; about four minutes of one core each at 1000 steps.
 A clip shows an emotion by its mean expression less its speaker's when neutral, along the emotion's
prototype. What the held-out clips show at their true levels gives, by least squares, a straight
line for each emotion (the corpus was made by one). The heads are asked for all fifteen levels on
the same clips' sound; the line says which level the answer shows. ``levels``: the mean answer at
each level, errors over the fifteen. ``clips``: each clip at its own level. 95 % intervals are over
clips (bootstrap).
 The corpus' people act evenly, so nothing is left there for the matrix to learn or for the evenness
loss to do. What both do where intensities 1, 2 and 3 are not evenly far apart is shown on the
matrix and EmoNet's response alone, fitted to such faces.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.motion.emotions import (
    ANNOTATED_LEVELS,
    EMOTIONS,
    LEVEL_MAX,
    NEUTRAL,
    prototype_exp,
)
from evaluation.metrics.level_response import LevelResponse, level_response

LEVELS = np.arange(1, 16)
CLIPS = 480
DRAWS = 1000
VARIANTS: dict[str, tuple[str, ...]] = {
    "annotated": ("recipe.levels=annotated",),
    "annotated, no refinement": ("recipe.levels=annotated", "model.refine_levels=false"),
    "annotated, no evenness": ("recipe.levels=annotated", "loss.levels_even=0"),
    "found levels": ("recipe.levels=fine",),
    "true levels": ("recipe.levels=fine",),
}
"""What is trained for the comparison, and how it differs."""
CACHE = Path("runs") / "benchmarks"
EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "stage2.yaml"


@dataclass(frozen=True)
class Held:
    """A held-out clip: its labels, sound as mel rows ``(4T, 80)``, mean expression ``(28,)`` and a
    still face of its speaker ``(1, C)``.
    """

    speaker: str
    emotion: int
    level: int
    mel: np.ndarray
    shown: np.ndarray
    source: np.ndarray


@dataclass(frozen=True)
class Answers:
    """What the heads show along each clip's own emotion: ``asked`` ``(N, 15)`` at all levels, for
    the N clips that have a level.
    """

    asked: np.ndarray


@dataclass(frozen=True)
class Line:
    """What the corpus shows of an emotion at a level: ``start + slope * level``; ``r2`` of the
    clips.
    """

    start: float
    slope: float
    r2: float

    def level(self, shown: np.ndarray) -> np.ndarray:
        """The level at which the corpus shows this much."""
        return (shown - self.start) / self.slope


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m research.levels_corpus", description=__doc__, formatter_class=shape
    )
    parser.add_argument(
        "--data", type=Path, help="embedded corpus, without video; made when not given"
    )
    parser.add_argument(
        "--checkpoint-dir",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="weights to look at; may be repeated",
    )
    parser.add_argument(
        "--train",
        type=int,
        default=0,
        metavar="STEPS",
        help="train the variants first, for so many steps",
    )
    parser.add_argument(
        "--variants",
        default="|".join(VARIANTS),
        help="which of them, separated by | (default: all)",
    )
    args = parser.parse_args(arguments)
    data = args.data or small_corpus(CACHE / "levels")
    folders = dict(_named(word) for word in args.checkpoint_dir) or {"shipped": None}
    if args.train:
        folders |= {
            name: train_variant(name, data, args.train) for name in _variants(args.variants)
        }
    clips = held_out(data)
    felt = [clip for clip in clips if clip.emotion != NEUTRAL]
    print(
        f"{len(clips)} held-out clips of {len({c.speaker for c in clips})} speakers, {len(felt)} "
        "with an emotion\n"
    )
    labels_table(data)
    found = {name: look(clips, load(folder)) for name, folder in folders.items()}
    response_table(felt, truth(clips), found)
    uneven_table()


def small_corpus(folder: Path) -> Path:
    """The embedded corpus in the cache, made if it is not there."""
    from datamodules.corpus.build import build_corpus

    if not (folder / "index.json").exists():
        build_corpus(folder, CLIPS, video=False)
    return folder


def train_variant(name: str, data: Path, steps: int) -> Path:
    """MotionModel of one of :data:`VARIANTS` on the shipped decoupler; the folder of both."""
    import shutil

    from datamodules.shards.fine_levels import add_levels
    from emo_lightning.models.checkpoint_io import SHIPPED
    from emo_lightning.training.config import load_config
    from emo_lightning.training.train import train

    out = CACHE / "levels_heads" / name.replace(",", "").replace(" ", "_")
    if name == "found levels":
        found = CACHE / "levels_found"
        shutil.rmtree(found, ignore_errors=True)
        add_levels(data, found)
        data = found
    words = [
        f"data={data}",
        f"out={out}",
        f"decoupler={SHIPPED / 'decoupler.safetensors'}",
        f"trainer.max_steps={steps}",
    ]
    train(
        load_config(
            EXPERIMENT, [*words, f"trainer.val_every={steps}", "resume=never", *VARIANTS[name]]
        )
    )
    shutil.copy2(SHIPPED / "decoupler.safetensors", out)
    return out


def held_out(data: Path) -> list[Held]:
    """The clips of the val and test splits, whose speakers and sentences train does not have."""
    from datamodules.shards.reader import iter_samples
    from emo_lightning.media.loudness import levelled
    from emo_lightning.media.spectrogram import log_mel

    clips, stills = [], {}
    samples = [
        s for split in ("val", "test") for s in iter_samples(data, split, ("wave", "coefficients"))
    ]
    for sample in samples:
        if sample.meta.emotion == EMOTIONS[NEUTRAL]:
            stills.setdefault(sample.meta.speaker, sample.coefficients.joined()[:1])
    for sample in samples:
        meta = sample.meta
        if meta.speaker not in stills:
            raise UserError(
                "--data",
                data,
                "neutral clips of every held-out speaker",
                f"has none of {meta.speaker}",
            )
        shown = sample.coefficients["exp"].mean(axis=0).astype(np.float64)
        level = int(meta.level or 0)
        clips.append(
            Held(
                meta.speaker,
                EMOTIONS.index(meta.emotion),
                level,
                log_mel(levelled(sample.wave)),
                shown,
                stills[meta.speaker],
            )
        )
    return clips


def truth(clips: Sequence[Held]) -> dict[int, Line]:
    """What the clips show at their true levels, for each emotion."""
    rest = _resting(clips, [clip.shown for clip in clips])
    lines = {}
    for emotion in range(len(EMOTIONS)):
        own = [clip for clip in clips if clip.emotion == emotion != NEUTRAL]
        if own:
            x, y = (
                np.array([c.level for c in own], float),
                np.array([(c.shown - rest[c.speaker]) @ direction(emotion) for c in own]),
            )
            slope, start = np.polyfit(x, y, 1)
            lines[emotion] = Line(float(start), float(slope), float(np.corrcoef(x, y)[0, 1] ** 2))
    return lines


def look(clips: Sequence[Held], talker: Any) -> Answers:
    """Ask the heads for every clip's emotion at all levels, on the clip's sound."""
    means = [expressions(talker, clip) for clip in clips]
    rest = _resting(clips, [mean[0] for mean in means])
    rows = [
        (m - rest[c.speaker]) @ direction(c.emotion)
        for c, m in zip(clips, means, strict=True)
        if c.emotion != NEUTRAL
    ]
    return Answers(np.array(rows))


def expressions(talker: Any, clip: Held) -> np.ndarray:
    """Mean expression over the clip ``(15, 28)`` at all levels of its emotion; one row for neutral."""
    import torch

    from emo_lightning.models.layers.temporal import repeat_edges
    from emo_lightning.models.motion.motion_model import EXP_CEILING

    levels = torch.as_tensor(LEVELS[:1] if clip.emotion == NEUTRAL else LEVELS, dtype=torch.float32)
    with torch.no_grad():
        content = repeat_edges(
            talker.decoupler(torch.from_numpy(clip.mel)[None]).content, talker.motion_model.reach
        )
        control = talker.motion_model.matrix(torch.full((len(levels),), clip.emotion), levels)[
            :, None
        ]
        frames = len(clip.mel) // 4
        source = torch.from_numpy(clip.source).expand(len(levels), -1)
        out = talker.motion_model(
            content.expand(len(levels), -1, -1), source, control.expand(-1, frames, -1)
        )
    return out.exp.clamp(0.0, EXP_CEILING).mean(dim=1).double().numpy()


def direction(emotion: int) -> np.ndarray:
    """The emotion's prototype as a unit vector ``(28,)``; zeros for neutral."""
    prototype = prototype_exp(EMOTIONS[emotion], EXP_NAMES).astype(np.float64)
    return prototype / max(float(np.linalg.norm(prototype)), 1e-9)


def load(folder: Path | None) -> Any:
    from emo_lightning.inference.weights import load_audio_to_motion

    return load_audio_to_motion(folder)


def labels_table(data: Path) -> None:
    """How well levels found inside the annotated buckets agree with the true ones."""
    from datamodules.shards.fine_levels import RankedClip, find_levels
    from datamodules.shards.reader import iter_samples

    samples = list(iter_samples(data, None, ("au",)))
    clips = [RankedClip.of(sample) for sample in samples]
    found = find_levels(clips)
    print("Levels found from the data inside the three annotated intensities (all splits):\n")
    print(
        "| emotion | clips | mean error | rank correlation inside the buckets "
        "|\n|---|---:|---:|---:|"
    )
    everything: list[tuple[float, float]] = []
    for emotion in EMOTIONS[1:]:
        own = [clip for clip in clips if clip.meta.emotion == emotion]
        errors = [abs(found.levels[clip.key] - clip.meta.level) for clip in own]
        buckets: dict[int, list[RankedClip]] = defaultdict(list)
        for clip in own:
            buckets[clip.meta.intensity].append(clip)
        order = np.mean(
            [
                spearmanr([found.scores[c.key] for c in b], [c.meta.level for c in b]).statistic
                for b in buckets.values()
            ]
        )
        everything.append((float(np.mean(errors)), float(order)))
        print(f"| {emotion} | {len(own)} | {everything[-1][0]:.2f} | {order:.3f} |")
    print(
        f"| mean | {sum(c.bucket is not None for c in clips)} | {np.mean(everything, 0)[0]:.2f} | "
        f"{np.mean(everything, 0)[1]:.3f} |\n"
    )


def response_table(
    clips: Sequence[Held], lines: dict[int, Line], found: dict[str, Answers]
) -> None:
    """Errors of the levels shown, in levels."""
    print(
        "| heads | emotion | clips | levels: mean error | Spearman | clips: mean error | Spearman "
        "| R² of the line |"
    )
    print("|---|---|" + "---:|" * 6)
    emotions, levels = np.array([c.emotion for c in clips]), np.array([c.level for c in clips])
    rng = np.random.default_rng(0)
    for name, answers in found.items():
        totals = []
        for emotion, line in lines.items():
            own = np.flatnonzero(emotions == emotion)
            shown = line.level(answers.asked[own])
            at_own = shown[np.arange(len(own)), levels[own] - 1]
            mean, single = level_error(shown), np.abs(at_own - levels[own])
            totals.append((mean, single.mean()))
            resampled = [rng.integers(len(own), size=len(own)) for _ in range(DRAWS)]
            low, high = np.quantile(
                [level_error(shown[pick]) for pick in resampled], (0.025, 0.975)
            )
            least, most = np.quantile([single[pick].mean() for pick in resampled], (0.025, 0.975))
            order, clip_order = (
                spearmanr(shown.mean(0), LEVELS).statistic,
                spearmanr(at_own, levels[own]).statistic,
            )
            print(f"| {name} | {EMOTIONS[emotion]} | {len(own)} | {mean:.2f} ({low:.2f}-{high:.2f}) | {order:.3f} | "
                  f"{single.mean():.2f} ({least:.2f}-{most:.2f}) | {clip_order:.3f} | {line.r2:.3f} |")  # fmt: skip
        print(
            f"| {name} | mean | {len(clips)} | {np.mean(totals, 0)[0]:.2f} | | "
            f"{np.mean(totals, 0)[1]:.2f} | | |",
            flush=True,
        )


ACTORS = {
    "even": (0.2, 0.53, 0.87),
    "who saturate": (0.45, 0.85, 0.97),
    "who save it up": (0.1, 0.3, 0.9),
}
"""Shares of the prototype that people may show at intensities 1, 2 and 3."""


def uneven_table() -> None:
    """Share of the range reached at level 8, for actors of several kinds, weights of the evenness
    loss, with and without refinement.
    """
    print(
        "\nShare of the range at level 8 (0.5 is even; * where a step goes backwards), by the "
        "evenness loss' weight:\n"
    )
    weights = (0.0, 0.05, 0.5, 2.0)
    print(
        "| actors | matrix | "
        + " | ".join(f"{w:g}" for w in weights)
        + " |\n|---|---|"
        + "---:|" * len(weights)
    )
    for name, shares in ACTORS.items():
        for refine in (True, False):
            found = [uneven_response(shares, weight, refine) for weight in weights]
            cells = " | ".join(f"{f.half:.2f}{'' if f.rho > 1 - 1e-9 else '*'}" for f in found)
            print(f"| {name} | {'refined' if refine else 'interpolated'} | {cells} |", flush=True)


def uneven_response(
    shares: Sequence[float], weight: float, refine: bool, steps: int = 800
) -> LevelResponse:
    """The response that matrix and EmoNet learn from faces at the three intensities, mean over the
    emotions, along the prototypes.
    """
    import torch
    from torch.nn import functional as F

    from emo_lightning.face.coefficients import BUILTIN
    from emo_lightning.losses.motion import even_response
    from emo_lightning.models.motion.emotion_matrix import EmotionMatrix, prototype_table
    from emo_lightning.training.motion import Stage2Loss

    draw, faces = torch.Generator().manual_seed(0), prototype_table(BUILTIN)
    anchors, levels = torch.tensor(list(ANNOTATED_LEVELS.values())), torch.arange(1.0, 16.0)
    matrix = EmotionMatrix(refine)
    response = torch.nn.Parameter(
        (faces[:, None] * anchors[:, None] / LEVEL_MAX).flatten(0, 1).clone()
    )
    wanted = faces[:, None] * torch.tensor(shares)[:, None]
    optimizer = torch.optim.AdamW(
        [p for p in (*matrix.parameters(), response) if p.requires_grad], lr=2e-3
    )
    emotions = torch.arange(len(EMOTIONS))[:, None]
    for _ in range(steps):
        made = (
            matrix(emotions.expand(-1, len(anchors)), anchors.expand(len(EMOTIONS), -1)) @ response
        )
        seen = wanted * (1.0 + 0.1 * torch.randn(wanted.shape, generator=draw))
        curves = (
            matrix(emotions.expand(-1, len(levels)), levels.expand(len(EMOTIONS), -1)) @ response
        )
        loss = Stage2Loss.exp * F.smooth_l1_loss(made, seen, beta=0.05) + weight * even_response(
            curves, faces
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    along = (curves * faces[:, None]).sum(-1) / faces.square().sum(-1, keepdim=True).clamp_min(1e-9)
    return level_response(levels, along[1:].mean(dim=0).detach())


def level_error(shown: np.ndarray) -> float:
    """Mean absolute error of the mean level shown, over the fifteen levels; ``shown`` is ``(N,
    15)``.
    """
    return float(np.abs(shown.mean(axis=0) - LEVELS).mean())


def _resting(clips: Sequence[Held], shown: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Each speaker's mean expression over the neutral clips."""
    rows: dict[str, list[np.ndarray]] = defaultdict(list)
    for clip, mean in zip(clips, shown, strict=True):
        if clip.emotion == NEUTRAL:
            rows[clip.speaker].append(mean)
    return {speaker: np.mean(own, axis=0) for speaker, own in rows.items()}


def _named(word: str) -> tuple[str, Path]:
    name, _, folder = word.rpartition("=")
    if not Path(folder).is_dir():
        raise UserError(
            "--checkpoint-dir", word, "NAME=DIR, a folder of trained weights", "is not a folder"
        )
    return name or Path(folder).name, Path(folder)


def _variants(text: str) -> list[str]:
    names = [name.strip() for name in text.split("|")]
    for name in names:
        if name not in VARIANTS:
            raise UserError("--variants", name, "|".join(VARIANTS), "is not a variant")
    return names


if __name__ == "__main__":
    main()
