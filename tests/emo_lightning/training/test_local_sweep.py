"""Sweeps without a server: the same YAML, early stopping, and resume after a kill."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from emo_lightning.core.errors import UserError
from emo_lightning.training.sweep import LocalSweep, main, read_sweep

TRIAL = """
import sys, time, pathlib
words = dict(w.split("=", 1) for w in sys.argv[1:])
out = pathlib.Path(words["out"]); out.mkdir(parents=True, exist_ok=True)
(out / "starts").open("a").write("x")
lr, slow = float(words["model.lr"]), float(words.get("slow", 0))
with open(out / "metrics.csv", "w") as file:
    file.write("step,name,value\\n")
    for step in range(1, 4):
        file.write(f"{step},val/score,{abs(lr - 0.01) * 100 + 1 / step}\\n"); file.flush()
        time.sleep(slow)
sys.exit(3 if lr > 0.9 else 0)
"""


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    """A sweep whose trials are a stand-in for training."""
    (tmp_path / "trial.py").write_text(TRIAL)
    sweep = {
        "name": "s", "method": "random", "run_cap": 6,
        "metric": {"name": "val/score", "goal": "minimize"},
        "command": ["${env}", "${interpreter}", str(tmp_path / "trial.py"), "${args_no_hyphens}"],
        "parameters": {
            "out": {"value": f"{tmp_path}/runs/{{run_id}}"},
            "wandb.mode": {"value": "online"},
            "model.window": {"values": [5, 9]},
            "model.lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
        },
    }  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return path


def changed(path: Path, **values: object) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))
    return path


def test_trials_run_in_parallel_and_the_best_is_printed(
    sweep_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(sweep_file), "--local", "--parallel", "3", "--out", str(out)]) == 0
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert len(rows) == 6 and {row["state"] for row in rows} == {"complete"}
    values = [float(row["val/score"]) for row in rows]
    assert values == sorted(values)
    best = (out / "best.txt").read_text()
    assert best in capsys.readouterr().out and f"model.lr={rows[0]['model.lr']}" in best
    assert "wandb.mode=disabled" in best and (out / "parallel.png").stat().st_size > 5000
    assert main([str(sweep_file), "--local", "--out", str(out)]) == 0, "nothing is left to do"
    assert len(list((tmp_path / "runs").iterdir())) == 6


def test_a_grid_and_early_stopping_follow_the_yaml(sweep_file: Path, tmp_path: Path) -> None:
    grid = {"model.window": {"values": [5, 9]}, "model.lr": {"values": [0.01, 0.5, 1.0]}}
    parameters = yaml.safe_load(sweep_file.read_text())["parameters"] | grid
    stop = {"type": "hyperband", "min_iter": 1, "eta": 2}
    parameters["slow"] = {"value": 1.0}
    path = changed(sweep_file, method="grid", parameters=parameters, early_terminate=stop)
    (tmp_path / "x").mkdir()
    sweep = yaml.safe_load(path.read_text())
    sweep.pop("run_cap")
    path.write_text(yaml.safe_dump(sweep))
    best = LocalSweep(path, tmp_path / "out", None, []).run(parallel=6)
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert len(rows) == 6 and best.params["model.lr"] == 0.01
    assert len({(row["model.window"], row["model.lr"]) for row in rows}) == 6
    assert {"pruned", "complete"} <= {row["state"] for row in rows}


def test_a_killed_sweep_goes_on_with_its_unfinished_trials(
    sweep_file: Path, repository: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "emo_lightning.training.sweep", str(sweep_file), "--local"]
    words += ["--out", str(tmp_path / "out"), "--parallel", "2", "--trials", "4"]
    first = subprocess.Popen([*words, "slow=2"], cwd=repository, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("runs/*/starts"))) < 2:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert subprocess.run(words, cwd=repository, timeout=200).returncode == 0
    starts = [path.read_text() for path in tmp_path.glob("runs/*/starts")]
    assert sorted(starts) == ["x", "x", "xx", "xx"], "the same folders, so the same checkpoints"


def test_mistakes_in_a_sweep_are_one_line(
    sweep_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for change, message in (
        ({"method": "genetic"}, "random, grid, bayes"),
        ({"method": "grid"}, "values: [...] with method: grid"),
        ({"early_terminate": {"type": "envelope"}}, "hyperband"),
    ):
        before = sweep_file.read_text()
        path = changed(sweep_file, **change)
        assert main([str(path), "--local", "--out", str(tmp_path / "o")]) == 2
        assert message in capsys.readouterr().err
        sweep_file.write_text(before)
    with pytest.raises(UserError, match="cannot be read"):
        read_sweep(tmp_path / "none.yaml")
