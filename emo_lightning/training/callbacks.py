"""A run's folder: what was asked for, what was measured, and checkpoints that survive a kill.

run.json        resolved configuration, commit, versions, hash of the data's index, predecessor, samples left out
metrics.csv     step, name, value of everything logged
last.ckpt       the newest state, of a validation or of a step between two; best.ckpt that with the least validation loss
"""

from __future__ import annotations

import csv
import json
import logging
import os
import time
import warnings
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from emo_lightning.core.errors import UserError
from emo_lightning.training.config import WandbConfig

LAST, BEST = "last.ckpt", "best.ckpt"
METRICS, RECORD = "metrics.csv", "run.json"


def quiet() -> None:
    """Keep Lightning's own advice and its dependencies' notices out of the log; its warnings stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists and is not empty")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated")
    warnings.filterwarnings("ignore", message=".*module\(s\) in eval mode at the start of training")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints appear by rename, so one that was being written when the process died is never read."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with open(temporary, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


class MetricsFile(Logger):
    """``metrics.csv`` with one row a value, appended to as the run goes.

    Args:
        folder: of the run.
        first_step: rows from this step on are dropped first: a resumed run measures them again.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        super().__init__()
        self.path = folder / METRICS
        self._kept: int | None = first_step

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Hyperparameters are in ``run.json``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append the values."""
        if self._kept is not None:
            self._restart(self._kept)
            self._kept = None
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [step, name, f"{value:.7g}"]
                for name, value in sorted(metrics.items())
                if name != "epoch"
            )

    def _restart(self, first_step: int) -> None:
        rows = []
        if first_step and self.path.is_file():
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = [
                    row
                    for row in list(csv.reader(file))[1:]
                    if len(row) == 3 and int(row[0]) < first_step
                ]
        temporary = self.path.with_name(f".{METRICS}.{os.getpid()}")
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["step", "name", "value"], *rows])
        os.replace(temporary, self.path)


class CleanEpochEnds(Callback):
    """Checkpoints of an epoch's end resume at the next epoch's beginning.

    Lightning stores the state inside its end-of-epoch hook, where the epoch is not yet counted as complete; resumed from
    there it runs an empty epoch first, and the data would be one epoch further than in a run that was never stopped. A
    checkpoint from within an epoch needs none of this.
    """

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        loop = checkpoint["loops"]["fit_loop"]
        if (
            loop["epoch_progress"]["current"]["processed"]
            < loop["epoch_progress"]["current"]["ready"]
        ):
            return
        for progress in loop["epoch_progress"].values():
            progress.update(
                {
                    "ready": progress["processed"],
                    "started": progress["processed"],
                    "completed": progress["processed"],
                }
            )
        current = loop["epoch_loop.batch_progress"]["current"]
        current.update(dict.fromkeys(current, 0))
        loop["epoch_loop.batch_progress"]["is_last_batch"] = False
        # Resuming counts one step more, for checkpoints older than this counter; the logs' steps would shift.
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


class StepCheckpoints(Callback):
    """Writes ``last.ckpt`` within epochs as well, every so many steps or minutes, so that a long epoch is never lost whole.

    Not after an epoch's last step: the epoch's own checkpoint follows, with the validation in it.

    Args:
        path: the checkpoint, the same as the epochs' own.
        steps: between two; 0 for never.
        minutes: since the one before; 0 for never.
    """

    def __init__(self, path: Path, steps: int, minutes: float) -> None:
        self.path, self.steps, self.seconds = path, steps, 60.0 * minutes
        self._since = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (
            batch_idx + 1 >= trainer.num_training_batches
            or trainer.global_step >= trainer.max_steps
            or not self._due(trainer)
        ):
            return
        trainer.save_checkpoint(self.path)
        self._since = time.monotonic()

    def _due(self, trainer: Trainer) -> bool:
        if self.steps and trainer.global_step % self.steps == 0:
            return True
        late = bool(self.seconds) and time.monotonic() - self._since >= self.seconds
        # Every rank takes part in writing, and their clocks differ.
        return bool(trainer.strategy.broadcast(late)) if self.seconds else False


def checkpoint_callbacks(
    folder: Path, validates: bool, steps: int, minutes: float
) -> list[Callback]:
    """Write ``last.ckpt`` at each validation and between them, and keep the best by validation loss, where there is one."""
    common: dict[str, Any] = {
        "dirpath": folder,
        "save_top_k": 1,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    best = (
        [ModelCheckpoint(filename=Path(BEST).stem, monitor="val/loss", **common)]
        if validates
        else []
    )
    return [
        CleanEpochEnds(),
        *best,
        ModelCheckpoint(filename=Path(LAST).stem, **common),
        StepCheckpoints(folder / LAST, steps, minutes),
    ]


def wandb_loggers(config: WandbConfig, folder: Path, settings: Mapping[str, Any]) -> list[Logger]:
    """The Weights & Biases logger that the run asks for, or none.

    Raises:
        UserError: it is asked for and not installed.
    """
    if config.mode == "disabled":
        return []
    try:
        from lightning.pytorch.loggers import WandbLogger

        offline = config.mode == "offline"
        logger = WandbLogger(
            project=config.project,
            name=config.name,
            save_dir=folder,
            offline=offline,
            config=dict(settings),
        )
    except ModuleNotFoundError:
        raise UserError(
            "wandb.mode",
            config.mode,
            "disabled, or install the package wandb",
            "needs the package wandb",
        ) from None
    return [logger]


def prepare_folder(out: str) -> Path:
    """Make the run's folder; UserError where that cannot be.

    ``{run_id}`` in the name becomes the run's id that a sweep agent gives, or the time, so that trials do not meet.
    """
    if "{run_id}" in out:
        # Kept in the environment, since the other processes of a run start later and must find the same folder.
        out = out.replace(
            "{run_id}",
            os.environ.setdefault(
                "EMO_RUN_ID", os.environ.get("WANDB_RUN_ID") or time.strftime("%Y%m%d-%H%M%S")
            ),
        )
    folder, accepted = Path(out), "a folder that can be made and written to"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError("out", folder, accepted, "is a file, or lies in one") from None
    except OSError as error:
        raise UserError("out", folder, accepted, f"cannot be made ({error.strerror})") from None
    if not os.access(folder, os.W_OK):
        raise UserError("out", folder, accepted, "cannot be written to")
    return folder


def resume_path(resume: str, folder: Path) -> Path | None:
    """The checkpoint to go on from, or None to start anew; UserError for a path that is none."""
    if resume == "never":
        return None
    if resume == "auto":
        return folder / LAST if (folder / LAST).is_file() else None
    if not Path(resume).is_file():
        raise UserError("resume", resume, "auto, never, or a checkpoint's path", "is not a file")
    return Path(resume)


class RunRecord:
    """``run.json``, written now and again when there is more to say; it appears whole or not at all."""

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        self.folder, self.content = folder, {**content, "left_out": {}}
        self._write()

    def left_out(self, totals: Mapping[str, int]) -> None:
        """Say, and note down, how many samples could not be read, by reason."""
        self.content["left_out"] = dict(totals)
        self._write()
        _say(
            "samples left out so far: "
            + ", ".join(f"{count} {reason}" for reason, count in totals.items())
        )

    @rank_zero_only
    def _write(self) -> None:
        temporary = self.folder / f".{RECORD}.{os.getpid()}"
        temporary.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self.folder / RECORD)


@rank_zero_only
def _say(line: str) -> None:
    print(line, flush=True)


class Lines(Callback):
    """One plain line at each validation, so that a log shows how far a run is."""

    def __init__(self) -> None:
        self._since, self._step = time.monotonic(), 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since, self._step = time.monotonic(), trainer.global_step
        _say(
            f"training {pl_module.__class__.__name__}: step {trainer.global_step} of {trainer.max_steps}"
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        took, steps = time.monotonic() - self._since, trainer.global_step - self._step
        self._since, self._step = time.monotonic(), trainer.global_step
        shown = {
            name: float(trainer.callback_metrics[name])
            for name in ("train/loss", "val/loss")
            if name in trainer.callback_metrics
        }
        values = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
        _say(
            f"step {trainer.global_step} of {trainer.max_steps}: {values} ({steps / max(took, 1e-9):.1f} steps/s)"
        )
