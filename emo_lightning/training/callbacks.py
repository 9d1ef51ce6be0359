"""Callbacks and loggers of a run: checkpoints, signals, finite losses, progress, averaged
weights."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks as library
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor
from tqdm import tqdm

from emo_lightning.core.errors import UserError
from emo_lightning.training.config import RunConfig, WandbConfig
from emo_lightning.training.run_dir import BEST, LAST, NOT_REPEATABLE, RunError, print_line

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}
EMA_WARMUP = 10
"""The average's decay at step n is at most (1 + n) / (EMA_WARMUP + n), so that it forgets the
start."""


def quiet() -> None:
    """Keep Lightning's advice and its dependencies' notices out of the log; its warnings stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*Checkpoint directory.*exists and is not empty",
        ".*LeafSpec.*deprecated",
        r".*module\(s\) in eval mode at the start of training",
        ".*find_unused_parameters=True was specified",
        ".*does not have many workers which may be a bottleneck",
        ".*You have overridden `on_after_batch_transfer` in `LightningModule`",
    ):
        warnings.filterwarnings("ignore", message=message)


class IntervalCheckpoint(ModelCheckpoint):
    """The library's checkpoints by steps or time, where a resumed run can repeat what follows.

    Not in the middle of accumulated gradients, and not right before a validation: Lightning would
        skip
    that validation on resume. The validation's own checkpoint follows.

    Args:
        accumulate: batches of a step.
        val_batches: batches between validations; 0 for no validation.
    """

    def __init__(self, accumulate: int, val_batches: int, **options: Any) -> None:
        super().__init__(**options)
        self.accumulate, self.val_batches = accumulate, val_batches

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if resumable_after(batch_idx, self.accumulate, self.val_batches):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


def resumable_after(batch_idx: int, accumulate: int, val_batches: int) -> bool:
    """Whether a checkpoint after this batch resumes exactly."""
    done = batch_idx + 1
    return done % accumulate == 0 and not (val_batches and done % val_batches == 0)


class SaveAndStop(Callback):
    """Saves ``last.ckpt`` and leaves when a signal asks for it; saves it at the last step, too.

    SIGTERM exits with 143, SIGINT with 130; SIGUSR1 requeues the job under SLURM. A second signal
    ends the process at once.

    Args:
        path: the checkpoint.
        accumulate, val_batches: as :class:`IntervalCheckpoint`.
    """

    def __init__(self, path: Path, accumulate: int, val_batches: int) -> None:
        self.path, self.accumulate, self.val_batches = path, accumulate, val_batches
        self.received = self.saved_for = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in EXIT_CODES:
            self._before[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        self._restore()
        print_line(f"{signal.Signals(number).name}: saving {self.path}, then leaving")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Not before: the metrics of the step that was saved are logged only now.
        self._leave(self.saved_for)
        # A signal during a validation, or right before one: its checkpoint is written by now.
        if self.val_batches and batch_idx and batch_idx % self.val_batches == 0:
            self._leave(self._agreed(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not resumable_after(batch_idx, self.accumulate, self.val_batches):
            return
        self.saved_for = self._agreed(trainer)
        if self.saved_for or trainer.global_step >= trainer.max_steps:
            trainer.save_checkpoint(self.path)

    def _agreed(self, trainer: Trainer) -> int:
        """The signal that any rank received, or 0."""
        if trainer.world_size == 1:
            return self.received
        mine = torch.tensor(self.received, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(mine, reduce_op="max"))

    def _leave(self, number: int) -> None:
        if not number:
            return
        job = os.environ.get("SLURM_JOB_ID")
        if number == signal.SIGUSR1 and job and os.environ.get("SLURM_PROCID", "0") == "0":
            try:
                subprocess.run(["scontrol", "requeue", job], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                print_line(f"scontrol requeue {job} failed ({error}); submit the job again")
            else:
                raise SystemExit(0)
        raise SystemExit(EXIT_CODES[signal.Signals(number)])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()


class FiniteGuard(Callback):
    """Stops the run at a loss or gradient that is not finite, before anything of it is saved.

    Its check is the step's one wait for the device. With a loss scaler, gradients overflow now and
    then by design, and only the loss is checked.

    Args:
        folder: of the run; ``failure-rankN.json`` has the step, the parts and the clips.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        finite = torch.isfinite(outputs["loss"].detach())
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if gradients and trainer.precision != "16-mixed":
            finite = finite & torch.isfinite(torch.nn.utils.get_total_norm(gradients))
        if bool(finite):
            return
        parts = {name: float(value) for name, value in outputs["parts"].items()}
        bad = [name for name, value in parts.items() if not torch.isfinite(torch.tensor(value))]
        clips = [str(key) for key in batch.get("key", [])]
        path = self.folder / f"failure-rank{trainer.global_rank}.json"
        report = {"step": trainer.global_step, "not_finite": bad, "parts": parts, "clips": clips}
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        what = f"loss.{', loss.'.join(bad)}" if bad else "the gradient"
        raise RunError(
            f"step {trainer.global_step}: {what} is not finite in a batch of clips "
            f"{', '.join(sorted(set(clips)))} (see {path}); earlier checkpoints are intact; "
            "check these clips, or lower model.lr"
        )


class RunProgress(Callback):
    """A bar over the whole run on a terminal, and one plain line at each validation.

    Args:
        steps: between updates of the bar's loss and of the logged throughput.
        samples: of one step, over all processes.
    """

    def __init__(self, steps: int, samples: int) -> None:
        self.steps, self.samples = steps, samples
        self._bar: tqdm | None = None
        self._start = (0.0, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step, total = trainer.global_step, trainer.max_steps
        self._start = (time.monotonic(), step)
        print_line(f"training {type(pl_module).__name__}: step {step} of {total}")
        if trainer.is_global_zero and sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=step, unit="step", dynamic_ncols=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.steps or not trainer.is_global_zero:
            return
        speed = {f"{NOT_REPEATABLE}samples_per_second": self.rate(trainer) * self.samples}
        for logger in trainer.loggers:
            logger.log_metrics(speed, step=trainer.global_step - 1)
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
            self._bar.set_postfix(loss=f"{float(outputs['loss']):.4f}")

    def rate(self, trainer: Trainer) -> float:
        """Steps per second since the run started or was resumed."""
        since, step = self._start
        return (trainer.global_step - step) / max(time.monotonic() - since, 1e-9)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names = ("train/loss", "val/loss", pl_module.monitor)
        shown = [
            f"{name} {float(trainer.callback_metrics[name]):.4f}"
            for name in dict.fromkeys(names)
            if name in trainer.callback_metrics
        ]
        rate, left = self.rate(trainer), trainer.max_steps - trainer.global_step
        remaining = timedelta(seconds=round(left / max(rate, 1e-9)))
        place = f"step {trainer.global_step} of {trainer.max_steps}"
        print_line(f"{place}: {', '.join(shown)} ({rate:.1f} steps/s, {remaining} left)")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.close()


def ema_update(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """Update of :class:`WeightAveraging`: an exponential average that starts with short memory."""

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        step = torch.as_tensor(count, dtype=torch.float32, device=averages[0].device)
        share = 1.0 - ((1.0 + step) / (EMA_WARMUP + step)).clamp_max(decay)
        torch._foreach_add_(
            averages, torch._foreach_mul(torch._foreach_sub(current, averages), share)
        )

    return update


def checkpoint_callbacks(
    config: RunConfig, folder: Path, validates: bool, monitor: str
) -> list[Callback]:
    """Checkpoints at each validation, the best of them, between them, and when leaving."""
    wanted, keep = config.trainer, {"dirpath": folder, "enable_version_counter": False}
    accumulate = wanted.accumulate_grad_batches
    val_batches = wanted.val_every * accumulate if validates else 0
    steps = wanted.checkpoint_steps or (0 if validates else wanted.val_every)
    last = {**keep, "filename": Path(LAST).stem}
    found: list[Callback] = [SaveAndStop(folder / LAST, accumulate, val_batches)]
    if steps:
        found.append(IntervalCheckpoint(accumulate, val_batches, every_n_train_steps=steps, **last))
    if wanted.checkpoint_minutes:
        interval = timedelta(minutes=wanted.checkpoint_minutes)
        found.append(
            IntervalCheckpoint(accumulate, val_batches, train_time_interval=interval, **last)
        )
    if validates:
        found.append(ModelCheckpoint(filename=Path(BEST).stem, monitor=monitor, **keep))
        found.append(ModelCheckpoint(**last))
    return found


def library_callbacks(wanted: Mapping[str, Any]) -> list[Callback]:
    """Callbacks of ``lightning.pytorch.callbacks`` by class name; UserError for an unknown one."""
    found = []
    for name, options in wanted.items():
        cls = getattr(library, name, None) if name in library.__all__ else None
        if cls is None:
            raise UserError(
                "callbacks", name, ", ".join(sorted(library.__all__)), "is not a callback"
            )
        try:
            found.append(cls(**(options or {})))
        except (TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"callbacks.{name}", options, "its arguments", reason) from None
    return found


def averaging_callbacks(decay: float) -> list[Callback]:
    """The moving average of the weights, which is validated and exported; none at 0."""
    return [WeightAveraging(use_buffers=False, multi_avg_fn=ema_update(decay))] if decay else []


def trackers(config: RunConfig, folder: Path, record: Mapping[str, Any]) -> list[Logger]:
    """W&B and TensorBoard loggers that the run asks for.

    Raises:
        UserError: a package is not installed, or W&B has no key.
    """
    found: list[Logger] = []
    if config.logging.tensorboard:
        from lightning.pytorch.loggers import TensorBoardLogger

        try:
            found.append(TensorBoardLogger(folder, name="", version="tensorboard"))
        except ModuleNotFoundError:
            accepted = "false, or install the package tensorboard"
            raise UserError("logging.tensorboard", "true", accepted, "needs tensorboard") from None
    if config.wandb.mode != "disabled":
        found.append(wandb_logger(config, config.wandb, folder, record))
    return found


def wandb_logger(
    config: RunConfig, wanted: WandbConfig, folder: Path, record: Mapping[str, Any]
) -> Logger:
    """The W&B logger; a resumed run keeps its id."""
    try:
        import wandb
        from lightning.pytorch.loggers import WandbLogger
    except ModuleNotFoundError:
        accepted = "disabled, or install the package wandb"
        raise UserError("wandb.mode", wanted.mode, accepted, "needs the package wandb") from None
    if wanted.mode == "online" and not wandb.api.api_key:
        accepted = "offline or disabled, or run 'wandb login' first"
        raise UserError("wandb.mode", "online", accepted, "needs a W&B API key")
    return WandbLogger(
        project=wanted.project,
        name=wanted.name or folder.name,
        group=wanted.group or f"stage{config.stage}",
        tags=list(wanted.tags),
        id=str(record["wandb_id"]),
        resume="allow",
        save_dir=folder,
        offline=wanted.mode == "offline",
        config=dict(record["config"]),
    )


def wandb_id(earlier: Mapping[str, Any] | None) -> str:
    """Id of the run for W&B: the sweep agent's, that of the run being resumed, or a new one."""
    known = (earlier or {}).get("wandb_id")
    return os.environ.get("WANDB_RUN_ID") or known or uuid.uuid4().hex[:8]


def log_artifact(loggers: Sequence[Logger], product: str, path: Path) -> None:
    """Exported weights as an artifact of the W&B run, which ends with it."""
    for logger in loggers:
        if type(logger).__name__ == "WandbLogger":
            import wandb

            artifact = wandb.Artifact(product, type="model")
            artifact.add_file(str(path))
            logger.experiment.log_artifact(artifact)  # type: ignore[attr-defined]
            logger.experiment.finish()  # type: ignore[attr-defined]
