"""Training of one stage: configuration -> data -> stage -> Lightning's trainer -> an exported
network.

emo train experiments/stage1.yaml data=DIR out=DIR model.lr=1e-4 trainer.max_steps=200
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers.logger import Logger

from datamodules.loading.dataloader import SkippedSamples
from datamodules.loading.datamodule import Shards
from datamodules.shards.index import ShardIndex
from datamodules.shards.remote import open_set
from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.core.provenance import provenance
from emo_lightning.models.checkpoint_io import (
    export_checkpoint,
    load_decoupler,
    read_network,
    read_training_checkpoint,
)
from emo_lightning.models.layers.temporal import parameter_count
from emo_lightning.training.base import StageModule, TrainingContext
from emo_lightning.training.callbacks import (
    FiniteGuard,
    RunProgress,
    averaging_callbacks,
    checkpoint_callbacks,
    library_callbacks,
    log_artifact,
    quiet,
    trackers,
    wandb_id,
)
from emo_lightning.training.config import RunConfig, flatten, to_plain
from emo_lightning.training.data import build_data
from emo_lightning.training.devices import World, find_world, strategy_for
from emo_lightning.training.run_dir import (
    BEST,
    LAST,
    RECORD,
    AtomicCheckpointIO,
    MetricsFile,
    RunError,
    RunRecord,
    choose_checkpoint,
    lock_folder,
    prepare_folder,
    print_line,
)

RESUME_BLOCKS = ("loss", "recipe", "optim")
SCHEDULE = ("max_steps", "accumulate_grad_batches", "gradient_clip_val")
"""Keys of ``trainer`` that the schedule depends on."""
HALF_PRECISION = ("renderer", "refiner")
"""Products that no later stage is trained on: exported in half precision."""


def train(config: RunConfig) -> Path:
    """Train a stage to the end.

    Returns:
        The exported network, ``out/{decoupler,heads,renderer,refiner}.safetensors``.

    Raises:
        UserError: data, predecessor, folder or checkpoint that cannot be used; before any training.
        RunError: the run had to stop.
        SystemExit: a signal ended it, after a checkpoint.
    """
    quiet()
    world = find_world(config)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    if world.accelerator == "gpu":
        torch.set_float32_matmul_precision("high")
    L.seed_everything(config.seed, verbose=False)
    places = data_places(config.data)
    sources = [open_set(place, "data") for place in places]
    folder = prepare_folder(config.out)
    index = sources[0].index
    with contextlib.ExitStack() as held:
        lock = lock_folder(folder)
        if lock is not None:
            held.enter_context(lock)
        origin = provenance({}, ("torch", "lightning", "numpy"))
        origin["data_index_sha256"] = " ".join(source.index_sha256 for source in sources)
        stage = build_stage(config, index, origin)
        if config.init is not None:
            origin["init"] = initialise(stage, config.init)
        shards = build_data(config, index, places, stage.needs_whisper)
        shards.setup()
        shards.check_ranks(world.size)
        return run_stage(config, world, stage, shards, folder)


def run_stage(
    config: RunConfig, world: World, stage: StageModule, data: Shards, folder: Path
) -> Path:
    """Fit the stage, resuming where its folder has a checkpoint, and export it."""
    checkpoint = choose_checkpoint(config.resume, folder)
    step = 0
    if checkpoint is not None:
        step = check_resumable(checkpoint, stage, config)
    weights = checkpoint if config.resume == "weights" else None
    if weights is not None:
        load_weights(stage, weights)
        checkpoint, step = None, 0
    content = {
        "config": to_plain(config),
        "monitor": stage.monitor,
        "parameters": {
            "trained": parameter_count(stage.network),
            "all": parameter_count(stage),
        },
        "resumed_at": step,
        "wandb_id": wandb_id(read_record(folder) if step else None),
        **stage.meta(),
    }
    record = RunRecord(folder, content)
    validates = bool(data.samples("val"))
    metrics = MetricsFile(folder, step)
    metrics.start()
    loggers: list[Logger] = [metrics, *trackers(config, folder, record.content)]
    trainer = build_trainer(config, world, stage, record, loggers, validates)
    apply_speed_options(stage, config)
    try:
        trainer.fit(stage, data, ckpt_path=checkpoint and str(checkpoint), weights_only=True)
    except SystemExit as stopped:
        record.update(state=f"stopped (exit code {stopped.code})")
        raise
    except torch.OutOfMemoryError as error:
        record.update(state="failed: out of GPU memory")
        raise RunError(out_of_memory(config, error)) from None
    except BaseException as error:
        record.update(state=f"failed: {type(error).__name__}")
        raise
    path = folder / f"{stage.product}.safetensors"
    if trainer.is_global_zero:
        best = folder / BEST
        chosen = best if config.export == "best" and validates and best.is_file() else folder / LAST
        export_checkpoint(chosen, stage.product, path, half=stage.product in HALF_PRECISION)
        record.update(state="finished", exported=chosen.name)
        print_line(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB) from {chosen.name}")
        log_artifact(trainer.loggers, stage.product, path)
    return path


def data_places(text: str) -> list[str]:
    """Sets that ``data=`` names: one, or several with commas, mixed by their length."""
    return [text] if Path(text).exists() else text.split(",")


def read_record(folder: Path) -> dict[str, Any] | None:
    """The folder's run record, or None where there is no readable one."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def build_stage(config: RunConfig, index: ShardIndex, origin: dict[str, Any]) -> StageModule:
    """The stage on its predecessor's weights; UserError for sizes that no network can have."""
    context = TrainingContext(index.layout, config.seed, None, origin)
    predecessor = "decoupler" if config.stage == 2 else "heads"
    path, before = getattr(config, predecessor, None), None
    if path is not None:
        before = read_network(path, predecessor, predecessor)
        before.layout.check_same(index.layout, f"the {predecessor}", "data")
        context.predecessor = before.fingerprint
    settings: Any = config
    common = (settings.model, settings.loss, settings.recipe, settings.optim, context)
    try:
        if config.stage == 1:
            from emo_lightning.training.decoupler import DecouplerModule

            return checked_frames(DecouplerModule(*common), config)
        if config.stage == 2:
            from emo_lightning.training.motion import MotionModule

            assert before is not None
            return checked_frames(MotionModule(*common, load_decoupler(before)), config)
        from emo_lightning.training.perceptual import choose_perceptual

        perceptual = choose_perceptual(settings.recipe)
        if hasattr(config, "renderer"):
            from emo_lightning.training.refiner import RefinerModule

            return RefinerModule(*common, perceptual)
        from emo_lightning.training.renderer import RendererModule

        return RendererModule(*common, perceptual)
    except ValueError as error:
        raise UserError("model", settings.size, "sizes that fit each other", f"({error})") from None


def checked_frames(stage: Any, config: RunConfig) -> StageModule:
    """The stage, unless a window is no longer than the frames that its mask drops."""
    if config.loader.frames <= stage.context_frames:
        accepted = f"more than {stage.context_frames}, the receptive field"
        raise UserError("loader.frames", config.loader.frames, accepted)
    return stage


def build_trainer(
    config: RunConfig,
    world: World,
    stage: StageModule,
    record: RunRecord,
    loggers: list[Logger],
    validates: bool,
) -> L.Trainer:
    """Lightning's trainer, with the run's logs and checkpoints."""
    wanted, folder = config.trainer, record.folder
    accumulate = wanted.accumulate_grad_batches
    log_every = min(wanted.log_every, wanted.val_every, wanted.max_steps)
    samples = config.loader.batch_size * accumulate * world.size
    figures = []
    if config.logging.pictures and validates:
        from emo_lightning.training.figures import ValidationFigures

        figures.append(ValidationFigures(folder))
    callbacks = [
        *figures,
        RunProgress(log_every, samples),
        SkippedSamples(record.skipped),
        LearningRateMonitor("step"),
        FiniteGuard(folder),
        *averaging_callbacks(getattr(stage.model_config, "ema_decay", 0.0)),
        *library_callbacks(config.callbacks),
        *checkpoint_callbacks(config, folder, validates, stage.monitor),
    ]
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return L.Trainer(
        accelerator=world.accelerator,
        devices=world.devices,
        num_nodes=world.nodes,
        strategy=strategy_for(world, wanted, adversarial=config.stage == 3),
        precision=wanted.precision,
        max_steps=wanted.max_steps,
        max_epochs=-1,
        val_check_interval=wanted.val_every * accumulate if validates else 1.0,
        check_val_every_n_epoch=None if validates else 1,
        limit_val_batches=wanted.val_batches if validates else 0,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=wanted.gradient_clip_val or None,
        log_every_n_steps=log_every,
        logger=loggers,
        callbacks=callbacks,
        plugins=plugins,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def apply_speed_options(stage: StageModule, config: RunConfig) -> None:
    """channels_last memory format and torch.compile; the names of weights stay."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in stage.parameters() if config.trainer.channels_last else ():
        if parameter.dim() in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])
    for network in stage.compiled_networks() if config.trainer.compile else ():
        network.compile()


def check_resumable(path: Path, stage: StageModule, config: RunConfig) -> int:
    """The step that a checkpoint stopped at.

    Raises:
        UserError: unreadable, or made with other losses, options or schedule (unless only its
            weights are taken).
        MismatchError: it belongs to another stage, other sizes, another layout or another
            predecessor.
    """
    before, mine = read_network(path, stage.product, "resume"), stage.meta()
    for what in ("model", "layout", "predecessor"):
        if before.meta.get(what) != mine.get(what):
            accepted = "a checkpoint of the same configuration, resume=never, or another out"
            raise MismatchError("resume", path, accepted, f"was made with another {what}")
    record = read_training_checkpoint(path)
    if config.resume != "weights":
        old = resume_facts(record["hyper_parameters"], read_record(path.parent))
        new = resume_facts(dict(stage.hparams), {"config": to_plain(config)})
        changes = [
            f"{key} {old[key]} -> {value}"
            for key, value in new.items()
            if key in old and old[key] != value
        ]
        if changes:
            accepted = (
                "the same values, resume=weights (start anew from its weights), or resume=never"
            )
            raise UserError(
                "resume", path, accepted, f"was made with other values: {', '.join(changes)}"
            )
    return int(record["global_step"])


def resume_facts(hparams: Mapping[str, Any], record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Dotted keys and values that a resumed run must not change."""
    found = flatten({block: hparams.get(block, {}) for block in RESUME_BLOCKS})
    trainer = (record or {}).get("config", {}).get("trainer", {})
    return found | {f"trainer.{key}": trainer[key] for key in SCHEDULE if key in trainer}


def initialise(stage: StageModule, path: str) -> str:
    """Load another run's network into a stage; returns its fingerprint.

    Raises:
        UserError: an unreadable file.
        MismatchError: another stage's network, another layout or other sizes.
    """
    before = read_network(path, stage.product, "init")
    before.layout.check_same(stage.context.layout, path, "data")
    try:
        stage.network.load_state_dict(before.state, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        accepted = "a network of the run's own sizes"
        raise MismatchError("init", path, accepted, f"has others ({reason})") from None
    return before.fingerprint


def load_weights(stage: StageModule, path: Path) -> None:
    """Weights of a checkpoint, those being trained rather than their average."""
    record = read_training_checkpoint(path)
    stage.load_state_dict(record.get("current_model_state", record["state_dict"]))


def out_of_memory(config: RunConfig, error: BaseException) -> str:
    """One line that names the keys which save GPU memory."""
    size = config.loader.batch_size
    knobs = f"lower loader.batch_size ({size}) and raise trainer.accumulate_grad_batches by as much"
    more = "trainer.precision=bf16-mixed, a smaller size= or model.image_size, more devices"
    return f"out of GPU memory: {knobs}; or {more} ({str(error).splitlines()[0]})"
