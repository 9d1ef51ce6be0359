"""Workers that are processes on this machine. Even one worker is a process of its own: what hangs or dies in native code takes
no more than its clip with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

from datamodules.preprocessing.engines.extract_worker import ExtractWorker
from datamodules.preprocessing.engines.worker_pool import Died, Event, Ready
from datamodules.preprocessing.jobs import Recipe
from datamodules.sources.clip import Clip
from emo_lightning.core.errors import UserError

PATIENCE = 5.0
"""Seconds for a process that was ended to be gone; one that a network drive holds can take for ever, and nobody waits for it."""
_CONTEXT = multiprocessing.get_context("spawn")


class LocalPool:
    """See :class:`datamodules.preprocessing.engines.worker_pool.WorkerPool`. A script that uses it needs ``if __name__ == "__main__"``, as any that
    starts processes does."""

    def __init__(self, size: int, recipe: Recipe) -> None:
        self.size, self._recipe = size, recipe
        self._workers: list[LocalWorker] = []
        # Numerical libraries read this when a worker loads them: processes are our parallelism, not threads.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        # The helper that it starts before the first process would let interrupts in again.
        resource_tracker.ensure_running()

    def hire(self) -> LocalWorker:
        """Start a process."""
        worker = LocalWorker(self._recipe)
        self._workers.append(worker)
        return worker

    def wait(self, seconds: float) -> list[tuple[LocalWorker, Event]]:
        """Answers, and deaths of processes."""
        self._workers = [worker for worker in self._workers if not worker.ended]
        links = {worker.link: worker for worker in self._workers}
        return [(links[link], links[link].hear()) for link in wait(list(links), seconds)]  # type: ignore[index]

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()


class LocalWorker:
    """One process, and the pipe to it."""

    def __init__(self, recipe: Recipe) -> None:
        self.ended = False
        self._folder = tempfile.mkdtemp(prefix="emo-worker-")
        self.link, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=_serve, args=(theirs, recipe, self._folder), daemon=True
        )
        with _interrupts_held():
            self._process.start()
        theirs.close()

    def give(self, clip: Clip) -> None:
        """Hand over a clip."""
        with contextlib.suppress(OSError):
            self.link.send(clip)

    def hear(self) -> Event:
        """What the process sent, or that it died: then its end of the pipe is closed."""
        try:
            return self.link.recv()
        except (EOFError, OSError):
            self._process.join(PATIENCE)
            code = self._process.exitcode
            self.end()
            return Died(_how(code))

    def end(self) -> None:
        """End the process, and remove its temporary files."""
        if self.ended:
            return
        self.ended = True
        self._process.kill()
        self._process.join(PATIENCE)
        self.link.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"{name}, perhaps for want of memory" if -code == signal.SIGKILL else name


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process started here never gets Ctrl-C, which a terminal sends to all; this one gets it when the process is started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(link: Connection, recipe: Recipe, folder: str) -> None:
    """What the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = folder
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    _first_to_go()
    try:
        bench = ExtractWorker(recipe)
    except UserError as error:
        link.send(error)
        return
    with contextlib.suppress(EOFError, OSError):
        link.send(Ready())
        while True:
            clip: Clip = link.recv()
            link.send(bench.work(clip))


def _end_with_parent(folder: str) -> None:
    """A driver that was killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _first_to_go() -> None:
    """When memory runs out, Linux shall end the worker, whose clip can be given up, and not the driver."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
