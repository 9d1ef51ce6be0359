"""The figure's wiring against our default: what each of them says, and by which coefficients an
emotion shows.

    python -m research.wiring [--data SHARDS] [--steps N] [--checkpoint-dir NAME=DIR ...]
 In the figure EmoNet gives ID and TEX alone and ExpNet, which knows no label, the whole EXP; in our
default EmoNet changes EXP too. Both are trained here, heads of the same sizes on one decoupler; the
figure's also with ID as fitted, which is one a clip and so teaches EmoNet nothing. They are looked
at on held-out speakers and sentences: error of EXP at the clip's own emotion and level; along
levels 1 to 15 of its emotion, on the same sound, Spearman's rho and the range of EXP, in shares of
the prototype; the change of ID (in standard deviations of people, the length over 40 directions),
of TEX and of the head's angle (one drawn motion) from neutral to level 15; and how much of the
prototype's own movement of the face's vertices EXP and ID then show.
 The default is a small corpus and short trainings (about 4 minutes of one core). Intervals are over
clips.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks._shared import mean_cell, one_thread, small_corpus, train_stage
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL, prototype_exp

CLIPS, STEPS = 192, 300
LEVELS = torch.arange(1.0, 16.0)
VARIANTS: Mapping[str, Sequence[str]] = {
    "default": (),
    "figure": ("model.wiring=figure",),
    "figure, ID as fitted": ("model.wiring=figure", "recipe.emotion_as_identity=false"),
}
"""What is trained, and how it differs."""
HEADS = (
    "EXP error",
    "rho of EXP",
    "range of EXP",
    "ID changes, sd",
    "TEX changes",
    "angle changes, degrees",
    "emotion in the vertices",
)


@dataclass(frozen=True)
class Clip:
    """A held-out clip: labels, mel rows ``(4T, 80)``, joined coefficients ``(T, C)``."""

    emotion: int
    level: float
    mel: np.ndarray
    true: np.ndarray


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row a wiring."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m research.wiring", description=__doc__, formatter_class=shape
    )
    parser.add_argument(
        "--data", type=Path, help=f"shards of the embedded corpus; {CLIPS} clips are made without"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        help="training steps of each stage (default: %(default)s)",
    )
    parser.add_argument(
        "--checkpoint-dir",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="look at these instead of training",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="keep what is trained: DIR/default, DIR/figure, ...",
    )
    args = parser.parse_args(arguments)
    with one_thread(), tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        data = args.data or small_corpus(Path(temporary) / "corpus", CLIPS)
        given = dict(_named(word) for word in args.checkpoint_dir)
        clips = held_out(data)
        print(
            f"\n{len(clips)} held-out clips; mean [95 % interval]\n\n| wiring | "
            f"{' | '.join(HEADS)} |\n|---|" + "---:|" * len(HEADS)
        )
        for name, weights in (given or trained(data, folder, args.steps)).items():
            from emo_lightning.inference.weights import load_audio_to_motion

            print(
                f"| {name} | {' | '.join(cells(load_audio_to_motion(weights), clips))} |",
                flush=True,
            )


def trained(data: Path, folder: Path, steps: int) -> dict[str, Path]:
    """Stage 1 once and stage 2 for each variant; the folders of weights."""
    pace = [
        f"data={data}",
        f"trainer.max_steps={steps}",
        f"trainer.val_every={steps}",
        "trainer.val_batches=1",
        "optim.warmup_steps=30",
    ]
    decoupler = train_stage(1, folder / "decoupler", [*pace, "loader.batch_size=12"])
    folders = {}
    for name, words in VARIANTS.items():
        folders[name] = folder / name.replace(", ", "_").replace(" ", "_")
        train_stage(
            2, folders[name], [*pace, "loader.batch_size=12", f"decoupler={decoupler}", *words]
        )
        shutil.copy2(decoupler, folders[name])
    return folders


def held_out(data: Path) -> list[Clip]:
    """The clips of val and test."""
    from datamodules.shards.reader import iter_samples

    clips = []
    for sample in (
        sample
        for split in ("val", "test")
        for sample in iter_samples(data, split, ("wave", "coefficients"))
    ):
        emotion, level = EMOTIONS.index(sample.meta.emotion), float(sample.meta.level or 1)
        clips.append(
            Clip(emotion, level, log_mel(levelled(sample.wave)), sample.coefficients.joined())
        )
    return clips


def cells(talker: Any, clips: Sequence[Clip]) -> list[str]:
    """The row of one set of weights."""
    rows: dict[str, list[float]] = {name: [] for name in HEADS}
    for clip in clips:
        for name, value in look(talker, clip).items():
            rows[name].append(value)
    places = dict(zip(HEADS, (4, 2, 2, 3, 3, 2, 2), strict=True))
    return [mean_cell(rows[name], places[name]) for name in HEADS]


@torch.inference_mode()
def look(talker: Any, clip: Clip) -> Mapping[str, float]:
    """What one clip shows, by column; a neutral clip has no levels."""
    from emo_lightning.models.layers.temporal import repeat_edges
    from emo_lightning.models.motion.motion_model import EXP_CEILING

    heads = talker.motion_model
    content = repeat_edges(talker.decoupler(torch.from_numpy(clip.mel)[None]).content, heads.reach)
    frames = min(len(clip.mel) // 4, len(clip.true))
    voiced = [i for i, name in enumerate(BUILTIN.exp_names) if not name.startswith("AU45")]

    def ask(emotion: int, levels: Tensor) -> Any:
        control = heads.matrix(torch.full((len(levels),), emotion), levels)[:, None].expand(
            -1, len(clip.mel) // 4, -1
        )
        source = torch.from_numpy(clip.true[:1]).expand(len(levels), -1)
        return heads(content.expand(len(levels), -1, -1), source, control)

    own = ask(clip.emotion, torch.tensor([clip.level]))
    true = clip.true[:frames, BUILTIN.slice("exp")]
    error = np.abs(own.exp[0, :frames].clamp(0.0, EXP_CEILING).numpy() - true)[:, voiced].mean()
    if clip.emotion == NEUTRAL:
        return {"EXP error": float(error)}
    felt, calm = ask(clip.emotion, LEVELS), ask(NEUTRAL, LEVELS[:1])
    prototype = prototype_exp(EMOTIONS[clip.emotion], BUILTIN.exp_names)
    shown = (
        felt.exp.clamp(0.0, EXP_CEILING).mean(dim=1).numpy()
        @ prototype
        / np.square(prototype).sum()
    )
    moved = {
        block: (getattr(felt, block)[-1] - getattr(calm, block)[0]).mean(dim=0).numpy()
        for block in ("id", "exp", "tex")
    }
    return {
        "EXP error": float(error),
        "rho of EXP": float(spearmanr(shown, LEVELS).statistic) if np.ptp(shown) > 1e-6 else 0.0,
        "range of EXP": float(shown[-1] - shown[0]),
        "ID changes, sd": float(np.linalg.norm(moved["id"])),
        "TEX changes": float(np.linalg.norm(moved["tex"])),
        "angle changes, degrees": turned(heads, felt.condition[-1:], calm.condition),
        "emotion in the vertices": in_vertices(moved, prototype),
    }


def turned(heads: Any, felt: Tensor, calm: Tensor) -> float:
    """Root mean square difference of the head's angles, degrees, that the condition makes to one
    drawn motion.
    """
    net = heads.posenet
    if felt.shape[1] < net.window:
        return float("nan")
    latent = torch.randn(1, net.latent, generator=torch.Generator().manual_seed(0))
    motion = [
        net.decode(latent, condition[:, : net.window])[0] * net.unit for condition in (felt, calm)
    ]
    return float(np.degrees((motion[0] - motion[1])[:, :3].square().mean().sqrt()))


def in_vertices(moved: Mapping[str, np.ndarray], prototype: np.ndarray) -> float:
    """Share of the prototype's movement of the vertices that a change of ID and EXP makes."""
    from emo_lightning.face.builtin import BuiltinFaceModel

    model = BuiltinFaceModel.load()
    wanted = np.tensordot(prototype, model.exp_basis, 1).ravel()
    made = (
        np.tensordot(moved["exp"], model.exp_basis, 1)
        + np.tensordot(moved["id"], model.id_basis, 1)
    ).ravel()
    return float(made @ wanted / (wanted @ wanted))


def _named(word: str) -> tuple[str, Path]:
    name, equals, folder = word.partition("=")
    if not (name and equals and folder):
        raise UserError("--checkpoint-dir", word, "NAME=DIR")
    return name, Path(folder)


if __name__ == "__main__":
    main()
