"""Workers that are actors of Ray, on this machine or on a cluster.

Samples come back through Ray's object store and are written by the process that drives the run:
the output folder may be on that machine alone. The corpus must be readable at the same path on
every machine, and this package installed there in the same version. An actor takes one processor.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from datamodules.preprocessing.engines.extract_worker import ExtractWorker
from datamodules.preprocessing.jobs import Outcome, Recipe
from datamodules.sources.clip import Clip
from emo_lightning.core.errors import UserError

OWN = "local"
"""The address of a cluster that is started for the run, on this machine."""


def check_installed() -> None:
    """UserError when Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        accepted = "local, or pip install 'emo-lightning[ray]' first"
        raise UserError("--engine", "ray", accepted, "is not installed")


class RayPool:
    """See :class:`datamodules.preprocessing.engines.worker_pool.WorkerPool`.

    Args:
        size: most actors; a cluster starts them as it has processors free.
        recipe: passed to each actor.
        address: ``local`` for a cluster that is started and ends with the run; ``auto`` for one
            that runs on this machine; or its ``HOST:PORT``. RAY_ADDRESS, or ``local``, when None.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, size: int, recipe: Recipe, address: str | None = None) -> None:
        check_installed()
        self.size, self._recipe = size, recipe
        self._workers: list[RayWorker] = []
        self._folder: str | None = None
        address = address or os.environ.get("RAY_ADDRESS") or OWN
        self._ray = _import_ray(address == OWN)
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(
            RemoteExtractWorker
        )
        with _signal_handlers_restored():
            if address == OWN:
                self._start()
            else:
                self._join(address)

    def _start(self) -> None:
        """Start a cluster that nobody else can reach; its files are removed when it ends."""
        # The paths of its sockets, below this folder, may have 107 characters.
        parent = "/tmp" if Path("/tmp").is_dir() else None
        self._folder = tempfile.mkdtemp(prefix="emo-ray-", dir=parent)
        try:
            self._ray.init(
                address=OWN,
                num_cpus=self.size,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=self._folder,
                _node_ip_address="127.0.0.1",
            )
        except BaseException:
            self.close()
            raise

    def _join(self, address: str) -> None:
        try:
            host, _, port = address.rpartition("/")[2].rpartition(":")
            if port.isdigit():
                # Ray itself tries for minutes and logs each attempt.
                socket.create_connection((host.strip("[]"), int(port)), 5.0).close()
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            problem = f"cannot be reached ({str(error).strip().partition(chr(10))[0][:200]})"
            accepted = "local, auto, or HOST:PORT of a running cluster"
            raise UserError("--ray-address", address, accepted, problem) from None

    def start_worker(self) -> RayWorker:
        """A new actor; it is ready once the cluster has room for it."""
        worker = RayWorker(self._ray, self._actor.remote(self._recipe))
        self._workers.append(worker)
        return worker

    def describe_crash(self, error: BaseException) -> str:
        """The line of Ray's message that names the cause."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        if not lines:
            return type(error).__name__
        # The first line names the actor's end; after a traceback, the last one the error.
        in_python = any("Traceback" in line or "ray::" in line for line in lines)
        return lines[-1 if in_python else 0][:200]

    def close(self) -> None:
        """Stop the actors, and the cluster if it was started for them."""
        for worker in self._workers:
            worker.stop()
        with contextlib.suppress(KeyboardInterrupt), _signal_handlers_restored():
            self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(eq=False)
class RayWorker:
    """One actor; see :class:`datamodules.preprocessing.engines.worker_pool.Worker`."""

    ray: Any
    actor: Any

    def load_models(self) -> Future[UserError | None]:
        """See the protocol."""
        return self.actor.load_models.remote().future()

    def extract(self, clip: Clip) -> Future[Outcome | UserError]:
        """See the protocol."""
        return self.actor.extract.remote(clip).future()

    def stop(self) -> None:
        """End the actor's process at once."""
        self.ray.kill(self.actor)


class RemoteExtractWorker:
    """The actor: an ExtractWorker that is made when it is asked to load its models."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def load_models(self) -> UserError | None:
        """Load the models; a UserError is returned, not raised."""
        cv2.setNumThreads(1)
        try:
            self._worker = ExtractWorker(self._recipe)
        except UserError as error:
            return error
        return None

    def extract(self, clip: Clip) -> Outcome | UserError:
        """A clip's outcome."""
        return self._worker.extract(clip)


def _import_ray(own_cluster: bool) -> Any:
    """Import Ray, with what it reads on import set before.

    No usage reports, no messages about dead workers, which we report ourselves, and a random token
    that keeps others out of a cluster of our own.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault(
        "RAY_DEDUP_LOGS_SKIP_REGEX", "worker died or was killed|worker.* killed due to memory"
    )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if own_cluster and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    return ray


@contextlib.contextmanager
def _signal_handlers_restored() -> Iterator[None]:
    """Undo Ray's replacement of the program's SIGTERM handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
