"""Workers that are actors of Ray, on this machine or on a cluster.

Clips' samples come back through Ray's object store and are written by the process that drives the run: the output folder may
lie on that machine alone. The corpus must be readable at the same path on every machine, and this package must be installed
there with the same versions. An actor takes one processor.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.preprocessing.engines.extract_worker import ExtractWorker
from datamodules.preprocessing.engines.worker_pool import Died, Event, Ready
from datamodules.preprocessing.jobs import Outcome, Recipe
from datamodules.sources.clip import Clip
from emo_lightning.core.errors import UserError

OWN = "local"
"""The address of a cluster that is started for the run, on this machine."""


def check_installed() -> None:
    """UserError when Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "--engine",
            "ray",
            "local, or pip install 'emo-lightning[ray]' first",
            "is not installed",
        )


class RayPool:
    """See :class:`datamodules.preprocessing.engines.worker_pool.WorkerPool`.

    Args:
        size: how many actors may be hired; a cluster starts them as it has processors free.
        recipe: what they must know.
        address: ``local`` for a cluster of one's own that ends with the run; ``auto`` for one that runs on this machine; or
            its ``HOST:PORT``. By default what RAY_ADDRESS says, or ``local``.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, size: int, recipe: Recipe, address: str | None = None) -> None:
        check_installed()
        self.size, self._recipe = size, recipe
        self._workers: dict[Any, RayWorker] = {}
        self._folder: str | None = None
        address = address or os.environ.get("RAY_ADDRESS") or OWN
        self._ray = _imported(address == OWN)
        self._bench = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(
            RemoteExtractWorker
        )
        with _handlers_kept():
            if address == OWN:
                self._start()
            else:
                self._join(address)

    def _start(self) -> None:
        """A cluster that nobody else can reach; its files go when it ends."""
        # The paths of its sockets, below this folder, may have 107 characters.
        self._folder = tempfile.mkdtemp(
            prefix="emo-ray-", dir="/tmp" if Path("/tmp").is_dir() else None
        )
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
                # Ray itself tries for minutes, and tells of each attempt.
                socket.create_connection((host.strip("[]"), int(port)), 5.0).close()
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            problem = f"cannot be reached ({str(error).strip().partition(chr(10))[0][:200]})"
            raise UserError(
                "--ray-address",
                address,
                "local, auto, or HOST:PORT of a cluster that runs",
                problem,
            ) from None

    def hire(self) -> RayWorker:
        """Start an actor; it is ready when the cluster had room for it."""
        worker = RayWorker(self._ray, self._bench.remote(self._recipe), self._workers)
        worker.expect(worker.actor.prepare.remote())
        return worker

    def wait(self, seconds: float) -> Sequence[tuple[RayWorker, Event]]:
        """Answers, and deaths of actors."""
        found, _ = self._ray.wait(list(self._workers), num_returns=1, timeout=seconds)
        return [
            (worker, self._event(ref)) for ref in found if (worker := self._workers.pop(ref, None))
        ]

    def _event(self, ref: Any) -> Event:
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
                type(error).__name__
            ]
            # The first line says what happened to the actor; where there is an error of Python's, the last one does.
            return Died(
                (
                    lines[-1]
                    if any("Traceback" in line or "ray::" in line for line in lines)
                    else lines[0]
                )[:200]
            )

    def close(self) -> None:
        """End the actors, and the cluster if it was started for them."""
        for worker in list(self._workers.values()):
            worker.end()
        with contextlib.suppress(KeyboardInterrupt), _handlers_kept():
            self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(eq=False)
class RayWorker:
    """One actor, and the answer that is awaited of it, among those of its crew."""

    ray: Any
    actor: Any
    answers: dict[Any, RayWorker] = field(repr=False)

    def expect(self, ref: Any) -> None:
        """Await this answer."""
        self.answers[ref] = self

    def give(self, clip: Clip) -> None:
        """Hand over a clip."""
        self.expect(self.actor.work.remote(clip))

    def end(self) -> None:
        """End the actor's process at once."""
        for ref in [ref for ref, worker in self.answers.items() if worker is self]:
            del self.answers[ref]
        self.ray.kill(self.actor)


class RemoteExtractWorker:
    """The actor: a :class:`datamodules.preprocessing.engines.extract_worker.ExtractWorker` that is made when it is asked to be ready."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def prepare(self) -> Ready | UserError:
        """Load the models."""
        try:
            self._bench = ExtractWorker(self._recipe)
        except UserError as error:
            return error
        return Ready()

    def work(self, clip: Clip) -> Outcome | UserError:
        """A clip's outcome."""
        return self._bench.work(clip)


def _imported(own: bool) -> Any:
    """Ray. What it reads when it is imported is set before: tell nobody of the run, leave it to us to tell the user of dead
    workers, and let nobody without a secret into a cluster of our own."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault(
        "RAY_DEDUP_LOGS_SKIP_REGEX", "worker died or was killed|worker.* killed due to memory"
    )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if own and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    return ray


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray puts signal handlers of its own in the place of the program's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
