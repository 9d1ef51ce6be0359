"""Who works at which clip: time limits, deaths and second attempts, the same for every engine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from datamodules.preprocessing.jobs import Job, Outcome
from datamodules.sources.clip import Clip
from emo_lightning.core.errors import UserError

GRACE = 10.0
"""Seconds beyond the time limit of a clip after which its worker is ended; an extraction looks at the limit itself between frames."""
MAX_STARTUP_CRASHES = 3
"""So many workers in a row may die before they are ready."""
START_SECONDS = 600.0
"""The first worker must be ready after so long; a cluster may have to start a machine."""


@dataclass(frozen=True)
class Ready:
    """A worker has loaded what it needs."""


@dataclass(frozen=True)
class Died:
    """A worker is gone, and in a few words how."""

    how: str


class Worker(Protocol):
    """Works at one clip at a time."""

    def give(self, clip: Clip) -> None:
        """Hand over a clip; the worker has none. A dead worker is noticed later, by :meth:`WorkerPool.wait`."""

    def end(self) -> None:
        """End it at once, whatever it is doing; nothing is heard of it any more."""


Event = Ready | Outcome | UserError | Died


class WorkerPool(Protocol):
    """Workers of one engine.

    Attributes:
        size: how many may be hired.
    """

    size: int

    def hire(self) -> Worker:
        """Start a worker; its first event is :class:`Ready`, UserError or :class:`Died`."""

    def wait(self, seconds: float) -> Sequence[tuple[Worker, Event]]:
        """What happened, as soon as something has; nothing after so many seconds."""

    def close(self) -> None:
        """End all workers, and what was started for them."""


def extract_all(
    crew: WorkerPool, jobs: Iterable[Job], clip_seconds: float
) -> Iterator[tuple[Job, Outcome]]:
    """Extract all jobs; yields each with what it gave as it is finished, in no particular order.

    A clip at which a worker hangs fails with ``timeout``. One at which a worker dies is tried again at the end, with no other
    at work: memory may have run out, or a machine of the cluster have gone, by no fault of the clip. If the worker dies
    again, the clip fails with ``crashed``.

    Args:
        crew: is left open.
        jobs: in the order in which they are begun.
        clip_seconds: time that one clip may take.

    Raises:
        UserError: no worker can be started, or one says that it cannot work at all.
    """
    foreman = Scheduler(crew, clip_seconds)
    suspects: list[Job] = []
    for job, event in foreman.run(jobs, crew.size):
        if isinstance(event, Died):
            suspects.append(job)
        else:
            yield job, event
    for job, event in foreman.run(suspects, 1):
        if isinstance(event, Died):
            event = Outcome.failed(
                job.clip.name, "crashed", f"the process that extracted it died twice ({event.how})"
            )
        yield job, event


class Scheduler:
    """Keeps the books of a crew."""

    def __init__(self, crew: WorkerPool, clip_seconds: float) -> None:
        self._crew, self._clip_seconds = crew, clip_seconds
        self._limit = clip_seconds + min(GRACE, clip_seconds)
        self._starting: set[Worker] = set()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, tuple[Job, float]] = {}
        self._stillborn, self._began, self._proven = 0, time.monotonic(), False

    def run(self, jobs: Iterable[Job], at_once: int) -> Iterator[tuple[Job, Outcome | Died]]:
        """Give out jobs, at most so many at once, until all are finished or their workers have died."""
        queue = deque(jobs)
        while queue or self._busy:
            while queue and self._idle and len(self._busy) < at_once:
                worker = self._idle.pop()
                job = queue.popleft()
                self._busy[worker] = job, time.monotonic()
                worker.give(job.clip)
            for _ in range(min(at_once - len(self._busy), len(queue)) - len(self._starting)):
                self._starting.add(self._crew.hire())
            for worker, event in self._crew.wait(self._patience()):
                if (done := self._heard(worker, event)) is not None:
                    yield done
            yield from self._overdue()

    def _patience(self) -> float:
        """Seconds until somebody may be overdue."""
        if not self._busy:
            return 5.0
        return (
            max(
                0.0, min(since for _, since in self._busy.values()) + self._limit - time.monotonic()
            )
            + 0.01
        )

    def _heard(self, worker: Worker, event: Event) -> tuple[Job, Outcome | Died] | None:
        if isinstance(event, UserError):
            raise event
        if isinstance(event, Died):
            return self._lost(worker, event)
        if isinstance(event, Ready):
            self._starting.discard(worker)
            self._stillborn, self._proven = 0, True
        self._idle.append(worker)
        return (self._busy.pop(worker)[0], event) if isinstance(event, Outcome) else None

    def _lost(self, worker: Worker, death: Died) -> tuple[Job, Died] | None:
        if worker in self._busy:
            return self._busy.pop(worker)[0], death
        if worker in self._idle:
            self._idle.remove(worker)
            return None
        self._starting.discard(worker)
        self._stillborn += 1
        if self._stillborn >= MAX_STARTUP_CRASHES:
            raise UserError(
                "--engine",
                "worker",
                "a machine on which workers start",
                f"died {MAX_STARTUP_CRASHES} times at its start ({death.how})",
            )
        return None

    def _overdue(self) -> Iterator[tuple[Job, Outcome]]:
        now = time.monotonic()
        if not self._proven and now - self._began > START_SECONDS:
            raise UserError(
                "--engine",
                "worker",
                "a machine with a free processor",
                f"was not ready after {START_SECONDS:g} s",
            )
        for worker, (job, since) in list(self._busy.items()):
            if now - since > self._limit:
                worker.end()
                del self._busy[worker]
                yield (
                    job,
                    Outcome.failed(job.clip.name, "timeout", f"hung for {self._clip_seconds:g} s"),
                )
