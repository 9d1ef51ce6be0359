"""Worker engines: processes on this machine, or actors on a Ray cluster; the same shards."""

from __future__ import annotations

from datamodules.preprocessing.engines.worker_pool import WorkerPool, extract_all
from datamodules.preprocessing.jobs import Recipe
from emo_lightning.core.errors import UserError

__all__ = ["ENGINES", "WorkerPool", "extract_all", "open_pool"]

ENGINES = {"local": 256, "ray": 4096}
"""Name, as the command line takes it -> the most workers."""


def check_engine(engine: str, workers: int, ray_address: str | None = None) -> None:
    """UserError for an unknown engine, too many workers, or an address that it does not use."""
    if engine not in ENGINES:
        raise UserError("--engine", engine, ", ".join(ENGINES), "is not an engine")
    if not 1 <= workers <= ENGINES[engine]:
        raise UserError("--workers", workers, f"1 to {ENGINES[engine]}")
    if engine == "ray":
        from datamodules.preprocessing.engines.ray import check_installed

        check_installed()
    elif ray_address is not None:
        problem = "is of no use to the local engine"
        raise UserError("--ray-address", ray_address, "--engine ray with it", problem)


def open_pool(
    engine: str, workers: int, recipe: Recipe, ray_address: str | None = None
) -> WorkerPool:
    """The pool of an engine, without any worker yet; close it to stop them all.

    Args:
        engine: of :data:`ENGINES`.
        workers: how many may work at a time.
        recipe: passed to each worker.
        ray_address: the cluster; see :class:`datamodules.preprocessing.engines.ray.RayPool`.

    Raises:
        UserError: see :func:`check_engine`, or the cluster cannot be reached.
    """
    check_engine(engine, workers, ray_address)
    if engine == "ray":
        from datamodules.preprocessing.engines.ray import RayPool

        return RayPool(workers, recipe, ray_address)
    from datamodules.preprocessing.engines.local import LocalPool

    return LocalPool(workers, recipe)
