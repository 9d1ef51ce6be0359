"""Worker processes on this machine, on ``pebble``.

Even one worker is a process of its own: what hangs or dies in native code costs its clip alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import lru_cache
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path

import cv2
from pebble import ProcessExpired, ProcessPool

from datamodules.preprocessing.engines.extract_worker import ExtractWorker
from datamodules.preprocessing.jobs import Outcome, Recipe
from datamodules.sources.clip import Clip
from emo_lightning.core.errors import UserError

STOP_SECONDS = 5.0
"""For a stopped process to end; one blocked on a network drive may never, and is not awaited."""


class LocalPool:
    """See :class:`datamodules.preprocessing.engines.worker_pool.WorkerPool`.

    A script that uses it needs ``if __name__ == "__main__"``, as any that spawns processes does.
    """

    def __init__(self, size: int, recipe: Recipe) -> None:
        self.size, self._recipe = size, recipe
        self._workers: list[LocalWorker] = []
        # Numerical libraries read this as a worker loads them: we parallelise over processes.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        # Otherwise started with the first worker, where it would unblock interrupts.
        resource_tracker.ensure_running()

    def start_worker(self) -> LocalWorker:
        """A new worker."""
        self._workers = [worker for worker in self._workers if not worker.gone]
        self._workers.append(LocalWorker(self._recipe))
        return self._workers[-1]

    def describe_crash(self, error: BaseException) -> str:
        """The signal or exit code of the process, or the error that its start raised."""
        if not isinstance(error, ProcessExpired):
            return f"{type(error).__name__}: {error}"[:200]
        code = error.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}, perhaps out of memory" if -code == signal.SIGKILL else name

    def close(self) -> None:
        """Stop all processes."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()


class LocalWorker:
    """One process, in a pool of its own.

    The workers of one ``pebble`` pool share a pipe and its locks: one that is killed while it sends
    its result would leave them locked, and the run would never end.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._folder = tempfile.mkdtemp(prefix="emo-worker-")
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(1, 0, _initialise, (self._folder,), context)
        self._stopping: threading.Thread | None = None

    @property
    def gone(self) -> bool:
        return self._stopping is not None and not self._stopping.is_alive()

    def load_models(self) -> Future[UserError | None]:
        """See :class:`datamodules.preprocessing.engines.worker_pool.Worker`."""
        with _interrupts_blocked():
            return self._pool.schedule(_load_models, (self._recipe,))

    def extract(self, clip: Clip) -> Future[Outcome | UserError]:
        """See :class:`datamodules.preprocessing.engines.worker_pool.Worker`."""
        try:
            return self._pool.schedule(_extract, (self._recipe, clip))
        except RuntimeError as error:  # the process died while idle
            failed: Future[Outcome | UserError] = Future()
            failed.set_exception(error)
            return failed

    def stop(self) -> None:
        """End the process and remove its temporary files, without waiting."""
        if self._stopping is None:
            self._stopping = threading.Thread(target=self._end, daemon=True)
            self._stopping.start()

    def join(self) -> None:
        """Wait until a stopped process is gone, at most STOP_SECONDS."""
        if self._stopping is not None:
            self._stopping.join(STOP_SECONDS)

    def _end(self) -> None:
        self._pool.stop()
        self._pool.join()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT in what is started here: a terminal sends Ctrl-C to workers too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _initialise(folder: str) -> None:
    """Run first in a worker process."""
    tempfile.tempdir = folder
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    with contextlib.suppress(OSError):
        # Out of memory, Linux kills the worker, whose clip can be given up, before its parent.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_parent(folder: str) -> None:
    """A parent that was killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


@lru_cache(maxsize=1)
def _worker(recipe: Recipe) -> ExtractWorker:
    return ExtractWorker(recipe)


def _load_models(recipe: Recipe) -> UserError | None:
    try:
        _worker(recipe)
    except UserError as error:
        return error
    return None


def _extract(recipe: Recipe, clip: Clip) -> Outcome | UserError:
    return _worker(recipe).extract(clip)
