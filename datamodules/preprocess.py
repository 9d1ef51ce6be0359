"""A corpus to shards: every clip is extracted on its own, then all are packed in one order, whoever extracted them.

The work folder ``OUT/.work`` holds, for each finished clip, its samples in a small archive and then a record; a clip
with a record is finished. So a run can be killed at any moment and resumed, and the shards' bytes depend neither on
the number of workers nor on where the run was broken off.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import shutil
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from datamodules.extract import CLIP_SECONDS, Extraction, Extractor, Failure
from datamodules.schema import SampleError, SampleMeta, encode, safe_key
from datamodules.shards import INDEX, ShardIndex, ShardWriter, add_members, prepare_folder, read_index, read_tar, write_json
from datamodules.sources import Clip, Rejected, Source, Stored
from datamodules.sources.clip import Place
from datamodules.splits import assign_splits
from emo_lightning.errors import UserError

WORK, FAILURES = ".work", "failures.jsonl"
RECORD_VERSION = 2
GRACE = 10.0
"""Seconds beyond the time limit of a clip after which its process is ended."""


@dataclass(frozen=True)
class Settings:
    """What the samples' bytes depend on, besides the clips.

    Attributes:
        size: side of the stored crop in pixels.
        landmarks: landmark back-end.
        samples_per_shard: how many samples an archive takes.
        split_by: ``speaker``, or ``clip`` for a corpus of one speaker whose clips may be held out; then a voice and
            a face are in several splits, which the index says.
        keep_mute: keep videos without sound; only stage 3 can use them.
    """

    size: int = 256
    landmarks: str = "mediapipe"
    samples_per_shard: int = 64
    split_by: str = "speaker"
    keep_mute: bool = False

    def __post_init__(self) -> None:
        if not 64 <= self.size <= 1024 or self.size % 2:
            raise UserError("--size", self.size, "an even number of pixels from 64 to 1024")
        if self.split_by not in ("speaker", "clip"):
            raise UserError("--split-by", self.split_by, "speaker, clip")
        if self.samples_per_shard < 1:
            raise UserError("--samples-per-shard", self.samples_per_shard, "1 or more")


@dataclass
class Report:
    """What a run did: the index, clips given, failures, frames looked at, and seconds by part of the extraction."""

    index: ShardIndex
    clips: int
    failures: list[Failure]
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def preprocess(
    source: Source,
    out: str | Path,
    workers: int = 1,
    resume: bool = False,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    clip_seconds: float = CLIP_SECONDS,
) -> Report:
    """Turn every clip of a source into light and video shards in ``out``, with ``index.json`` and ``failures.jsonl``.

    Args:
        source: the clips.
        out: a new or empty folder, or with ``resume`` one that an earlier run left.
        workers: processes that extract; 1 works in this one.
        resume: keep the clips that are finished in ``out``.
        settings: see :class:`Settings`.
        progress: called with (clips finished, clips in all) after each.
        clip_seconds: work on one clip ends after so long with the reason ``timeout``. With several workers that holds for a
            decoder that hangs as well: its process is ended. In this process it is looked at between frames.

    Raises:
        UserError: ``out`` cannot be used, the source has no clips, or none of them gave a sample (``failures.jsonl``
            says why).
    """
    settings, out = settings or Settings(), Path(out)
    if not 1 <= workers <= 256:
        raise UserError("--workers", workers, "1 to 256")
    if resume and (out / INDEX).exists():
        return Report(read_index(out, "--out"), 0, _read_failures(out / FAILURES))
    prepare_folder(out)
    work = out / WORK
    if work.exists() and not resume:
        raise UserError("--out", out, "a new or empty folder, or --resume to go on", "holds an unfinished run")
    work.mkdir(exist_ok=True)
    listed = list(source.clips())
    clips = [item for item in listed if isinstance(item, Clip)]
    rejected = [Failure(item.name, item.reason, item.detail) for item in listed if isinstance(item, Rejected)]
    jobs = [Job(clip, work, source.name, settings, clip_seconds) for clip in clips]
    todo = [job for job in jobs if job.record() is None]
    for done, _ in enumerate(_run(todo, workers), start=len(jobs) - len(todo) + 1):
        if progress is not None:
            progress(done, len(jobs))
    report = _pack(jobs, rejected, out, settings, source)
    shutil.rmtree(work, ignore_errors=True)
    return report


@dataclass(frozen=True)
class Job:
    """One clip to extract, and where its results go."""

    clip: Clip
    work: Path
    source: str
    settings: Settings
    clip_seconds: float

    @property
    def stem(self) -> Path:
        return self.work / safe_key(self.clip.name)

    @property
    def busy(self) -> Path:
        """Is there, since when it was begun, while a worker process is at the clip."""
        return self.stem.with_suffix(".busy")

    def record(self) -> dict[str, Any] | None:
        """What an earlier extraction of the same file with the same settings left, or None."""
        try:
            record = json.loads(self.stem.with_suffix(".json").read_bytes())
            return record if record.get("made_of") == self._made_of() else None
        except (OSError, ValueError, AttributeError):
            return None

    def store(self, result: Extraction) -> None:
        """Write the samples, then the record that says they are whole."""
        part = self.stem.with_suffix(".part")
        failures = list(result.failures)
        kept = 0
        with open(part, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in result.samples:
                try:
                    add_members(tar, sample.key, encode(sample))
                    kept += 1
                except SampleError as error:
                    failures.append(Failure(self.clip.name, error.reason, error.detail))
        os.replace(part, self.stem.with_suffix(".tar"))
        rows = [[failure.clip, failure.reason, failure.detail] for failure in failures]
        record = {"made_of": self._made_of(), "samples": kept, "failures": rows, "frames": result.frames, "seconds": dict(result.seconds)}
        write_json(self.stem.with_suffix(".json"), record)

    def _made_of(self) -> list[Any]:
        clip = self.clip
        labels = [clip.speaker, clip.sentence, clip.emotion, clip.intensity, clip.level, clip.split, clip.extra, clip.span, clip.words]
        files = [_stamp(place) for place in (clip.path, clip.audio, clip.coefficients, clip.aus)]
        settings = [self.settings.size, self.settings.landmarks, self.settings.keep_mute]
        made_of: list[Any] = json.loads(json.dumps([RECORD_VERSION, self.source, settings, labels, files]))
        return made_of


def _stamp(place: Place | None) -> list[int] | None:
    """What tells that a file, or the archive it is in, was changed."""
    if place is None:
        return None
    path, offset = (place.archive, place.offset or 0) if isinstance(place, Stored) else (place, 0)
    return [path.stat().st_size, path.stat().st_mtime_ns, offset] if path.exists() else None


_extractors: dict[tuple[str, int, str, bool, float], Extractor] = {}


def _extractor(job: Job) -> Extractor:
    """What extracts in this process, ready to begin; it is kept for the next clip."""
    wanted = (job.source, job.settings.size, job.settings.landmarks, job.settings.keep_mute, job.clip_seconds)
    if wanted not in _extractors:
        _extractors[wanted] = Extractor(*wanted)
    if job.clip.path is not None:
        _extractors[wanted].landmarker  # noqa: B018  (loaded here, so that its start does not count against a clip)
    return _extractors[wanted]


def _work(job: Job) -> None:
    """Extract one clip in whatever process this is."""
    extractor = _extractor(job)
    try:
        result = extractor.extract(job.clip)
    except UserError:
        raise
    except (ValueError, RuntimeError, OSError, MemoryError, ArithmeticError, LookupError) as error:
        # One clip that a library chokes on must not end a run of days; its line says what happened.
        result = Extraction(failures=[Failure(job.clip.name, "error", f"{type(error).__name__}: {error}"[:500])])
    job.store(result)


def _work_or_die(job: Job) -> None:
    """As :func:`_work`, in a worker process, which ends itself when it hangs where nothing can be raised."""
    _extractor(job)
    job.busy.touch()
    faulthandler.dump_traceback_later(job.clip_seconds + min(GRACE, job.clip_seconds), exit=True, file=_nowhere())
    try:
        _work(job)
    finally:
        faulthandler.cancel_dump_traceback_later()
        job.busy.unlink()


@lru_cache(maxsize=1)
def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _run(jobs: Sequence[Job], workers: int) -> Iterator[Job]:
    """Extract all jobs; yields each as it is finished, in no particular order."""
    if workers == 1 or len(jobs) <= 1:
        for job in jobs:
            _work(job)
            yield job
        return
    left = list(jobs)
    while left:
        suspects: list[Job] = []
        finished: set[int] = set()
        for job, broken in _pooled(left, workers):
            if broken:
                suspects.append(job)
            else:
                finished.add(id(job))
                yield job
        for job in suspects:
            yield from _alone(job)
        gone = finished | {id(job) for job in suspects}
        left = [job for job in left if id(job) not in gone]


def _pooled(jobs: Iterable[Job], workers: int) -> Iterator[tuple[Job, bool]]:
    """Jobs as a pool finishes them. When a worker dies, those under way are yielded as broken, and that is the end."""
    queue = iter(jobs)
    # Numerical libraries read this when a worker loads them: processes are our parallelism, not threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[None], Job] = {}
        try:
            for job in queue:
                running[pool.submit(_work_or_die, job)] = job
                while len(running) >= 2 * workers:
                    yield from _reap(running)
            while running:
                yield from _reap(running)
        except BrokenProcessPool:
            yield from ((job, True) for job in running.values())


def _reap(running: dict[Future[None], Job]) -> Iterator[tuple[Job, bool]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
        yield running.pop(future), False


def _alone(job: Job) -> Iterator[Job]:
    """A job that was under way when a worker died, in a process of its own: if that dies too, this clip is why."""
    for _, broken in _pooled([job], 1):
        if broken:
            hung = job.busy.exists() and time.time() - job.busy.stat().st_mtime > job.clip_seconds
            reason, detail = ("timeout", f"hung for {job.clip_seconds:g} s") if hung else ("crashed", "the process that decoded it died")
            job.store(Extraction(failures=[Failure(job.clip.name, reason, detail)]))
        yield job


def _pack(jobs: Sequence[Job], rejected: Sequence[Failure], out: Path, settings: Settings, source: Source) -> Report:
    failures, frames, seconds = list(rejected), 0, Counter[str]()
    for job in jobs:
        record = job.record() or {"failures": [[job.clip.name, "changed", "the file changed during the run"]], "frames": 0, "seconds": {}}
        failures += [Failure(*row) for row in record["failures"]]
        frames += record["frames"]
        seconds.update(record["seconds"])
    metas = {key: meta for job in jobs for key, meta in _metas(job)}
    splits, notes = _splits(metas, settings.split_by)
    flags = Counter(flag for meta in metas.values() for flag in meta.extra["flags"])
    if flags:
        notes.append("samples flagged, none left out: " + ", ".join(f"{flag} {count}" for flag, count in sorted(flags.items())))
    _write_failures(out / FAILURES, failures)
    with ShardWriter(out, samples_per_shard=settings.samples_per_shard) as writer:
        for job in jobs:
            for key, members in _members(job):
                writer.add_members(key, replace(metas[key], split=splits[key]), members)
        for failure in failures:
            writer.fail(failure.reason)
        if not metas:
            table = ", ".join(f"{reason} {count}" for reason, count in sorted(writer.failures.items())) or "there are no videos"
            raise UserError(
                "--root",
                source.name,
                "at least one video with a face and sound, or a recording",
                f"gave no sample ({table}; see {out / FAILURES})",
            )
        index = writer.finish({"source": source.name, "size": settings.size, "landmarks": settings.landmarks}, [*source.notes, *notes])
    return Report(index, len(jobs), failures, frames, dict(seconds))


def _members(job: Job) -> Iterator[tuple[str, dict[str, bytes]]]:
    path = job.stem.with_suffix(".tar")
    if job.record() is not None and path.exists():
        with open(path, "rb") as stream:
            for key, members in read_tar(stream):
                if isinstance(members, SampleError):
                    raise members
                yield key, members


def _metas(job: Job) -> Iterator[tuple[str, SampleMeta]]:
    for key, members in _members(job):
        yield key, SampleMeta.from_json(members["json"])


def _splits(metas: dict[str, SampleMeta], split_by: str) -> tuple[dict[str, str], list[str]]:
    """Split of each sample, and what is to be noted of it.

    What the source fixes holds; a speaker of whom it fixes some clips follows the first of them with the others; the
    rest go by a hash.
    """
    notes = []
    clip_of = {key: str(meta.extra["path"]) for key, meta in metas.items()}
    names = clip_of if split_by == "clip" else {key: meta.speaker for key, meta in metas.items()}
    fixed = {key: str(meta.extra["split"]) for key, meta in metas.items() if meta.extra.get("split")}
    owned: dict[str, str] = {}
    for key, split in fixed.items():
        owned.setdefault(names[key], split)
    chosen = owned | assign_splits(set(names.values()) - set(owned))
    if split_by == "clip":
        notes.append("splits are by clip: the same speakers are in several splits, so validation says nothing about new people")
    elif any(owned[names[key]] != split for key, split in fixed.items()):
        notes.append("the source puts clips of one speaker into several splits")
    if set(chosen.values()) == {"train"}:
        notes.append("everything is in train and there is no validation split: a split by speaker takes two speakers")
    return {key: fixed.get(key, chosen[name]) for key, name in names.items()}, notes


def _write_failures(path: Path, failures: Sequence[Failure]) -> None:
    part = path.with_name(f".{path.name}.part")
    rows = sorted(failures, key=lambda f: (f.clip, f.reason, f.detail))
    lines = (json.dumps({"clip": f.clip, "reason": f.reason, "detail": f.detail}, ensure_ascii=False) for f in rows)
    part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(part, path)


def _read_failures(path: Path) -> list[Failure]:
    if not path.exists():
        return []
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [Failure(row["clip"], row["reason"], row["detail"]) for row in rows]
