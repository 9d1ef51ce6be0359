"""Whatever stops a run leaves its folder whole: NaN, signals, damaged files, a full disk."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from emo_lightning.cli import main
from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.models.checkpoint_io import read_network, read_training_checkpoint
from emo_lightning.training import run_dir
from emo_lightning.training.base import StageModule
from emo_lightning.training.config import load_config
from emo_lightning.training.decoupler import DecouplerModule
from emo_lightning.training.run_dir import RunError
from emo_lightning.training.train import train

QUICK = ["size=debug", "wandb.mode=disabled", "trainer.log_every=1", "trainer.max_steps=6"]
QUICK += ["trainer.val_every=3", "trainer.checkpoint_steps=1"]


@pytest.fixture
def run(repository: Path, shards: Path, tmp_path: Path) -> Callable[..., Path]:
    """Train stage 1 into a folder of the test."""

    def start(out: str, *words: str, stage: str = "stage1") -> Path:
        given = [*QUICK, f"data={shards}", f"out={tmp_path / out}", *words]
        return train(load_config(repository / "experiments" / f"{stage}.yaml", given))

    return start


def at_step(
    monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[StageModule, Any], Any]
) -> None:
    """Do something to the result of one training step."""
    whole = DecouplerModule.training_step

    def changed(self: DecouplerModule, batch: Any, batch_idx: int) -> Any:
        result = whole(self, batch, batch_idx)
        return act(self, result) if batch_idx == step else result

    monkeypatch.setattr(DecouplerModule, "training_step", changed)


def spoilt(part: str) -> Callable[[StageModule, Any], Any]:
    def act(stage: StageModule, result: Any) -> Any:
        if part == "gradient":
            for p in stage.parameters():
                if p.requires_grad:
                    p.register_hook(lambda grad: grad * float("nan"))
            return result
        return {
            "loss": result["loss"] * float("nan"),
            "parts": result["parts"] | {part: torch.tensor(float("nan"))},
        }

    return act


@pytest.mark.parametrize("part", ["speech", "gradient"])
def test_a_value_that_is_not_finite_stops_the_run_before_it_is_saved(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    at_step(monkeypatch, 4, spoilt(part))
    with pytest.raises(RunError, match=rf"step 5: .*{part}.* not finite .*made-0\d"):
        run("nan")
    report = json.loads((tmp_path / "nan" / "failure-rank0.json").read_text())
    assert report["step"] == 5 and all(clip.startswith("made-") for clip in report["clips"])
    for name in ("last.ckpt", "previous.ckpt", "best.ckpt"):
        state = read_training_checkpoint(tmp_path / "nan" / name)["state_dict"]
        assert all(bool(torch.isfinite(value).all()) for value in state.values())
    assert not list((tmp_path / "nan").glob("*.safetensors"))
    assert json.loads((tmp_path / "nan" / "run.json").read_text())["state"] == "failed: RunError"


def test_the_command_ends_with_1_and_one_line(
    repository: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    at_step(monkeypatch, 0, spoilt("phone"))
    words = [str(repository / "experiments/stage1.yaml"), *QUICK, f"data={shards}"]
    with pytest.raises(SystemExit) as ended:
        main(["train", *words, f"out={tmp_path}/x"])
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("emo: ")]
    assert ended.value.code == 1 and len(lines) == 1 and "loss.phone" in lines[0]


@pytest.mark.parametrize(
    ("number", "code", "step"),
    [(signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 2), (signal.SIGUSR1, 138, 3)],
)
def test_a_signal_saves_leaves_and_the_rerun_is_exact(
    run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: int,
    code: int,
    step: int,
) -> None:
    """Step 2 is followed by a validation, which the run still makes."""
    whole = run("whole", "trainer.checkpoint_steps=0")
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda stage, result: (os.kill(os.getpid(), number), result)[1])
        with pytest.raises(SystemExit) as ended:
            run("cut", "trainer.checkpoint_steps=0")
    assert ended.value.code == code
    saved = read_training_checkpoint(tmp_path / "cut" / "last.ckpt")["global_step"]
    assert saved == step + 1 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = run("cut", "trainer.checkpoint_steps=0")
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["resumed_at"] == saved
    assert (again.parent / "metrics.csv").read_text() == (whole.parent / "metrics.csv").read_text()
    marks = {read_network(path, "decoupler", "x").fingerprint for path in (whole, again)}
    assert len(marks) == 1


def test_slurm_requeues_the_job(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    at_step(monkeypatch, 1, lambda s, result: (os.kill(os.getpid(), signal.SIGUSR1), result)[1])
    with pytest.raises(SystemExit) as ended:
        run("queued")
    assert ended.value.code == 0 and (tmp_path / "asked").read_text() == "requeue 77\n"


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run("run")
    metrics = (whole.parent / "metrics.csv").read_text()
    mark = read_network(whole, "decoupler", "x").fingerprint
    for damage in (b"", (whole.parent / "last.ckpt").read_bytes()[:5000]):
        (whole.parent / "last.ckpt").write_bytes(damage)
        run("run")
        assert "last.ckpt is damaged" in capsys.readouterr().out
        assert (whole.parent / "metrics.csv").read_text() == metrics
        assert read_network(whole, "decoupler", "x").fingerprint == mark
    for name in ("last.ckpt", "previous.ckpt"):
        (whole.parent / name).write_bytes(b"")
    with pytest.raises(UserError, match="only damaged checkpoints; accepted: resume=never"):
        run("run")


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save, count = torch.save, iter(range(99))

    def full(checkpoint: Any, file: Any) -> None:
        save(checkpoint, file)
        if next(count) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_dir.torch, "save", full)
    with pytest.raises(RunError, match=r"full/\w+\.ckpt: the disk is full"):
        run("full")
    assert {path.name for path in (tmp_path / "full").iterdir()} <= {
        "last.ckpt", "previous.ckpt", "metrics.csv", "run.json", ".lock", "best.ckpt"
    }  # fmt: skip
    monkeypatch.undo()
    run("full")


def test_metrics_of_a_full_disk_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = run_dir.MetricsFile(tmp_path, 0)
    metrics.start()
    metrics.log_metrics({"a": 1.0}, 1)
    before = metrics.path.read_text()

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def writerows(self, rows: Any) -> None:
            self.file.write("2,a")
            self.file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_dir.csv, "writer", Full)
    with pytest.raises(RunError, match=r"metrics\.csv: the disk is full"):
        metrics.log_metrics({"a": 2.0}, 2)
    assert metrics.path.read_text() == before


def test_out_of_gpu_memory_names_the_keys(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(stage: StageModule, result: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore")

    at_step(monkeypatch, 0, out_of_memory)
    with pytest.raises(RunError, match=r"loader\.batch_size \(4\).*bf16-mixed.*20\.00 GiB"):
        run("memory")


def test_changed_losses_or_schedule_are_listed_on_resume(run: Callable[..., Path]) -> None:
    run("run")
    changes = ("loss.phone=0.25", "optim.warmup_steps=7", "trainer.max_steps=8")
    with pytest.raises(UserError) as refused:
        run("run", *changes)
    for words in ("loss.phone 0.5 -> 0.25", "warmup_steps 5 -> 7", "max_steps 6 -> 8"):
        assert words in str(refused.value)
    path = run("run", *changes, "resume=weights")
    record = json.loads((path.parent / "run.json").read_text())
    assert record["resumed_at"] == 0 and record["state"] == "finished"
    first = (path.parent / "metrics.csv").read_text().splitlines()[1]
    assert first.startswith("0,")
    with pytest.raises(MismatchError, match="another model"):
        run("run", "model.width=16", "resume=weights")


def test_a_folder_has_one_run_at_a_time(run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as lock:
        lock.write("process 1 on elsewhere\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"in use by a run .*process 1 on elsewhere"):
            run("run")
    run("run", "trainer.max_steps=1")
    run("run", "trainer.max_steps=1")


def test_best_or_last_is_exported_and_any_checkpoint_can_be(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run("run", "trainer.val_every=2")
    found = {
        name: read_network(path.parent / f"{name}.ckpt", "decoupler", "x").fingerprint
        for name in ("best", "last")
    }
    assert read_network(path, "decoupler", "x").fingerprint == found["best"]
    run("run", "trainer.val_every=2", "export=last")
    assert read_network(path, "decoupler", "x").fingerprint == found["last"]
    out = tmp_path / "new" / "x.safetensors"
    assert main(["export", str(path.parent / "best.ckpt"), "--out", str(out)]) == 0
    assert read_network(out, "decoupler", "x").fingerprint == found["best"]
    record = read_training_checkpoint(path.parent / "best.ckpt")
    record["state_dict"]["decoupler.to_content.1.bias"][0] = float("nan")
    torch.save(record, tmp_path / "nan.ckpt")
    assert main(["export", str(tmp_path / "nan.ckpt"), "--out", str(out)]) == 2
    assert main(["export", str(path), "--out", str(tmp_path / "y.safetensors")]) == 2
    assert "not finite (to_content.1.bias)" in capsys.readouterr().err
