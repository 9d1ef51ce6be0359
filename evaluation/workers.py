"""Deals groups of clips over processes and merges what they found by clip.

Rank r of n takes groups ``[r::n]`` and appends one line of JSON a clip to its own file, so a process that dies loses only
its unscored clips: the rest is reported, and ``resume`` scores what is missing.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from emo_lightning.progress import Progress
from evaluation.pairs import Failure, Group, Item
from evaluation.protocol import PROTOCOL
from evaluation.records import Record
from evaluation.scoring import score_groups
from evaluation.suite import choose

PARTS = "parts"
Advance = Callable[[int], None]
POLL_SECONDS = 0.2


def fingerprint(groups: Sequence[Group], metrics: Sequence[str]) -> str:
    """What must be equal for scores of an interrupted run to be taken over: protocol, metrics, and every file's size and time."""
    digest = hashlib.sha256(json.dumps([PROTOCOL, list(metrics)]).encode())
    for group in groups:
        for item in (*group.items, *((group.reference,) if group.reference else ())):
            stat = item.path.stat() if item.path.is_file() else None
            row = [item.system, item.clip, str(item.path.resolve()), stat and stat.st_size, stat and stat.st_mtime_ns]
            digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def expected(groups: Sequence[Group]) -> list[Item]:
    """Every clip that will have a record."""
    items = [item for group in groups for item in group.items]
    return items + [group.reference for group in groups if group.reference is not None and group.scores_reference]


def score_all(
    groups: Sequence[Group], metrics: Sequence[str], out: Path, processes: int, resume: bool
) -> tuple[list[Record], list[Failure]]:
    """Score every group.

    Args:
        groups: from :func:`evaluation.pairs.pair`.
        metrics: names in the suite.
        out: the run's folder; partial results lie in its ``parts`` until all is scored.
        processes: how many processes share the work.
        resume: take over what an interrupted run of the same inputs found.

    Returns:
        Records sorted by system and clip, whatever the number of processes; and the clips that a dead process left.
    """
    parts, mark, wanted = out / PARTS, fingerprint(groups, metrics), expected(groups)
    known = read_parts(parts, mark) if resume else {}
    if not resume or not known:
        shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True, exist_ok=True)
    skip = frozenset(known)
    run = f"{time.time_ns():x}"
    files = [parts / f"{run}-rank-{rank}-of-{processes}.jsonl" for rank in range(processes)]
    deaths: dict[int, int] = {}
    with Progress("scoring", len(wanted) - len(skip), "clips") as progress:
        if processes == 1:
            _work(0, 1, groups, metrics, files[0], mark, skip, progress.update)
        else:
            deaths = _spawn(groups, metrics, files, mark, skip, progress.update)
    records = {**known, **read_parts(parts, mark)}
    failures = [_lost(item, deaths) for item in wanted if (item.system, item.clip) not in records]
    if not failures:
        shutil.rmtree(parts, ignore_errors=True)
    return [records[key] for key in sorted(records)], failures


def _lost(item: Item, deaths: Mapping[int, int]) -> Failure:
    how = ", ".join(f"process {rank} ended with code {code}" for rank, code in deaths.items())
    return Failure(item.system, item.clip, f"not scored: {how or 'its process ended early'}; --resume scores what is missing")


def _spawn(
    groups: Sequence[Group],
    metrics: Sequence[str],
    files: Sequence[Path],
    mark: str,
    skip: frozenset[tuple[str, str]],
    advance: Advance,
) -> dict[int, int]:
    """Run one process a file; returns the exit codes of those that failed, by rank."""
    context = multiprocessing.get_context("spawn")
    jobs = [(rank, len(files), groups, metrics, file, mark, skip) for rank, file in enumerate(files)]
    workers = [context.Process(target=_work, args=job) for job in jobs]
    done = 0
    for worker in workers:
        worker.start()
    try:
        while True:
            alive = any(worker.is_alive() for worker in workers)
            now = sum(map(_count_records, files))
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
    return {rank: worker.exitcode for rank, worker in enumerate(workers) if worker.exitcode}


def _work(
    rank: int,
    world: int,
    groups: Sequence[Group],
    metrics: Sequence[str],
    file: Path,
    mark: str,
    skip: frozenset[tuple[str, str]],
    advance: Advance | None = None,
) -> None:
    """One rank's share, one thread: with the same arithmetic everywhere, the number of processes cannot change a score."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with file.open("w", encoding="utf-8") as out:
            out.write(json.dumps({"fingerprint": mark}) + "\n")
            for record in score_groups(groups[rank::world], choose(metrics), _device(rank), skip):
                out.write(json.dumps(record.to_json()) + "\n")
                out.flush()
                if advance is not None:
                    advance(1)
    finally:
        torch.set_num_threads(threads)


def _device(rank: int) -> torch.device:
    """Ranks share the GPUs there are in turn."""
    return torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")


def _count_records(file: Path) -> int:
    return max(0, file.read_bytes().count(b"\n") - 1) if file.is_file() else 0


def read_parts(folder: Path, mark: str) -> dict[tuple[str, str], Record]:
    """Records of all part files with this fingerprint, by (system, clip); a line cut off by a crash is passed over."""
    records: dict[tuple[str, str], Record] = {}
    for file in sorted(folder.glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()
        try:
            if not lines or json.loads(lines[0]).get("fingerprint") != mark:
                continue
            for line in lines[1:]:
                record = Record.from_json(json.loads(line))
                records[record.system, record.clip] = record
        except (ValueError, TypeError, AttributeError):
            continue
    return records
