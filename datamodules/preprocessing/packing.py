"""Packs finished clips into shards in the order of the corpus, so the bytes are always the same."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from datamodules.preprocessing.done_store import DoneStore
from datamodules.preprocessing.extraction import Failure
from datamodules.preprocessing.jobs import Job, Settings
from datamodules.shards.index import INDEX, ShardIndex
from datamodules.shards.schema import SampleMeta
from datamodules.shards.splits import assign_splits
from datamodules.shards.writer import ShardWriter
from datamodules.sources import Source
from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.errors import UserError

FAILURES = "failures.jsonl"
_SHARD = r"(light|video|audio|mute)-(train|val|test)-\d{6,}\.tar"
_PART = re.compile(rf"\.({_SHARD}|{re.escape(INDEX)}|{re.escape(FAILURES)})\.part")
_LEFT = re.compile(f"{_SHARD}|{_PART.pattern}")


@dataclass
class Report:
    """What a run did.

    Attributes:
        index: of the shards.
        clips: clips, and files that should be one.
        lost: those of them without any sample.
        failures: their reasons, and what was skipped of the others.
        frames: frames analysed.
        seconds: of workers, by part of the extraction.
    """

    index: ShardIndex
    clips: int
    lost: int
    failures: list[Failure]
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def pack(
    jobs: Sequence[Job],
    store: DoneStore,
    rejected: Sequence[Failure],
    out: Path,
    settings: Settings,
    source: Source,
) -> Report:
    """Write ``failures.jsonl``, the shards and last their index; all appear by rename.

    Args:
        jobs: in the order that the shards shall have; all of them finished.
        store: their outcomes.
        rejected: files that were no clips.
        out: the output folder.
        settings: see :class:`datamodules.preprocessing.jobs.Settings`.
        source: for its name and notes.

    Raises:
        UserError: there is no sample at all; ``failures.jsonl`` has the reasons.
        OSError: the folder cannot be written; no incomplete file has a final name then.
    """
    failures, frames, seconds, flags = list(rejected), 0, Counter[str](), Counter[str]()
    good: list[Job] = []
    for job in jobs:
        outcome = store.outcome(job)
        failures += outcome.failures
        frames += outcome.frames
        seconds.update(outcome.seconds)
        flags.update(flag for kept in outcome.samples for flag in kept.flags)
        if outcome.samples:
            good.append(job)
    splits, notes = _splits(good, settings.split_by)
    if flags:
        notes.append(
            "samples flagged, none skipped: "
            + ", ".join(f"{flag} {count}" for flag, count in sorted(flags.items()))
        )
    clips, lost = len(jobs) + len(rejected), len(jobs) + len(rejected) - len(good)
    with _tidy(out), ShardWriter(out, samples_per_shard=settings.samples_per_shard) as writer:
        for job in good:
            lost += not _append(writer, job, store, splits[job.clip.name], failures)
        _write_failures(out / FAILURES, failures)
        for failure in failures:
            writer.fail(failure.reason)
        if writer.index is None:
            reasons = sorted(writer.failures.items())
            table = ", ".join(f"{reason} {count}" for reason, count in reasons)
            problem = f"has no usable clip ({table or 'there are no videos'}; see {out / FAILURES})"
            accepted = "at least one video with a face and audio, or a recording"
            raise UserError("--root", source.name, accepted, problem)
        provenance = {"source": source.name, "size": settings.size, "clips": clips, "lost": lost}
        provenance["landmarks"] = settings.landmarks
        index = writer.finish(provenance, [*source.notes, *notes])
    return Report(index, clips, lost, failures, frames, dict(seconds))


def _append(
    writer: ShardWriter, job: Job, store: DoneStore, split: str, failures: list[Failure]
) -> bool:
    """Add a clip's samples; a failure for each that the work folder no longer has.

    Returns:
        Whether any was added.
    """
    added = False
    for number, sample in enumerate(store.outcome(job).samples):
        payload = store.payload(job, number)
        if payload is None:
            detail = "the disk did not keep what was extracted"
            failures.append(Failure(job.clip.name, "work_damaged", detail))
            continue
        members = sample.split(payload)
        meta = replace(SampleMeta.from_json(members["json"]), split=split)
        writer.add_members(sample.key, meta, members)
        added = True
    return added


def _splits(jobs: Sequence[Job], split_by: str) -> tuple[Mapping[str, str], list[str]]:
    """Split of each clip, and notes.

    A split that the source fixes holds; the other clips of that speaker follow the first fixed one;
    all other speakers go by a hash.
    """
    notes = []
    names = {
        job.clip.name: job.clip.name if split_by == "clip" else job.clip.speaker for job in jobs
    }
    fixed = {job.clip.name: job.clip.split for job in jobs if job.clip.split}
    owned: dict[str, str] = {}
    for clip, split in fixed.items():
        owned.setdefault(names[clip], split)
    chosen = owned | assign_splits(set(names.values()) - set(owned))
    if split_by == "clip":
        notes.append(
            "splits are by clip: the same speakers are in several splits, so validation does not "
            "measure generalisation to new people"
        )
    elif any(owned[names[clip]] != split for clip, split in fixed.items()):
        notes.append("the source puts clips of one speaker into several splits")
    if set(chosen.values()) == {"train"}:
        notes.append(
            "everything is in train and there is no validation split: a split by speaker takes two "
            "speakers"
        )
    return {clip: fixed.get(clip, chosen[name]) for clip, name in names.items()}, notes


@contextmanager
def _tidy(out: Path) -> Iterator[None]:
    """Remove what a run killed while packing left, and our own parts when this one fails."""
    _remove(out, _LEFT)
    try:
        yield
    except BaseException:
        _remove(out, _PART)
        raise


def _remove(out: Path, names: re.Pattern[str]) -> None:
    for path in list(out.iterdir()):
        if names.fullmatch(path.name):
            path.unlink()


def _write_failures(path: Path, failures: Sequence[Failure]) -> None:
    part = path.with_name(f".{path.name}.part")
    with open(part, "w", encoding="utf-8") as file:
        for row in sorted(failures, key=lambda f: (f.clip, f.reason, f.detail)):
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
    move_into_place(part, path)


def read_failures(out: Path) -> list[Failure]:
    """The rows of a finished set's ``failures.jsonl``."""
    if not (out / FAILURES).exists():
        return []
    lines = (out / FAILURES).read_text(encoding="utf-8").splitlines()
    return [Failure(**json.loads(line)) for line in lines]
