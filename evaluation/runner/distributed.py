"""The same run under torchrun or SLURM: every process scores its share, the first one merges and reports.

The processes meet in the run's folder, which all must see; no network port is needed. Each writes a file with a token and
touches it as a sign of life. The first process waits until it has seen all of them alive, then writes who they are and
which clips are known already; the others begin when they find their own token there, so files of an earlier run mislead
nobody. A process whose sign of life stays away counts as dead.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import Progress
from evaluation.records import Record
from evaluation.runner.pairs import Failure
from evaluation.runner.partial_results import Job, Key, count_records, is_done
from evaluation.runner.workers import POLL_SECONDS, begin, merge, work

BEAT_SECONDS = 0.5
START = "start.json"
LAUNCHERS = (("torchrun", "RANK", "WORLD_SIZE"), ("SLURM", "SLURM_PROCID", "SLURM_NTASKS"))


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is, and who started them."""

    rank: int
    world: int
    launcher: str


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place among those that a launcher started; None when it is alone.

    Raises:
        UserError: variables that contradict each other.
    """
    for launcher, rank, world in LAUNCHERS:
        if rank in environment and world in environment:
            try:
                found = Place(int(environment[rank]), int(environment[world]), launcher)
            except ValueError:
                raise UserError(
                    rank, environment[rank], "a whole number", f"was set by {launcher} to no number"
                ) from None
            if not 0 <= found.rank < found.world:
                raise UserError(
                    rank,
                    found.rank,
                    f"0 to {found.world - 1}",
                    f"does not fit {world} {found.world}",
                )
            return found if found.world > 1 else None
    return None


class _SignOfLife:
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
                # The first process clears the folder before it begins; afterwards a file that is gone stays gone.
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
        self._stop.set()
        self._thread.join()


class _Watch:
    """When each of the other processes last gave a sign of life, on this process's own clock."""

    def __init__(self, folder: Path, world: int) -> None:
        self._files = {rank: _life(folder, rank) for rank in range(1, world)}
        self._seen: dict[int, tuple[object, float]] = {}
        self.alive: dict[int, float] = {}
        """Rank -> when its file was last seen to change."""

    def look(self) -> None:
        now = time.monotonic()
        for rank, path in self._files.items():
            try:
                mark: object = path.stat().st_mtime_ns
            except OSError:
                continue
            if rank in self._seen and self._seen[rank][0] != mark:
                self.alive[rank] = now
            if rank not in self._seen or self._seen[rank][0] != mark:
                self._seen[rank] = mark, now

    def tokens(self) -> dict[int, str]:
        return {rank: self._files[rank].read_text(encoding="utf-8") for rank in self.alive}


def score_share(
    job: Job, here: Place, resume: bool, patience: float
) -> tuple[list[Record], list[Failure]] | None:
    """Score this process's share; the first process then waits for the others and merges.

    Args:
        job: what to score, the same for all.
        here: from :func:`place`.
        resume: take over what an interrupted run of the same inputs found.
        patience: seconds without a sign of life after which a process counts as dead; ten times as many to begin with.

    Returns:
        As :func:`evaluation.runner.workers.score_all` for the first process, None for the others.

    Raises:
        UserError: not all processes came.
    """
    mark = job.fingerprint()
    if here.rank == 0:
        known = begin(job, mark, resume)
        return _lead(job, here, mark, known, patience)
    job.parts.mkdir(parents=True, exist_ok=True)
    _follow(job, here, mark, patience)
    return None


def _lead(
    job: Job, here: Place, mark: str, known: frozenset[Key], patience: float
) -> tuple[list[Record], list[Failure]]:
    watch, run = _Watch(job.parts, here.world), uuid.uuid4().hex
    _await_all(watch, here, 10 * patience)
    start = {
        "run": run,
        "tokens": {str(rank): token for rank, token in watch.tokens().items()},
        "known": sorted(known),
    }
    part = job.parts / f"{START}.{run}"
    part.write_text(json.dumps(start), encoding="utf-8")
    move_into_place(part, job.parts / START)
    files = [_part(job, run, rank, here.world) for rank in range(here.world)]
    with Progress("scoring", len(job.expected()) - len(known), "clips") as progress:
        work(job, 0, here.world, files[0], mark, known, progress.update)
        deaths = _await_done(watch, files, patience, progress)
    return merge(job, mark, deaths)


def _await_all(watch: _Watch, here: Place, limit: float) -> None:
    until = time.monotonic() + limit
    while len(watch.alive) < here.world - 1:
        if time.monotonic() > until:
            absent = sorted(set(range(1, here.world)) - set(watch.alive))
            problem = (
                f"of {here.launcher} came without {', '.join(map(str, absent))} within {limit:g} s"
            )
            raise UserError(
                "processes",
                here.world,
                "all of them started with the same arguments and seeing the same --out",
                problem,
            )
        watch.look()
        time.sleep(POLL_SECONDS)


def _await_done(
    watch: _Watch, files: list[Path], patience: float, progress: Progress
) -> dict[int, str]:
    """Wait for the others; returns how those that died did so, by rank."""
    began, told = time.monotonic(), 0
    deaths: dict[int, str] = {}
    while True:
        watch.look()
        now = sum(count_records(path) for path in files[1:])
        progress.update(now - told)
        told = now
        waiting = [
            rank for rank, path in enumerate(files) if rank not in deaths and not is_done(path)
        ]
        if not waiting:
            return deaths
        for rank in waiting:
            if time.monotonic() - max(began, watch.alive.get(rank, began)) > patience:
                deaths[rank] = f"gave no sign of life for {patience:g} s"
        time.sleep(POLL_SECONDS)


def _follow(job: Job, here: Place, mark: str, patience: float) -> None:
    life = _SignOfLife(_life(job.parts, here.rank))
    try:
        start = _await_start(job, here, life, 10 * patience)
        known = frozenset((system, clip) for system, clip in start["known"])
        work(
            job, here.rank, here.world, _part(job, start["run"], here.rank, here.world), mark, known
        )
    finally:
        life.end()


def _await_start(job: Job, here: Place, life: _SignOfLife, limit: float) -> dict:
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
    raise UserError(
        "processes",
        here.world,
        "all of them started with the same arguments and seeing the same --out",
        "lack the first",
    )


def _life(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.life"


def _part(job: Job, run: str, rank: int, world: int) -> Path:
    return job.parts / f"{run}-rank-{rank}-of-{world}.jsonl"
