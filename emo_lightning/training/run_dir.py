"""A run's folder: record, metrics, checkpoints that survive a kill, and its lock.

run.json        resolved configuration, state, commit, versions, hash of the data, skipped samples
metrics.csv     step, name, value of everything logged
last.ckpt       newest state; previous.ckpt the one before; best.ckpt the best by the metric
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import json
import os
import shutil
import socket
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from emo_lightning.core.atomic_files import atomic_file, move_into_place
from emo_lightning.core.errors import UserError
from emo_lightning.models.checkpoint_io import read_training_checkpoint

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
METRICS, RECORD, LOCK = "metrics.csv", "run.json", ".lock"
UNREADABLE = (RuntimeError, OSError, EOFError, ValueError, KeyError)
NOT_REPEATABLE = "time/"
"""Beginning of metrics that a resumed run does not repeat; metrics.csv leaves them out."""


class RunError(Exception):
    """A run that cannot go on; printed as one line, exit code 1."""


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A full disk as a RunError of one line that names the path."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = getattr(error, "errno", None)
        # PyTorch's writer reports a failed write as a RuntimeError without a reason.
        lost = isinstance(error, RuntimeError) and shutil.disk_usage(path.parent).free < 1 << 20
        if code not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and not lost:
            raise
        raise RunError(
            f"{path}: the disk is full; free space and run the same command again"
        ) from None


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints appear by rename, so that a killed process leaves none half-written.

    The last one is kept as the previous one until the next is complete.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(path), atomic_file(path) as temporary:
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                move_into_place(path, path.with_name(PREVIOUS))


class MetricsFile(Logger):
    """``metrics.csv`` with one row per value, appended to as the run goes.

    Args:
        folder: of the run.
        first_step: rows from this step on are dropped, since a resumed run writes them again.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        super().__init__()
        self.path, self.first_step = folder / METRICS, first_step

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
    def start(self) -> None:
        """Write the header and the rows of the steps that stay."""
        rows = [row for row in read_metrics(self.path) if row[0] < self.first_step]
        with disk_errors(self.path), atomic_file(self.path) as temporary:
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([["step", "name", "value"], *rows])

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append the values; after a failure none of them stays."""
        rows = [
            [step, name, f"{value:.7g}"]
            for name, value in sorted(metrics.items())
            if name != "epoch" and not name.startswith(NOT_REPEATABLE)
        ]
        size = self.path.stat().st_size
        with disk_errors(self.path):
            try:
                with open(self.path, "a", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerows(rows)
            except OSError:
                os.truncate(self.path, size)
                raise


def read_metrics(path: Path) -> list[tuple[int, str, str]]:
    """Step, name and value of each complete row; none where there is no file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [(int(row[0]), row[1], row[2]) for row in rows if len(row) == 3 and row[2]]


class RunRecord:
    """``run.json``; it appears whole or not at all."""

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        self.folder, self.content = folder, {**content, "skipped": {}, "state": "running"}
        self.update()

    @rank_zero_only
    def update(self, **values: Any) -> None:
        """Write the record with changed values."""
        self.content |= values
        path = self.folder / RECORD
        with disk_errors(path), atomic_file(path) as temporary:
            temporary.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")

    def skipped(self, totals: Mapping[str, int]) -> None:
        """Print and record how many samples could not be decoded, by reason."""
        self.update(skipped=dict(totals))
        counts = ", ".join(f"{count} {reason}" for reason, count in totals.items())
        print_line(f"samples skipped so far: {counts}")


@rank_zero_only
def print_line(line: str) -> None:
    """Print on the first rank."""
    print(line, flush=True)


def prepare_folder(out: str) -> Path:
    """Make the run's folder; UserError where that cannot be.

    ``{run_id}`` in the name becomes the id that a sweep's agent gives, or the time.
    """
    if "{run_id}" in out:
        # In the environment, because a run's other processes start later and need the same folder.
        fallback = os.environ.get("WANDB_RUN_ID") or time.strftime("%Y%m%d-%H%M%S")
        out = out.replace("{run_id}", os.environ.setdefault("EMO_RUN_ID", fallback))
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


def lock_folder(folder: Path) -> IO[str] | None:
    """Lock a run's folder while the returned file is open; the first rank holds it.

    Raises:
        UserError: another run holds it.
    """
    if rank_zero_only.rank != 0:
        return None
    file = open(folder / LOCK, "a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        accepted = "another out, or wait until that run ends"
        raise UserError("out", folder, accepted, f"is in use by a run ({owner})") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def choose_checkpoint(resume: str, folder: Path) -> Path | None:
    """The checkpoint to resume from, or None to start anew.

    With ``auto`` and ``weights`` a damaged newest checkpoint gives way to the one before it, with
    a line that says so.

    Raises:
        UserError: a path that is no readable checkpoint, or no checkpoint to take weights from.
    """
    if resume == "never":
        return None
    if resume not in ("auto", "weights"):
        if not Path(resume).is_file():
            accepted = "auto, never, weights, or a checkpoint's path"
            raise UserError("resume", resume, accepted, "is not a file")
        return Path(resume)
    present = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for tried, path in enumerate(present):
        problem = checkpoint_problem(path)
        if problem is None:
            for damaged in present[:tried]:
                # The next checkpoint would take it for the one before.
                rank_zero_only(damaged.unlink)(missing_ok=True)
            return path
        print_line(f"{path} is damaged ({problem}); trying the checkpoint before it")
    if present or resume == "weights":
        problem = "holds only damaged checkpoints" if present else "holds no checkpoint"
        raise UserError("resume", folder, "resume=never, or another out", problem)
    return None


def checkpoint_problem(path: Path) -> str | None:
    """Why a checkpoint cannot be read, or None when it can."""
    try:
        read_training_checkpoint(path)
    except UNREADABLE as error:
        return (str(error).splitlines() or ["it is cut short"])[0][:80]
    except Exception as error:  # torch's reader of unsafe pickles has an exception class of its own
        if type(error).__name__ != "UnpicklingError":
            raise
        return "holds more than plain weights"
    return None
