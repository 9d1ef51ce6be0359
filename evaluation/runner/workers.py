"""Deals groups of clips over processes and merges what they found by clip.

Rank r of n takes groups ``[r::n]`` and writes one line a clip to its own part file, so a process that dies loses only its
unscored clips: the rest is reported, and ``resume`` scores what is missing. The processes are started here on one machine,
or by torchrun or SLURM (:mod:`evaluation.runner.distributed`).
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from emo_lightning.core.progress import Progress
from evaluation.records import Record
from evaluation.runner.cache import FeatureCache
from evaluation.runner.pairs import Failure, Item
from evaluation.runner.partial_results import (
    Job,
    Key,
    count_records,
    read_parts,
    sort_records,
    writing,
)
from evaluation.runner.scoring import score_groups
from evaluation.suite import choose

Advance = Callable[[int], None]
POLL_SECONDS = 0.2


def score_all(job: Job, processes: int, resume: bool) -> tuple[list[Record], list[Failure]]:
    """Score every group on this machine.

    Args:
        job: what to score.
        processes: how many processes share the work.
        resume: take over what an interrupted run of the same inputs found.

    Returns:
        Records sorted by system and clip, whatever the number of processes; and the clips that a dead process left.
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


def begin(job: Job, fingerprint: str, resume: bool) -> frozenset[Key]:
    """Make the folder of partial results and say which clips an interrupted run has scored already."""
    known = read_parts(job.parts, fingerprint, FeatureCache(job.cache)) if resume else {}
    if not known:
        shutil.rmtree(job.parts, ignore_errors=True)
    job.parts.mkdir(parents=True, exist_ok=True)
    return frozenset(known)


def merge(
    job: Job, fingerprint: str, deaths: Mapping[int, str]
) -> tuple[list[Record], list[Failure]]:
    """All records, and what nobody scored; the partial results go once nothing is missing."""
    records = read_parts(job.parts, fingerprint, FeatureCache(job.cache))
    lost = [
        _lost(item, deaths) for item in job.expected() if (item.system, item.clip) not in records
    ]
    if not lost:
        shutil.rmtree(job.parts, ignore_errors=True)
    return sort_records(records), lost


def _lost(item: Item, deaths: Mapping[int, str]) -> Failure:
    how = ", ".join(f"process {rank} {how}" for rank, how in sorted(deaths.items()))
    return Failure(
        item.system,
        item.clip,
        f"not scored: {how or 'its process ended early'}; --resume scores what is missing",
    )


def _spawn(
    job: Job, files: Sequence[Path], mark: str, skip: frozenset[Key], advance: Advance
) -> dict[int, str]:
    """Run one process a file; returns how those that failed ended, by rank."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=work, args=(job, rank, len(files), file, mark, skip))
        for rank, file in enumerate(files)
    ]
    done = 0
    for worker in workers:
        worker.start()
    try:
        while True:
            alive = any(worker.is_alive() for worker in workers)
            now = sum(map(count_records, files))
            if now > done:
                advance(now - done)
                done = now
            if not alive:
                break
            time.sleep(POLL_SECONDS)
    finally:
        # Nobody is left running when this process is interrupted.
        for worker in workers:
            worker.terminate()
            worker.join()
    return {
        rank: f"ended with code {worker.exitcode}"
        for rank, worker in enumerate(workers)
        if worker.exitcode
    }


def work(
    job: Job,
    rank: int,
    world: int,
    file: Path,
    mark: str,
    skip: frozenset[Key],
    advance: Advance | None = None,
) -> None:
    """One rank's share, one thread: with the same arithmetic everywhere, the number of processes cannot change a score."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with writing(file, mark) as part:
            mine, entries, cache = (
                job.groups[rank::world],
                choose(job.metrics),
                FeatureCache(job.cache),
            )
            for record in score_groups(mine, entries, _device(rank), cache, skip, job.align):
                part.write(record.to_json())
                if advance is not None:
                    advance(1)
    finally:
        torch.set_num_threads(threads)


def _device(rank: int) -> torch.device:
    """Ranks share the GPUs there are in turn."""
    return (
        torch.device("cuda", rank % torch.cuda.device_count())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )
