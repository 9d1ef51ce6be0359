"""Validation figures of each stage: contact sheets and videos, curves, level responses.

They go to ``figures/`` in the run's folder, and to W&B where the run has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor

from emo_lightning.face.coefficients import AU_NAMES
from emo_lightning.media.video_writer import encode_mp4_bytes
from emo_lightning.models.motion.posenet import STEP
from emo_lightning.motion.emotions import EMOTIONS
from emo_lightning.training.base import Batch, Noise

ROWS = 4
"""Clips or pairs of a figure."""
VIDEO_FRAMES = 24
AUS_SHOWN = ("AU4", "AU6", "AU12", "AU25")
BROW_UNITS = ("AU1", "AU2", "AU4")


class ValidationFigures(Callback):
    """Draws the first batch of each validation, with the weights that are validated.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "figures"

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        self.folder.mkdir(exist_ok=True)
        few = {name: value[:ROWS] for name, value in batch.items()}
        for name, draw in FIGURES[pl_module.product].items():
            drawn = draw(pl_module, few)
            path = self.folder / f"step-{trainer.global_step:06d}-{name}"
            if isinstance(drawn, Figure):
                path = path.with_suffix(".png")
                drawn.savefig(path, dpi=80)
            else:
                path = path.with_suffix(".mp4")
                path.write_bytes(encode_mp4_bytes(list(drawn)))
            for logger in trainer.loggers:
                if type(logger).__name__ == "WandbLogger":
                    log = logger.log_image if path.suffix == ".png" else logger.log_video  # type: ignore[attr-defined]
                    log(f"figures/{name}", [str(path)], step=None)


@torch.no_grad()
def au_curves(stage: Any, batch: Batch) -> Figure:
    """AUs of each clip: the video's, and those decoded from LOW and from HIGH."""
    found = stage.predict_step(batch)
    sources = {"video": batch["au"], "LOW": found["au_low"], "HIGH": found["au_high"]}
    rows, titles = [], []
    for i, emotion in enumerate(batch["emotion"]):
        for name in AUS_SHOWN:
            column = AU_NAMES.index(name)
            rows.append({label: values[i, :, column] for label, values in sources.items()})
            titles.append(f"{EMOTIONS[int(emotion)]}: {name}")
    return curves(rows, titles, len(AUS_SHOWN))


@torch.no_grad()
def motion_curves(stage: Any, batch: Batch) -> Figure:
    """Lip opening and width, brows, and sampled head pitch of each clip, against the video's."""
    names, net = stage.context.layout.exp_names, stage.heads.posenet
    sound = batch[stage.decoupler.front_end.key]
    out = stage(sound, batch["source"], batch["emotion"], stage.levels(batch))
    frames = out.exp.shape[1] - out.exp.shape[1] % STEP
    latents = Noise(stage.device, 0)(len(sound), frames // STEP + 1, net.latent)
    pitch = net.decode(latents, out.condition[:, :frames])[..., 0] * net.unit[0]
    angle = batch["angle"][..., 0] - batch["angle"][..., 0].mean(dim=1, keepdim=True)
    brows = [names.index(name) for name in BROW_UNITS if name in names]
    panels: dict[str, dict[str, Tensor]] = {
        "lip opening": {"video": batch["exp"] @ stage.lip_table, "made": out.exp @ stage.lip_table},
        "brows": {"video": batch["exp"][..., brows].sum(-1), "made": out.exp[..., brows].sum(-1)},
        "pitch": {"video": angle, "made": pitch},
    }
    panels["lip width"] = {label: v[..., 1] for label, v in panels["lip opening"].items()}
    panels["lip opening"] = {label: v[..., 0] for label, v in panels["lip opening"].items()}
    rows, titles = [], []
    for i, emotion in enumerate(batch["emotion"]):
        for name, values in panels.items():
            rows.append({label: v[i] for label, v in values.items()})
            titles.append(f"{EMOTIONS[int(emotion)]}: {name}")
    return curves(rows, titles, len(panels))


@torch.no_grad()
def level_response(stage: Any, batch: Batch) -> Figure:
    """Size of the expression change along each emotion's own direction, by level."""
    count, levels = len(EMOTIONS), torch.arange(1.0, 16.0, device=stage.device)
    emotions = torch.arange(count, device=stage.device)[:, None].expand(-1, len(levels))
    control = stage.heads.matrix(emotions, levels.expand(count, -1))
    response = control @ stage.heads.emonet.response if stage.heads.emonet.exp_delta else control
    direction = response[:, -1] / response[:, -1].norm(dim=-1, keepdim=True).clamp_min(1e-6)
    share = (response * direction[:, None]).sum(-1)
    return curves([{"response": row} for row in share], list(EMOTIONS), 4)


@torch.no_grad()
def renderer_contact_sheet(stage: Any, batch: Batch) -> Figure:
    """Source, driving frame, rendering and error of each pair."""
    made = stage.predict_step(batch)
    return contact_sheet(batch["source_image"], batch["driving_image"], made)


@torch.no_grad()
def renderer_video(stage: Any, batch: Batch) -> np.ndarray:
    """Frames ``(N, S, S, 3)``: the first source driven from its own pose to the driving frame's."""
    turn = torch.linspace(0.0, 1.0, VIDEO_FRAMES, device=stage.device)[:, None, None]
    start, end = batch["source_coeffs"][:1], batch["driving_coeffs"][:1]
    windows = start + (0.5 - 0.5 * torch.cos(2.0 * torch.pi * turn)) * (end - start)
    frames = [
        stage(batch["source_image"][:1], start, window[None]).made.image for window in windows
    ]
    return pictures(torch.cat(frames))


@torch.no_grad()
def refiner_contact_sheet(stage: Any, batch: Batch) -> Figure:
    """Geometric rendering, true frame, refined frame and error."""
    return contact_sheet(batch["frame"], batch["target"], stage.predict_step(batch))


FIGURES: Mapping[str, Mapping[str, Callable[[Any, Batch], Any]]] = {
    "decoupler": {"action-units": au_curves},
    "heads": {"motion": motion_curves, "level-response": level_response},
    "renderer": {"contact-sheet": renderer_contact_sheet, "motion": renderer_video},
    "refiner": {"contact-sheet": refiner_contact_sheet},
}
"""Figures by product and name."""


def curves(rows: Sequence[Mapping[str, Tensor]], titles: Sequence[str], columns: int) -> Figure:
    """A grid of panels, each with named curves over frames."""
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(3.2 * columns, 1.8 * lines), layout="constrained")
    for place, (row, title) in enumerate(zip(rows, titles, strict=True), start=1):
        axes = figure.add_subplot(lines, columns, place)
        for name, values in row.items():
            axes.plot(values.float().cpu().numpy(), label=name, linewidth=1)
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=6)
    figure.axes[0].legend(fontsize=6)
    return figure


def contact_sheet(source: Tensor, real: Tensor, made: Tensor) -> Figure:
    """Rows of source, real, made and absolute error."""
    columns = {"source": source, "real": real, "made": made, "error": (made - real).abs()}
    figure = Figure(figsize=(8, 2 * len(source)), layout="constrained")
    for row in range(len(source)):
        for column, (name, images) in enumerate(columns.items()):
            axes = figure.add_subplot(len(source), 4, 4 * row + column + 1)
            axes.imshow(pictures(images[row : row + 1])[0])
            axes.axis("off")
            if row == 0:
                axes.set_title(name, fontsize=9)
    return figure


def pictures(images: Tensor) -> np.ndarray:
    """Bytes ``(B, S, S, 3)`` of images in 0..1."""
    scaled = (images.detach().float().clamp(0.0, 1.0) * 255.0).round().byte()
    return scaled.permute(0, 2, 3, 1).cpu().numpy()
