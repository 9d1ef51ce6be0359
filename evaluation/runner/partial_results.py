"""Partial results on disk: one line of JSON a scored clip, one file a process, in the run's ``parts`` folder until all is scored."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from evaluation.protocol import protocol_name
from evaluation.records import Record
from evaluation.runner.cache import FeatureCache
from evaluation.runner.judge_registry import judges_of, unavailable
from evaluation.runner.pairs import Group, Item
from evaluation.suite import choose

PARTS = "parts"
Key = tuple[str, str]
"""System and clip."""


@dataclass(frozen=True)
class Job:
    """What a run scores.

    Attributes:
        groups: from :func:`evaluation.runner.pairs.pair`, with their controls.
        metrics: names in the suite.
        out: the run's folder.
        cache: where features are kept.
        align: see :mod:`evaluation.protocol`.
    """

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]
    out: Path
    cache: Path
    align: str | None = None

    @property
    def parts(self) -> Path:
        """The folder of partial results."""
        return self.out / PARTS

    def expected(self) -> list[Item]:
        """Every clip that will have a record; a control's is that of its reference under the control's name."""
        found = [item for group in self.groups for item in group.items]
        for group in self.groups:
            reference = group.reference
            if reference is not None:
                found += [reference] if group.scores_reference else []
                found += [Item(name, reference.clip, reference.path) for name in group.controls]
        return found

    def fingerprint(self) -> str:
        """What must be equal for scores of an interrupted run to be taken over.

        Protocol, metrics and their judges, and every file's place, size and time.
        """
        entries = choose(self.metrics)
        blocked = unavailable(entries)
        judges = {
            n: [[j.name, j.sha256] for j in judges_of(e)] if n not in blocked else None
            for n, e in entries.items()
        }
        digest = hashlib.sha256(json.dumps([protocol_name(self.align), judges]).encode())
        for item in self.expected():
            stat = item.path.stat() if item.path.is_file() else None
            row = [
                item.system,
                item.clip,
                str(item.path.resolve()),
                stat and stat.st_size,
                stat and stat.st_mtime_ns,
            ]
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()


class PartWriter:
    """Appends records to one process's file."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: Mapping[str, object]) -> None:
        """One line, on disk before the next clip begins."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


@contextmanager
def writing(path: Path, fingerprint: str) -> Iterator[PartWriter]:
    """A new part file; a last line says that its process came to its end."""
    with path.open("w", encoding="utf-8") as file:
        writer = PartWriter(file)
        writer.write({"fingerprint": fingerprint, "process": os.getpid()})
        yield writer
        writer.write({"done": True})


def count_records(path: Path) -> int:
    """How many clips a part file holds so far."""
    return sum('"system"' in line for line in _lines(path))


def is_done(path: Path) -> bool:
    """Whether the file's process came to its end."""
    return _lines(path)[-1:] == ['{"done": true}']


def read_parts(folder: Path, fingerprint: str, cache: FeatureCache) -> dict[Key, Record]:
    """Records of all part files of this run, by system and clip.

    A line cut off by a crash is passed over, as is a record whose features are gone from the cache.
    """
    records: dict[Key, Record] = {}
    for path in sorted(folder.glob("*.jsonl")):
        lines = _lines(path)
        if not lines or _parsed(lines[0]).get("fingerprint") != fingerprint:
            continue
        for line in lines[1:]:
            fields = _parsed(line)
            if "system" not in fields:
                continue
            record = Record.from_json(fields)
            if all(cache.has(name) for name in record.stored.values()):
                records[record.system, record.clip] = record
    return records


def sort_records(records: Mapping[Key, Record]) -> list[Record]:
    """By system and clip, whoever scored them."""
    return [records[key] for key in sorted(records)]


def _lines(path: Path) -> Sequence[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _parsed(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
