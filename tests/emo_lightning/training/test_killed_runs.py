"""A run killed in the middle of an epoch goes on from its last step's checkpoint and ends as one
that never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from emo_lightning.models.checkpoint_io import read_network, read_training_checkpoint
from emo_lightning.training.base import StageModule
from emo_lightning.training.config import load_config
from emo_lightning.training.run_dir import AtomicCheckpointIO
from emo_lightning.training.train import train

PRODUCTS = {1: "decoupler", 2: "heads", 3: "renderer"}
EPOCH, STEPS = 30, 70


def run(repository: Path, stage: int, *words: object) -> Path:
    settings = ["size=debug", "wandb.mode=disabled", "trainer.log_every=1", *map(str, words)]
    return train(load_config(repository / "experiments" / f"stage{stage}.yaml", settings))


def ends_alike(first: Path, second: Path, product: str) -> bool:
    """Whether two runs logged the same losses at every step and ended with the same weights."""
    marks = {
        read_network(out / f"{product}.safetensors", product, "x").fingerprint
        for out in (first, second)
    }
    return (
        len(marks) == 1
        and (first / "metrics.csv").read_text() == (second / "metrics.csv").read_text()
    )


@pytest.mark.parametrize(
    ("stage", "every", "step"), [(1, 2, 8), (2, 2, 8), (3, 2, 8), (1, 0, 5), (3, 0, 5)]
)
def test_every_stage_goes_on_from_its_last_checkpoint(
    repository: Path,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: int,
    every: int,
    step: int,
) -> None:
    words = [
        f"data={shards}",
        "trainer.max_steps=10",
        "trainer.val_every=5",
        f"trainer.checkpoint_steps={every}",
        "recipe.gan_start=3",
    ]
    if stage != 3:
        words.pop()
    if stage == 2:
        first = run(repository, 1, f"data={shards}", f"out={tmp_path}/1", "trainer.max_steps=1")
        words.append(f"decoupler={first}")
    run(repository, stage, *words, f"out={tmp_path}/whole")
    begin = StageModule.on_train_batch_start

    def broken(self: StageModule, batch: object, batch_idx: int) -> None:
        if self.global_step == 9:
            raise ConnectionResetError("the machine went away")
        begin(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(StageModule, "on_train_batch_start", broken)
        with pytest.raises(ConnectionResetError):
            run(repository, stage, *words, f"out={tmp_path}/broken")
    assert read_training_checkpoint(tmp_path / "broken" / "last.ckpt")["global_step"] == step
    run(repository, stage, *words, f"out={tmp_path}/broken")
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["resumed_at"] == step
    assert ends_alike(tmp_path / "whole", tmp_path / "broken", PRODUCTS[stage])


def test_time_as_well_as_steps_calls_for_a_checkpoint(
    repository: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    save = AtomicCheckpointIO.save_checkpoint

    def seen(
        self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        written.append((Path(path).name, checkpoint["global_step"]))
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", seen)
    words = [f"data={shards}", "trainer.max_steps=5", "trainer.val_every=5"]
    run(repository, 1, *words, "trainer.checkpoint_minutes=1e-9", f"out={tmp_path}/often")
    assert written == [
        *(("last.ckpt", step) for step in (1, 2, 3, 4)),
        ("best.ckpt", 5),
        ("last.ckpt", 5),
    ]
    written.clear()
    run(repository, 1, *words, f"out={tmp_path}/seldom")
    assert written == [("best.ckpt", 5), ("last.ckpt", 5)]


def test_two_processes_killed_within_an_epoch_end_with_the_same_weights(
    repository: Path, shards: Path, tmp_path: Path
) -> None:
    words = [
        "experiments/stage1.yaml",
        "size=debug",
        "wandb.mode=disabled",
        "trainer.log_every=1",
        f"data={shards}",
        "loader.workers=1",
    ]
    words += [
        "trainer.devices=2",
        "trainer.accelerator=cpu",
        f"trainer.max_steps={STEPS}",
        f"trainer.val_every={EPOCH}",
    ]
    words += ["trainer.checkpoint_steps=4"]

    def start(out: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "emo_lightning.cli",
            "train",
            *words,
            f"out={tmp_path}/{out}",
        ]
        return subprocess.Popen(command, cwd=repository, start_new_session=True)

    def reached() -> int:
        path = tmp_path / "killed" / "last.ckpt"
        return read_training_checkpoint(path)["global_step"] if path.exists() else 0

    killed, deadline = start("killed"), time.monotonic() + 240
    while reached() <= EPOCH:
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    step = reached()
    assert EPOCH < step < STEPS and step % 4 == 0, "the kill came within the second epoch"
    assert not (tmp_path / "killed" / "decoupler.safetensors").exists()
    whole, again = start("whole"), start("killed")
    assert (whole.wait(300), again.wait(300)) == (0, 0)
    assert json.loads((tmp_path / "killed" / "run.json").read_text())["resumed_at"] == step
    assert ends_alike(tmp_path / "whole", tmp_path / "killed", "decoupler")
    assert torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)["global_step"] == STEPS
