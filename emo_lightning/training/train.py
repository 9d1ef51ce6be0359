"""Train one stage: configuration -> data -> stage -> Lightning's trainer -> an exported network.

emo train experiments/stage1.yaml data=DIR out=DIR model.lr=1e-4 trainer.max_steps=200
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy

from datamodules.loading.datamodule import AudioShards, VideoShards
from datamodules.loading.refiner_datamodule import RefinedShards
from datamodules.loading.skipped_samples import SkippedSamples
from datamodules.shards.index import ShardIndex
from datamodules.shards.remote import open_set
from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.core.provenance import provenance
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.face.keypoint_vertices import anchor_table
from emo_lightning.losses.perceptual import FeatureLoss, PyramidLoss, VGGLoss
from emo_lightning.losses.perceptual_backbones import TRUNKS, first_trunk, open_trunk
from emo_lightning.models.checkpoint_io import (
    export,
    load_decoupler,
    read_network,
    read_training_checkpoint,
)
from emo_lightning.models.layers.temporal import parameter_count
from emo_lightning.training.base import StageModule, TrainingContext
from emo_lightning.training.callbacks import (
    AtomicCheckpointIO,
    Lines,
    MetricsFile,
    RunRecord,
    checkpoint_callbacks,
    prepare_folder,
    quiet,
    resume_path,
    wandb_loggers,
)
from emo_lightning.training.config import (
    AnyRun,
    RefineRun,
    Stage1Run,
    Stage2Run,
    Stage3Run,
    load_config,
    to_plain,
)
from emo_lightning.training.decoupler import DecouplerModule
from emo_lightning.training.motion import MotionModule
from emo_lightning.training.refiner import RefinerModule
from emo_lightning.training.renderer import RendererModule


def main(argv: Sequence[str] | None = None) -> int:
    """Train as ``EXPERIMENT.yaml key=value ...`` says; exit code 2 on a user's mistake."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words:
            raise UserError(
                "experiment",
                "",
                "an experiment file, such as experiments/stage1.yaml",
                "is missing",
            )
        train(load_config(words[0], words[1:]))
    except UserError as error:
        print(f"emo: {error}", file=sys.stderr)
        return 2
    return 0


def train(config: AnyRun) -> Path:
    """Train a stage to the end.

    Returns:
        The exported network, ``out/{decoupler,heads,renderer,refiner}.safetensors``.

    Raises:
        UserError: data, predecessor, folder or checkpoint that cannot be used; before any training.
    """
    quiet()
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    L.seed_everything(config.seed, verbose=False)
    sources = [open_set(place, "data") for place in data_places(config.data)]
    index = sources[0].index
    folder = prepare_folder(config.out)
    origin = provenance({}, ("torch", "lightning", "numpy")) | {
        "data_index_sha256": " ".join(source.index_sha256 for source in sources)
    }
    stage = build_stage(config, index, origin)
    if isinstance(config, Stage3Run) and isinstance(stage, RendererModule):
        stage.hasten(config.trainer.channels_last, config.trainer.compile)
    data = build_data(config, index, stage.taught)
    data.setup()
    data.check_ranks(config.trainer.devices)
    resume = resume_path(config.resume, folder)
    step = 0 if resume is None else check_resumable(resume, stage)
    settings = to_plain(config)
    size = {"trained": parameter_count(stage.trained), "all": parameter_count(stage)}
    record = RunRecord(
        folder, {"config": settings, "parameters": size, "resumed_at": step, **stage.meta()}
    )
    trainer = build_trainer(config, record, step, bool(data.samples("val")))
    trainer.fit(stage, data, ckpt_path=None if resume is None else str(resume), weights_only=True)
    path = folder / f"{stage.product}.safetensors"
    if trainer.is_global_zero:
        # Nothing is trained on the renderer, so half precision costs nothing there and halves what must ship.
        export(path, stage.trained, stage.meta(), half=stage.product in ("renderer", "refiner"))
        print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)", flush=True)
    return path


def data_places(text: str) -> list[str]:
    """The sets that ``data=`` names: one, or several with commas between, which are mixed in proportion to their length."""
    return [text] if Path(text).exists() else text.split(",")


def build_stage(config: AnyRun, index: ShardIndex, origin: dict[str, Any]) -> StageModule:
    """The stage on its predecessor's weights."""
    context = TrainingContext(index.layout, config.seed, None, origin)
    if isinstance(config, Stage1Run):
        return DecouplerModule(config.model, config.loss, config.optim, context)
    if isinstance(config, Stage2Run):
        before = read_network(config.decoupler, "decoupler", "decoupler")
        before.layout.check_same(index.layout, "the decoupler", "data")
        context.predecessor = before.fingerprint
        if config.loader.frames < config.model.pose_window:
            raise UserError(
                "loader.frames",
                config.loader.frames,
                f"at least model.pose_window, {config.model.pose_window}",
            )
        lookalike = (
            torch.from_numpy(BuiltinFaceModel.load().lookalike())
            if index.layout.name == BUILTIN.name
            else None
        )
        return MotionModule(
            config.model, config.loss, config.optim, context, load_decoupler(before), lookalike
        )
    if config.heads is not None:
        before = read_network(config.heads, "heads", "heads")
        before.layout.check_same(index.layout, "the heads", "data")
        context.predecessor = before.fingerprint
    if isinstance(config, RefineRun):
        return RefinerModule(config.model, config.loss, config.optim, context, _perceptual(config))
    return RendererModule(
        config.model,
        config.loss,
        config.optim,
        context,
        _perceptual(config),
        _anchors(config, index),
    )


def build_data(
    config: AnyRun, index: ShardIndex, teacher: bool = False
) -> AudioShards | VideoShards | RefinedShards:
    """The stage's data module, with a teacher's features where wanted; an epoch is what lies between two validations."""
    loader = config.loader
    common: dict[str, Any] = {
        "workers": loader.workers,
        "share_shards": loader.share_shards,
        "seed": config.seed,
    }
    common |= {"layout": index.layout.name, "batch_size": loader.batch_size}
    common |= {"epoch_batches": min(config.trainer.val_every, config.trainer.max_steps)}
    if isinstance(config, Stage3Run):
        return VideoShards(
            data_places(config.data),
            size=config.model.image_size * config.model.output_scale,
            **common,
        )
    if isinstance(config, RefineRun):
        return RefinedShards(
            data_places(config.data), crop=config.model.crop, sources=config.sources, **common
        )
    return AudioShards(data_places(config.data), window=loader.frames, teacher=teacher, **common)


def build_trainer(config: AnyRun, record: RunRecord, step: int, validates: bool) -> L.Trainer:
    """Lightning's trainer, with this project's logs and checkpoints."""
    wanted, by_hand, folder = (
        config.trainer,
        isinstance(config, (Stage3Run, RefineRun)),
        record.folder,
    )
    cpu = wanted.accelerator == "cpu" or not torch.cuda.is_available()
    checkpoints = checkpoint_callbacks(
        folder, validates, wanted.checkpoint_steps, wanted.checkpoint_minutes
    )
    # In stage 3 generator and discriminator take turns, so each backward leaves the other's weights without a gradient.
    ddp = DDPStrategy(process_group_backend="gloo" if cpu else None, find_unused_parameters=by_hand)
    return L.Trainer(
        accelerator="cpu" if cpu and wanted.accelerator == "auto" else wanted.accelerator,
        devices=wanted.devices,
        strategy=ddp if wanted.devices > 1 else "auto",
        precision=wanted.precision,
        max_steps=wanted.max_steps,
        max_epochs=-1,
        limit_train_batches=min(wanted.val_every, wanted.max_steps),
        limit_val_batches=wanted.val_batches if validates else 0,
        gradient_clip_val=None if by_hand else config.optim.clip,
        log_every_n_steps=min(wanted.log_every, wanted.val_every, wanted.max_steps),
        logger=[
            MetricsFile(folder, step),
            *wandb_loggers(config.wandb, folder, record.content["config"]),
        ],
        callbacks=[Lines(), SkippedSamples(record.left_out), *checkpoints],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def check_resumable(path: Path, stage: StageModule) -> int:
    """The step that a checkpoint stopped at.

    Raises:
        UserError: unreadable.
        MismatchError: it belongs to another stage, other sizes, another layout or another predecessor.
    """
    before = read_network(path, stage.product, "resume")
    mine = stage.meta()
    for what in ("model", "layout", "predecessor"):
        if before.meta.get(what) != mine.get(what):
            accepted = "a checkpoint of the same configuration, resume=never, or another out"
            raise MismatchError("resume", path, accepted, f"was made with another {what}")
    return int(read_training_checkpoint(path)["global_step"])


def _perceptual(config: Stage3Run | RefineRun) -> torch.nn.Module:
    """What ``loss.backbone`` names. ``auto``: VGG-19 where the user has its weights, else the cheapest network that a package
    ships, else the pyramid."""
    path, name = config.loss.perceptual_weights, config.loss.backbone
    if name == "pyramid":
        return PyramidLoss()
    if name in TRUNKS:
        return FeatureLoss(open_trunk(name))
    if name == "auto" and path is None:
        trunk = first_trunk()
        return PyramidLoss() if trunk is None else FeatureLoss(trunk)
    accepted = "torchvision's vgg19 weights (.pth)"
    if path is None or not Path(path).is_file():
        raise UserError("loss.perceptual_weights", path, accepted, "is not a file")
    try:
        return VGGLoss(read_training_checkpoint(path))
    except (KeyError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise UserError(
            "loss.perceptual_weights", path, accepted, f"cannot be read ({error})"
        ) from None


def _anchors(config: Stage3Run, index: ShardIndex) -> tuple[torch.Tensor, ...] | None:
    """The face model's numbers for the renderer's sheet.

    Raises:
        UserError: a number of anchors that it does not have.
        MismatchError: the coefficients belong to another face model, whose vertices are not known here.
    """
    if not config.model.mesh_keypoints:
        return None
    index.layout.check_same(
        BUILTIN, "the data", "model.mesh_keypoints, which lie on the built-in face model,"
    )
    try:
        return tuple(
            torch.from_numpy(part) for part in anchor_table(config.model.mesh_keypoints).arrays()
        )
    except ValueError as error:
        raise UserError(
            "model.mesh_keypoints",
            config.model.mesh_keypoints,
            "0, or a number that the face model has",
            f"cannot be ({error})",
        ) from None


if __name__ == "__main__":
    sys.exit(main())
