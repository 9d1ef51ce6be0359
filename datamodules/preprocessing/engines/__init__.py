"""Worker engines: processes on this machine, or actors on a Ray cluster; the same shards."""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.preprocessing.engines.worker_pool import WorkerPool, extract_all
from datamodules.preprocessing.jobs import Recipe
from emo_lightning.core.errors import UserError

__all__ = ["ENGINES", "Engine", "WorkerPool", "extract_all", "open_pool"]

ENGINES = {"local": 256, "ray": 4096}
"""Name, as the command line takes it -> the most workers."""


@dataclass(frozen=True)
class Engine:
    """Where workers run.

    Attributes:
        name: of :data:`ENGINES`.
        ray_address: the cluster; see :class:`datamodules.preprocessing.engines.ray.RayPool`.
    """

    name: str = "local"
    ray_address: str | None = None


def check_engine(engine: Engine, workers: int) -> None:
    """UserError for an unknown engine, too many workers, or an address that it does not use."""
    name, address = engine.name, engine.ray_address
    if name not in ENGINES:
        raise UserError("--engine", name, ", ".join(ENGINES), "is not an engine")
    if not 1 <= workers <= ENGINES[name]:
        raise UserError("--workers", workers, f"1 to {ENGINES[name]}")
    if name == "ray":
        from datamodules.preprocessing.engines.ray import check_installed

        check_installed()
    elif address is not None:
        problem = "is of no use to the local engine"
        raise UserError("--ray-address", address, "--engine ray with it", problem)


def open_pool(engine: Engine, workers: int, recipe: Recipe) -> WorkerPool:
    """The pool of an engine, without any worker yet; close it to stop them all.

    Args:
        engine: see there.
        workers: how many may work at a time.
        recipe: passed to each worker.

    Raises:
        UserError: see :func:`check_engine`, or the cluster cannot be reached.
    """
    check_engine(engine, workers)
    if engine.name == "ray":
        from datamodules.preprocessing.engines.ray import RayPool

        return RayPool(workers, recipe, engine.ray_address)
    from datamodules.preprocessing.engines.local import LocalPool

    return LocalPool(workers, recipe)
