"""The same run under torchrun or SLURM: every process scores its share, the first one merges and
reports.

The processes meet in the run's folder, which all must see; no network port is needed. Each writes a
file with a token and touches it as a heartbeat. The first process waits until all are alive, then
writes the tokens and the clips that are known already; the others begin when they find their own
token there, so files of an earlier run mislead nobody. A process whose heartbeat stops counts as
dead.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import Progress
from evaluation.records import Record
from evaluation.runner.pairs import Unscored
from evaluation.runner.workers import (
    POLL_SECONDS,
    Key,
    ScoringJob,
    begin,
    count_records,
    is_done,
    merge,
    work,
)

BEAT_SECONDS = 0.5
START = "start.json"
LAUNCHERS = (("torchrun", "RANK", "WORLD_SIZE"), ("SLURM", "SLURM_PROCID", "SLURM_NTASKS"))
TOGETHER = "all of them started with the same arguments and the same --out"


@dataclass(frozen=True)
class Rank:
    """This process's rank among how many, and who started them."""

    rank: int
    world: int
    launcher: str


def launched_rank(environment: Mapping[str, str] = os.environ) -> Rank | None:
    """This process's rank under a launcher; None when it is alone.

    Raises:
        UserError: variables that contradict each other.
    """
    for launcher, rank, world in LAUNCHERS:
        if rank in environment and world in environment:
            try:
                found = Rank(int(environment[rank]), int(environment[world]), launcher)
            except ValueError:
                problem = f"was set by {launcher} to no number"
                raise UserError(rank, environment[rank], "a whole number", problem) from None
            if not 0 <= found.rank < found.world:
                problem = f"does not fit {world} {found.world}"
                raise UserError(rank, found.rank, f"0 to {found.world - 1}", problem)
            return found if found.world > 1 else None
    return None


class Heartbeat:
    """A file with this process's token that is touched as long as it lives."""

    def __init__(self, path: Path) -> None:
        self.token, self.met = uuid.uuid4().hex, False
        self._path, self._stop = path, threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while True:
            try:
                os.utime(self._path)
            except OSError:
                # The first process clears the folder before it begins; afterwards a missing file
                # stays missing.
                if not self.met:
                    self._write()
            if self._stop.wait(BEAT_SECONDS):
                return

    def _write(self) -> None:
        part = self._path.with_suffix(f".{self.token}")
        try:
            part.write_text(self.token, encoding="utf-8")
            move_into_place(part, self._path)
        except OSError:
            pass

    def end(self) -> None:
        """Stop touching the file."""
        self._stop.set()
        self._thread.join()


class HeartbeatMonitor:
    """When each of the other processes last touched its file, on this process's own clock."""

    def __init__(self, folder: Path, world: int) -> None:
        self._files = {rank: _life(folder, rank) for rank in range(1, world)}
        self._marks: dict[int, int] = {}
        self.alive: dict[int, float] = {}
        """Rank -> when its file was last found changed."""

    def poll(self) -> None:
        """Look at every file once."""
        for rank, path in self._files.items():
            try:
                mark = path.stat().st_mtime_ns
            except OSError:
                continue
            if self._marks.get(rank, mark) != mark:
                self.alive[rank] = time.monotonic()
            self._marks[rank] = mark

    def tokens(self) -> dict[int, str]:
        """The token of each living process."""
        return {rank: self._files[rank].read_text(encoding="utf-8") for rank in self.alive}


def score_share(
    job: ScoringJob, here: Rank, resume: bool, timeout: float
) -> tuple[list[Record], list[Unscored]] | None:
    """Score this process's share; the first process then waits for the others and merges.

    Args:
        job: what to score, the same for all.
        here: from :func:`launched_rank`.
        resume: use what an interrupted run of the same inputs has scored.
        timeout: seconds without a heartbeat after which a process counts as dead; ten times as many
            to begin with.

    Returns:
        As :func:`evaluation.runner.workers.score_all` for the first process, None for the others.

    Raises:
        UserError: not all processes came.
    """
    mark = job.fingerprint()
    if here.rank == 0:
        return _lead(job, here, mark, begin(job, mark, resume), timeout)
    job.parts.mkdir(parents=True, exist_ok=True)
    _follow(job, here, mark, timeout)
    return None


def _lead(
    job: ScoringJob, here: Rank, mark: str, known: frozenset[Key], timeout: float
) -> tuple[list[Record], list[Unscored]]:
    monitor, run = HeartbeatMonitor(job.parts, here.world), uuid.uuid4().hex
    _await_all(monitor, here, 10 * timeout)
    tokens = {str(rank): token for rank, token in monitor.tokens().items()}
    part = job.parts / f"{START}.{run}"
    start = {"run": run, "tokens": tokens, "known": sorted(known)}
    part.write_text(json.dumps(start), encoding="utf-8")
    move_into_place(part, job.parts / START)
    files = [_part(job, run, rank, here.world) for rank in range(here.world)]
    with Progress("scoring", len(job.expected()) - len(known), "clips") as progress:
        work(job, 0, here.world, files[0], mark, known, progress.update)
        deaths = _await_done(monitor, files, timeout, progress)
    return merge(job, mark, deaths)


def _await_all(monitor: HeartbeatMonitor, here: Rank, limit: float) -> None:
    until = time.monotonic() + limit
    while len(monitor.alive) < here.world - 1:
        if time.monotonic() > until:
            absent = ", ".join(map(str, sorted(set(range(1, here.world)) - set(monitor.alive))))
            problem = f"of {here.launcher} came without {absent} within {limit:g} s"
            raise UserError("processes", here.world, TOGETHER, problem)
        monitor.poll()
        time.sleep(POLL_SECONDS)


def _await_done(
    monitor: HeartbeatMonitor, files: Sequence[Path], timeout: float, progress: Progress
) -> dict[int, str]:
    """Wait for the others; returns how those that died did so, by rank."""
    began, shown = time.monotonic(), 0
    deaths: dict[int, str] = {}
    while True:
        monitor.poll()
        now = sum(map(count_records, files[1:]))
        progress.update(now - shown)
        shown = now
        waiting = [r for r, path in enumerate(files) if r not in deaths and not is_done(path)]
        if not waiting:
            return deaths
        for rank in waiting:
            if time.monotonic() - max(began, monitor.alive.get(rank, began)) > timeout:
                deaths[rank] = f"gave no heartbeat for {timeout:g} s"
        time.sleep(POLL_SECONDS)


def _follow(job: ScoringJob, here: Rank, mark: str, timeout: float) -> None:
    life = Heartbeat(_life(job.parts, here.rank))
    try:
        start = _await_start(job, here, life, 10 * timeout)
        known = frozenset((system, clip) for system, clip in start["known"])
        file = _part(job, start["run"], here.rank, here.world)
        work(job, here.rank, here.world, file, mark, known)
    finally:
        life.end()


def _await_start(job: ScoringJob, here: Rank, life: Heartbeat, limit: float) -> dict:
    until = time.monotonic() + limit
    while time.monotonic() < until:
        try:
            start = json.loads((job.parts / START).read_text(encoding="utf-8"))
            if start["tokens"].get(str(here.rank)) == life.token:
                life.met = True
                return start
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(POLL_SECONDS)
    raise UserError("processes", here.world, TOGETHER, "lack the first")


def _life(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.life"


def _part(job: ScoringJob, run: str, rank: int, world: int) -> Path:
    return job.parts / f"{run}-rank-{rank}-of-{world}.jsonl"
