"""Sweep files give runs that exist: expanded as wandb's agent does, and one trial run offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import yaml

from emo_lightning.training.base import Noise
from emo_lightning.training.config import flatten, load_config, to_plain
from tests.emo_lightning.training.batches import batch_of, config_of, stage_of
from tests.emo_lightning.training.test_stages import loader

utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")


def trial(parameters: dict[str, Any]) -> dict[str, Any]:
    """One trial as the server would send it: the first or lowest value of each parameter."""
    chosen = {}
    for name, rule in parameters.items():
        value = (
            rule["value"]
            if "value" in rule
            else rule["values"][0]
            if "values" in rule
            else rule["min"]
        )
        chosen[name] = {"value": value}
    return {"args": chosen}


def agent_argv(sweep: dict[str, Any]) -> list[str]:
    """The argv that wandb's agent builds (wandb_agent.Agent._command_run), with wandb's own
    functions."""
    command = utils.create_sweep_command(list(sweep["command"]))
    variables = utils.create_sweep_command_args(trial(sweep["parameters"]))
    variables |= {
        "interpreter": ["python"],
        "env": ["/usr/bin/env"],
        "program": [sweep.get("program", "")],
    }
    argv: list[str] = []
    for word in map(str, command):
        argv += (
            (variables.get(word[2:-1]) or [])
            if word.startswith("${") and word.endswith("}")
            else [word]
        )
    return argv


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_sweep_gives_a_valid_configuration(repository: Path, stage: int) -> None:
    sweep = yaml.safe_load((repository / f"experiments/sweeps/stage{stage}.yaml").read_text())
    argv = agent_argv(sweep)
    assert argv[:4] == ["/usr/bin/env", "python", "-m", "emo_lightning.train"]
    config = load_config(repository / argv[4], argv[5:])
    assert config.stage == stage and "{run_id}" in config.out and config.wandb.mode == "online"


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_objective_contains_no_swept_weight(repository: Path, stage: int) -> None:
    """It is the stage's monitored metric, which test_stages shows to contain no weight at all."""
    sweep = yaml.safe_load((repository / f"experiments/sweeps/stage{stage}.yaml").read_text())
    monitor = stage_of(config_of(str(stage))).monitor
    assert sweep["metric"] == {"name": monitor, "goal": "minimize"} and monitor != "val/loss"


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_range_contains_the_recipe(repository: Path, stage: int) -> None:
    sweep = yaml.safe_load((repository / f"experiments/sweeps/stage{stage}.yaml").read_text())
    words = ["data=-", "size=cpu", *(["decoupler=-"] if stage == 2 else [])]
    recipe = flatten(to_plain(load_config(repository / f"experiments/stage{stage}.yaml", words)))
    for name, rule in sweep["parameters"].items():
        if "values" in rule:
            assert recipe[name] in rule["values"], name
        elif "min" in rule:
            assert rule["min"] <= recipe[name] <= rule["max"], name


def outcome(stage: int, *words: str) -> float:
    """The monitored metric after two steps from the same start."""
    sizes = {3: ["model.image_size=32", "recipe.crop=32", "recipe.gan_start=0"], 2: [], 1: []}
    size = ["size=cpu", "loader.batch_size=4", *sizes[stage]]
    name = {1: "1", 2: "2", 3: "3"}[stage]
    config = config_of(name, *size, *words)
    module, batch = stage_of(config), batch_of(config)
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True
    )
    trainer.fit(module, loader(batch))
    batch = module.on_after_batch_transfer(batch, 0)
    module.eval()
    with torch.no_grad():
        parts, output = module.losses(batch, Noise(module.device, 0))
        found = parts | module.validation_metrics(batch, parts, output)
    return float(found[module.monitor.removeprefix("val/")])


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_parameter_changes_the_outcome(repository: Path, stage: int) -> None:
    sweep = yaml.safe_load((repository / f"experiments/sweeps/stage{stage}.yaml").read_text())
    varied = {n: rule for n, rule in sweep["parameters"].items() if "value" not in rule}
    assert len(varied) >= 3
    for name, rule in varied.items():
        ends = rule["values"] if "values" in rule else (rule["min"], rule["max"])
        assert outcome(stage, f"{name}={ends[0]}") != outcome(stage, f"{name}={ends[-1]}"), name


def test_one_trial_of_each_stage_runs_offline(
    repository: Path, shards: Path, tmp_path: Path
) -> None:
    """The three sweeps, each trial on the one before it."""
    # The agent finds the interpreter on the path of its own environment, and names the trial in
    # WANDB_RUN_ID.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "WANDB_SWEEP_ID": "sweep1", "PATH": path}
    before: list[str] = []
    for stage, product in enumerate(("decoupler", "heads", "renderer"), start=1):
        argv = agent_argv(
            yaml.safe_load((repository / f"experiments/sweeps/stage{stage}.yaml").read_text())
        )
        argv += ["size=debug", "trainer.max_steps=2", "trainer.val_every=2", "wandb.mode=offline"]
        argv += [f"data={shards}", f"out={tmp_path}/{{run_id}}", *before]
        subprocess.run(
            argv,
            cwd=repository,
            env={**environment, "WANDB_RUN_ID": f"trial{stage}"},
            check=True,
            timeout=300,
        )
        made = tmp_path / f"trial{stage}" / f"{product}.safetensors"
        assert made.is_file()
        offline = list((made.parent / "wandb").glob(f"offline-run-*-trial{stage}"))
        assert len(offline) == 1 and any(offline[0].glob("*.wandb"))
        before = [f"{product}={made}"]
