"""Distributes groups of clips over processes and merges their records by clip.

Rank r of n takes groups ``[r::n]`` and writes one line a clip to its own part file, so a process
that dies loses only its unscored clips: the rest is reported, and ``resume`` scores what is
missing. The processes are started here on one machine, or by torchrun or SLURM
(:mod:`evaluation.runner.distributed`).
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from emo_lightning.core.device import resolve_device
from emo_lightning.core.progress import Progress
from evaluation.protocol import protocol_name
from evaluation.records import Record
from evaluation.runner.cache import FeatureCache
from evaluation.runner.pairs import ClipGroup, Item, Unscored
from evaluation.runner.scoring import score_groups
from evaluation.suite import choose, judges_of, unavailable

Advance = Callable[[int], None]
POLL_SECONDS = 0.2
PARTS = "parts"
Key = tuple[str, str]
"""System and clip."""


@dataclass(frozen=True)
class ScoringJob:
    """The work of a run.

    Attributes:
        groups: from :func:`evaluation.runner.pairs.pair`, with their controls.
        metrics: names in the suite.
        out: the run's folder.
        cache: where features are kept.
        align: see :mod:`evaluation.protocol`.
        device: of the judges; "auto" and "cuda" spread the processes over all GPUs.
    """

    groups: tuple[ClipGroup, ...]
    metrics: tuple[str, ...]
    out: Path
    cache: Path
    align: str | None = None
    device: str = "auto"

    @property
    def parts(self) -> Path:
        """The folder of partial results."""
        return self.out / PARTS

    def expected(self) -> list[Item]:
        """Every clip that will have a record; a control's is that of its reference under the
        control's name."""
        found = [item for group in self.groups for item in group.items]
        for group in self.groups:
            reference = group.reference
            if reference is not None:
                found += [reference] if group.scores_reference else []
                found += [Item(name, reference.clip, reference.path) for name in group.controls]
        return found

    def fingerprint(self) -> str:
        """Hash of what must be equal for scores of an interrupted run to be used.

        Protocol, metrics and their judges, and every file's path, size and time.
        """
        entries = choose(self.metrics)
        blocked = unavailable(entries)
        judges = {
            name: None if name in blocked else [[j.name, j.sha256] for j in judges_of(entry)]
            for name, entry in entries.items()
        }
        digest = hashlib.sha256(json.dumps([protocol_name(self.align), judges]).encode())
        for item in self.expected():
            stat = item.path.stat() if item.path.is_file() else None
            state = [stat.st_size, stat.st_mtime_ns] if stat else [None, None]
            row = [item.system, item.clip, str(item.path.resolve()), *state]
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()


@contextmanager
def writing(path: Path, fingerprint: str) -> Iterator[Callable[[Mapping[str, object]], None]]:
    """Open a new part file; yields a function that appends a line, on disk before the next clip
    begins.

    The file's last line says that the process came to its end.
    """
    with path.open("w", encoding="utf-8") as file:

        def write(line: Mapping[str, object]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        write({"fingerprint": fingerprint, "process": os.getpid()})
        yield write
        write({"done": True})


def count_records(path: Path) -> int:
    """Number of clips in a part file so far."""
    return sum('"system"' in line for line in _lines(path))


def is_done(path: Path) -> bool:
    """Whether the file's process came to its end."""
    return _lines(path)[-1:] == ['{"done": true}']


def read_parts(folder: Path, fingerprint: str, cache: FeatureCache) -> dict[Key, Record]:
    """Records of all part files of this run, by system and clip.

    A line cut off by a crash is skipped, as is a record whose features are gone from the cache.
    """
    records: dict[Key, Record] = {}
    for path in sorted(folder.glob("*.jsonl")):
        lines = _lines(path)
        if not lines or _parsed(lines[0]).get("fingerprint") != fingerprint:
            continue
        for line in lines[1:]:
            fields = _parsed(line)
            if "system" in fields:
                record = Record(**fields)
                if all(map(cache.has, record.stored.values())):
                    records[record.system, record.clip] = record
    return records


def _lines(path: Path) -> Sequence[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _parsed(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def score_all(job: ScoringJob, processes: int, resume: bool) -> tuple[list[Record], list[Unscored]]:
    """Score every group on this machine.

    Args:
        job: what to score.
        processes: how many processes share the work.
        resume: use what an interrupted run of the same inputs has scored.

    Returns:
        Records sorted by system and clip, whatever the number of processes; and the clips that a
        dead process did not score.
    """
    mark = job.fingerprint()
    known = begin(job, mark, resume)
    run = f"{time.time_ns():x}"
    files = [job.parts / f"{run}-rank-{rank}-of-{processes}.jsonl" for rank in range(processes)]
    deaths: dict[int, str] = {}
    with Progress("scoring", len(job.expected()) - len(known), "clips") as progress:
        if processes == 1:
            work(job, 0, 1, files[0], mark, known, progress.update)
        else:
            deaths = _spawn(job, files, mark, known, progress.update)
    return merge(job, mark, deaths)


def begin(job: ScoringJob, fingerprint: str, resume: bool) -> frozenset[Key]:
    """Make the folder of partial results; returns the clips that an interrupted run has scored."""
    known = read_parts(job.parts, fingerprint, FeatureCache(job.cache)) if resume else {}
    if not known:
        shutil.rmtree(job.parts, ignore_errors=True)
    job.parts.mkdir(parents=True, exist_ok=True)
    return frozenset(known)


def merge(
    job: ScoringJob, fingerprint: str, deaths: Mapping[int, str]
) -> tuple[list[Record], list[Unscored]]:
    """All records, and the unscored clips; the partial results are removed once nothing is
    missing."""
    records = read_parts(job.parts, fingerprint, FeatureCache(job.cache))
    missing = [item for item in job.expected() if (item.system, item.clip) not in records]
    if not missing:
        shutil.rmtree(job.parts, ignore_errors=True)
    ends = ", ".join(f"process {rank} {how}" for rank, how in sorted(deaths.items()))
    reason = f"not scored: {ends or 'its process ended early'}; --resume scores what is missing"
    lost = [Unscored(item.system, item.clip, reason) for item in missing]
    return [records[key] for key in sorted(records)], lost


def _spawn(
    job: ScoringJob, files: Sequence[Path], mark: str, skip: frozenset[Key], advance: Advance
) -> dict[int, str]:
    """Run one process a file; returns how those that failed ended, by rank."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=work, args=(job, rank, len(files), file, mark, skip))
        for rank, file in enumerate(files)
    ]
    for worker in workers:
        worker.start()
    done, alive = 0, True
    try:
        while alive:
            alive = any(worker.is_alive() for worker in workers)
            now = sum(map(count_records, files))
            advance(now - done)
            done = now
            if alive:
                time.sleep(POLL_SECONDS)
    finally:
        # No process keeps running when this one is interrupted.
        for worker in workers:
            worker.terminate()
            worker.join()
    codes = {rank: worker.exitcode for rank, worker in enumerate(workers)}
    return {rank: f"ended with code {code}" for rank, code in codes.items() if code}


def work(
    job: ScoringJob,
    rank: int,
    world: int,
    file: Path,
    mark: str,
    skip: frozenset[Key],
    advance: Advance | None = None,
) -> None:
    """One rank's share, on one thread: the same arithmetic everywhere, so scores do not depend on
    the number of processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    device = resolve_device(job.device)
    if device.type == "cuda" and ":" not in job.device:
        device = torch.device("cuda", rank % torch.cuda.device_count())
    entries, cache = choose(job.metrics), FeatureCache(job.cache)
    try:
        with writing(file, mark) as write:
            mine = job.groups[rank::world]
            for record in score_groups(mine, entries, device, cache, skip, job.align):
                write(record.to_json())
                if advance is not None:
                    advance(1)
    finally:
        torch.set_num_threads(threads)
