"""Processes and devices of a run: what torchrun or SLURM started, checked against the
configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from emo_lightning.core.errors import UserError
from emo_lightning.training.config import RunConfig, TrainerConfig

OTHER_LAUNCHERS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
LAUNCH_FILES = "torchrun or srun as in experiments/launch/"


@dataclass(frozen=True)
class World:
    """Nodes, devices per node as Lightning takes them, and processes in all."""

    nodes: int
    devices: Any
    size: int
    accelerator: str


def find_world(config: RunConfig) -> World:
    """The processes that train together.

    Raises:
        UserError: the configuration contradicts what a launcher started, or the machine.
    """
    wanted = config.trainer
    accelerator = find_accelerator(wanted)
    started = launched()
    if started is None:
        nodes, devices = wanted.num_nodes or 1, 1 if wanted.devices is None else wanted.devices
        if nodes > 1 and "NODE_RANK" not in os.environ:
            problem = "needs a launcher that starts every node"
            raise UserError("trainer.num_nodes", nodes, f"1, or start with {LAUNCH_FILES}", problem)
        if devices == "auto":
            devices = torch.cuda.device_count() if accelerator == "gpu" else 1
    else:
        launcher, nodes, count = started
        for key, value, real in (
            ("trainer.num_nodes", wanted.num_nodes, nodes),
            ("trainer.devices", _count(wanted.devices), count),
        ):
            if value is not None and value != real:
                problem = f"contradicts {launcher}, which started {real}"
                raise UserError(key, value, f"null, or {real}", problem)
        devices = wanted.devices if isinstance(wanted.devices, list) else count
    per_node = _count(devices) or 1
    if accelerator == "gpu":
        there = torch.cuda.device_count()
        highest = max(devices) + 1 if isinstance(devices, list) else devices
        if highest > there:
            raise UserError(
                "trainer.devices", wanted.devices, f"at most {there}: the GPUs of this node"
            )
    elif isinstance(devices, list):
        raise UserError("trainer.devices", devices, "a number, since indices choose GPUs")
    return World(nodes, devices, nodes * per_node, accelerator)


def launched() -> tuple[str, int, int] | None:
    """Launcher, nodes and processes per node, or None where none started this process.

    Raises:
        UserError: another launcher, of which nothing is known, or an uneven SLURM allocation.
    """
    env = os.environ
    if TorchElasticEnvironment.detect():
        local, size = int(env.get("LOCAL_WORLD_SIZE", "1")), int(env["WORLD_SIZE"])
        return "torchrun", max(size // local, 1), local
    if SLURMEnvironment.detect():
        tasks = int(env.get("SLURM_NTASKS", "1"))
        nodes = int(env.get("SLURM_NNODES", env.get("SLURM_JOB_NUM_NODES", "1")))
        if tasks % nodes:
            accepted = "--ntasks-per-node with the same number on every node"
            raise UserError("SLURM_NTASKS", tasks, accepted, f"does not divide by {nodes} nodes")
        return "SLURM", nodes, tasks // nodes
    for name in OTHER_LAUNCHERS:
        if int(env.get(name, "1")) > 1:
            problem = "would train that many separate runs"
            raise UserError(name, env[name], f"a single process, or {LAUNCH_FILES}", problem)
    return None


def find_accelerator(wanted: TrainerConfig) -> str:
    """``cpu``, ``gpu`` or ``mps``; UserError where the machine or the precision does not fit."""
    there = {
        "cpu": True,
        "gpu": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    chosen = wanted.accelerator
    if chosen == "auto":
        chosen = "gpu" if there["gpu"] else "cpu"
    if not there[chosen]:
        problem = "was not found; emo doctor lists the devices"
        raise UserError("trainer.accelerator", chosen, "auto or cpu", problem)
    if wanted.precision == "16-mixed" and chosen == "cpu":
        accepted = "bf16-mixed or 32-true on a CPU"
        raise UserError("trainer.precision", wanted.precision, accepted, "needs a GPU")
    return chosen


def strategy_for(world: World, wanted: TrainerConfig, adversarial: bool) -> Any:
    """DDP where there are several processes, or where it is asked for.

    A discriminator that has not joined yet, or does not exist for a batch, leaves weights without a
    gradient, which DDP must look for.
    """
    if world.size == 1 and wanted.strategy == "auto":
        return "auto"
    backend = "gloo" if world.accelerator == "cpu" else None
    return DDPStrategy(process_group_backend=backend, find_unused_parameters=adversarial)


def _count(devices: Any) -> int | None:
    if isinstance(devices, list):
        return len(devices)
    return None if devices in (None, "auto") else int(devices)
