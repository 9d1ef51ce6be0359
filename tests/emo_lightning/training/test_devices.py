"""Processes and devices: the launcher's world is the run's, and a contradiction is an error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from emo_lightning.core.errors import UserError
from emo_lightning.models.checkpoint_io import read_network
from emo_lightning.training.devices import World, find_world
from tests.emo_lightning.training.batches import config_of

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "0",
    "GROUP_RANK": "0", "LOCAL_RANK": "0",
}  # fmt: skip
SLURM = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}
LAUNCHERS = (*TORCHRUN, *SLURM, "SLURM_JOB_ID", "NODE_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def world(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], *words: str) -> World:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return find_world(config_of("1", "trainer.accelerator=cpu", *words))


@pytest.mark.parametrize(
    ("env", "words", "nodes", "size"),
    [
        ({}, [], 1, 1),
        ({}, ["trainer.devices=3"], 1, 3),
        ({}, ["trainer.devices=auto"], 1, 1),
        ({"NODE_RANK": "1"}, ["trainer.num_nodes=2", "trainer.devices=2"], 2, 4),
        (TORCHRUN, [], 2, 8),
        (TORCHRUN, ["trainer.devices=4", "trainer.num_nodes=2"], 2, 8),
        (SLURM, ["trainer.devices=auto"], 2, 4),
    ],
)
def test_the_world_comes_from_the_launcher(
    monkeypatch: pytest.MonkeyPatch, env: dict, words: list[str], nodes: int, size: int
) -> None:
    found = world(monkeypatch, env, *words)
    assert (found.nodes, found.size, found.accelerator) == (nodes, size, "cpu")


@pytest.mark.parametrize(
    ("env", "words", "message"),
    [
        (TORCHRUN, ["trainer.devices=1"], "devices '1' contradicts torchrun, which started 4"),
        (TORCHRUN, ["trainer.num_nodes=1"], "num_nodes '1' contradicts torchrun, .*started 2"),
        (SLURM, ["trainer.devices=4"], "contradicts SLURM, which started 2"),
        (SLURM | {"SLURM_NTASKS": "3"}, [], "SLURM_NTASKS '3' does not divide by 2 nodes"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, [], "would train that many separate runs"),
        ({}, ["trainer.num_nodes=2"], "needs a launcher that starts every node"),
        ({}, ["trainer.devices=[0,1]"], "indices choose GPUs"),
        ({}, ["trainer.precision=16-mixed"], "needs a GPU"),
        ({}, ["trainer.accelerator=gpu"], "was not found; emo doctor lists the devices"),
    ],
)
def test_contradictions_are_one_line(
    monkeypatch: pytest.MonkeyPatch, env: dict, words: list[str], message: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        world(monkeypatch, env, *words)


def test_two_nodes_of_two_processes_train_one_run(
    repository: Path, shards: Path, tmp_path: Path
) -> None:
    """As torchrun starts them: four gloo processes, one folder, one network, one record."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["experiments/stage1.yaml", "size=debug", "trainer.max_steps=2", "trainer.val_every=2"]
    words += ["wandb.mode=disabled", f"data={shards}", f"out={tmp_path}/run", "trainer.log_every=1"]
    words += ["trainer.accelerator=cpu", "loader.share_shards=true", "model.leace=true"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"]
    launch += ["--rdzv-backend=static", f"--master-port={port}", "--master-addr=127.0.0.1"]
    nodes = [
        subprocess.Popen(
            [*launch, f"--node-rank={rank}", "-m", "emo_lightning.train", *words],
            cwd=repository,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], printed
    assert sum(text.count("wrote ") for text in printed) == 1
    assert read_network(tmp_path / "run" / "decoupler.safetensors", "decoupler", "x").meta["stage"]


@pytest.mark.parametrize("name", ["torchrun.sh", "slurm.sbatch"])
def test_launch_files_start_the_training_module(
    repository: Path, tmp_path: Path, name: str
) -> None:
    """With stand-ins for the launchers, which print what they are asked to start."""
    for launcher in ("torchrun", "srun"):
        (tmp_path / launcher).write_text('#!/bin/sh\necho "$@"\n')
        (tmp_path / launcher).chmod(0o755)
    path = repository / "experiments" / "launch" / name
    done = subprocess.run(
        ["bash", str(path), "experiments/stage1.yaml", "data=a b"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("-m emo_lightning.train experiments/stage1.yaml data=a b")
