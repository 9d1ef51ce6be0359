"""Why some parts are ours: promises that Lightning's own classes do not keep, each with the case
that fails.

When one of these tests fails, the library has learned it and our class can go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from emo_lightning.training.callbacks import IntervalCheckpoint
from emo_lightning.training.run_dir import MetricsFile


def test_the_csv_logger_deletes_the_metrics_of_the_run_that_it_resumes(tmp_path: Path) -> None:
    """Ours keeps the rows before the step that a run resumes from."""
    for first in (0, 1):
        logger = CSVLogger(tmp_path / "library", name="", version="")
        ours = MetricsFile(tmp_path, first)
        ours.start()
        for each in (logger, ours):
            each.log_metrics({"loss": 1.0}, step=first)
        logger.save()
    rows = (tmp_path / "library" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2, "header and the second run's row: the first run's is gone"
    assert ours.path.read_text().splitlines() == ["step,name,value", "0,loss,1", "1,loss,1"]


class Counting(L.LightningModule):
    """Counts its validations."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.validated: list[int] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).mean()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.validated.append(self.global_step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self) -> Any:
        while True:
            yield torch.ones(1)


def validations_after_resume(folder: Path, checkpoint: ModelCheckpoint, kept: bool) -> list[int]:
    """Steps of validations after a kill between the checkpoint of step 2 and its validation."""

    def fit(module: Counting, path: Path | None, callbacks: list) -> None:
        trainer = L.Trainer(
            max_steps=4, val_check_interval=2, check_val_every_n_epoch=None, logger=False,
            callbacks=callbacks, accelerator="cpu", enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=1,
            enable_checkpointing=bool(callbacks),
        )  # fmt: skip
        data = torch.utils.data.DataLoader(Endless(), batch_size=None)
        trainer.fit(module, data, data, ckpt_path=path and str(path), weights_only=True)

    class Killed(Counting):
        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            raise KeyError("killed")

    try:
        fit(Killed(), None, [checkpoint])
    except KeyError:
        pass
    path = folder / "last.ckpt"
    assert path.is_file() == kept
    module = Counting()
    fit(module, path if kept else None, [])
    return module.validated


def test_the_library_s_checkpoint_before_a_validation_loses_that_validation(tmp_path: Path) -> None:
    """Ours waits for the validation, whose own checkpoint follows."""
    options = {"filename": "last", "every_n_train_steps": 2, "enable_version_counter": False}
    library = ModelCheckpoint(tmp_path / "a", **options)
    assert validations_after_resume(tmp_path / "a", library, kept=True) == [4]
    ours = IntervalCheckpoint(1, 2, dirpath=tmp_path / "b", **options)
    assert validations_after_resume(tmp_path / "b", ours, kept=False) == [2, 4]
