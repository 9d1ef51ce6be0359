"""Scheduling of clips over worker processes, the same for every engine.

Each clip has a time limit; a clip whose worker crashes is retried once; workers that crash while
they start end the run.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from datamodules.preprocessing.jobs import Job, Outcome
from datamodules.sources.clip import Clip
from emo_lightning.core.errors import UserError

GRACE_SECONDS = 10.0
"""Beyond a clip's time limit, after which its worker is killed; it checks itself between frames."""
MAX_STARTUP_CRASHES = 3
"""Workers in a row that may crash before they are ready."""
START_SECONDS = 600.0
"""Within which the first worker must be ready; a cluster may have to start a machine."""


class Worker(Protocol):
    """A process that loads the models once and then extracts one clip at a time.

    Its futures raise, whatever the exception, when the process died.
    """

    def load_models(self) -> Future[UserError | None]:
        """Start the process; a UserError when no clip can be extracted in it."""

    def extract(self, clip: Clip) -> Future[Outcome | UserError]:
        """Extract a clip; the worker must be idle."""

    def stop(self) -> None:
        """End the process at once, whatever it is doing."""


class WorkerPool(Protocol):
    """Workers of one engine.

    Attributes:
        size: most workers at a time.
    """

    size: int

    def start_worker(self) -> Worker:
        """A new worker."""

    def describe_crash(self, error: BaseException) -> str:
        """In a few words, how the worker died whose future raised this."""

    def close(self) -> None:
        """Stop all workers, and what was started for them."""


@dataclass(frozen=True)
class Crash:
    """The end of a clip's worker, described in a few words."""

    how: str


def extract_all(
    pool: WorkerPool, jobs: Iterable[Job], clip_seconds: float
) -> Iterator[tuple[Job, Outcome]]:
    """Extract all jobs; yields each with its outcome once finished, in no particular order.

    A clip whose worker hangs fails with ``timeout``. One whose worker crashes is retried at the
    end, with no other clip in work: memory may have run out, or a machine of the cluster have gone.
    If the worker crashes again, the clip fails with ``crashed``.

    Args:
        pool: is left open.
        jobs: in the order in which they are begun.
        clip_seconds: time limit of one clip.

    Raises:
        UserError: no worker can be started, or one reports that it cannot extract anything.
    """
    scheduler = Scheduler(pool, clip_seconds)
    crashed: list[Job] = []
    for job, result in scheduler.run(jobs, pool.size):
        if isinstance(result, Crash):
            crashed.append(job)
        else:
            yield job, result
    for job, result in scheduler.run(crashed, 1):
        if isinstance(result, Crash):
            detail = f"the process that extracted it died twice ({result.how})"
            result = Outcome.failed(job.clip.name, "crashed", detail)
        yield job, result


class Scheduler:
    """Assigns clips to workers, starts workers as needed, and enforces the time limits."""

    def __init__(self, pool: WorkerPool, clip_seconds: float) -> None:
        self._pool, self._clip_seconds = pool, clip_seconds
        self._limit = clip_seconds + min(GRACE_SECONDS, clip_seconds)
        self._loading: set[Worker] = set()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, tuple[Job, float]] = {}
        self._done: queue.SimpleQueue[tuple[Worker, Future]] = queue.SimpleQueue()
        self._startup_crashes, self._begin, self._any_ready = 0, time.monotonic(), False

    def run(self, jobs: Iterable[Job], concurrency: int) -> Iterator[tuple[Job, Outcome | Crash]]:
        """Extract jobs, at most ``concurrency`` at once, until each has an outcome or crashed."""
        waiting = deque(jobs)
        while waiting or self._busy:
            while waiting and self._idle and len(self._busy) < concurrency:
                worker, job = self._idle.pop(), waiting.popleft()
                self._busy[worker] = job, time.monotonic()
                self._watch(worker, worker.extract(job.clip))
            wanted = min(concurrency - len(self._busy), len(waiting))
            for _ in range(wanted - len(self._loading)):
                worker = self._pool.start_worker()
                self._loading.add(worker)
                self._watch(worker, worker.load_models())
            with contextlib.suppress(queue.Empty):
                worker, future = self._done.get(timeout=self._seconds_to_limit())
                if (finished := self._result(worker, future)) is not None:
                    yield finished
            yield from self._timed_out()

    def _watch(self, worker: Worker, future: Future) -> None:
        future.add_done_callback(lambda done: self._done.put((worker, done)))

    def _seconds_to_limit(self) -> float:
        """Seconds until the oldest clip in work reaches its time limit."""
        if not self._busy:
            return 5.0
        oldest = min(begin for _, begin in self._busy.values())
        return max(0.0, oldest + self._limit - time.monotonic()) + 0.01

    def _result(self, worker: Worker, future: Future) -> tuple[Job, Outcome | Crash] | None:
        job = self._busy.pop(worker, (None,))[0]
        if job is None and worker not in self._loading:
            return None  # stopped at its time limit
        self._loading.discard(worker)
        if (error := future.exception()) is not None:
            worker.stop()
            crash = Crash(self._pool.describe_crash(error))
            if job is not None:
                return job, crash
            self._count_startup_crash(crash)
            return None
        result = future.result()
        if isinstance(result, UserError):
            raise result
        self._startup_crashes, self._any_ready = 0, True
        self._idle.append(worker)
        return None if job is None else (job, result)

    def _count_startup_crash(self, crash: Crash) -> None:
        self._startup_crashes += 1
        if self._startup_crashes >= MAX_STARTUP_CRASHES:
            problem = f"died {MAX_STARTUP_CRASHES} times at its start ({crash.how})"
            raise UserError("--engine", "worker", "a machine on which workers start", problem)

    def _timed_out(self) -> Iterator[tuple[Job, Outcome]]:
        now = time.monotonic()
        if not self._any_ready and now - self._begin > START_SECONDS:
            problem = f"was not ready after {START_SECONDS:g} s"
            raise UserError("--engine", "worker", "a machine with a free processor", problem)
        for worker, (job, begin) in list(self._busy.items()):
            if now - begin > self._limit:
                worker.stop()
                del self._busy[worker]
                detail = f"hung for {self._clip_seconds:g} s"
                yield job, Outcome.failed(job.clip.name, "timeout", detail)
