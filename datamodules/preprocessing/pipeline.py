"""Preprocessing of a corpus: every clip is extracted on its own, then all are packed in one order.

The work folder ``OUT/.work`` keeps the outcome of each finished clip
(:mod:`datamodules.preprocessing.done_store`). So a run can be killed at any moment and resumed, and
the shards' bytes depend neither on the engine, nor on the number of workers, nor on interruptions.
Until the shards are written the folder takes about as much room as they do.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from datamodules.preprocessing.done_store import DoneStore
from datamodules.preprocessing.engines import Engine, check_engine, extract_all, open_pool
from datamodules.preprocessing.extraction import CLIP_SECONDS, Failure
from datamodules.preprocessing.jobs import Job, Outcome, Recipe, Settings
from datamodules.preprocessing.packing import FAILURES, Report, pack, read_failures
from datamodules.shards.index import INDEX, prepare_folder, read_index
from datamodules.sources import Clip, Rejected, Source
from emo_lightning.core.errors import UserError

__all__ = ["FAILURES", "Report", "Settings", "preprocess"]

LOCAL = Engine()
WORK = ".work"
_FULL = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is full to its quota",
    errno.EFBIG: "takes no larger file",
    errno.EIO: "cannot be written",
}


def preprocess(
    source: Source,
    out: str | Path,
    workers: int = 1,
    resume: bool = False,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    clip_seconds: float = CLIP_SECONDS,
    engine: Engine = LOCAL,
) -> Report:
    """Turn every clip of a source into shards, with ``index.json`` and ``failures.jsonl``.

    Args:
        source: the clips.
        out: a new or empty folder, or with ``resume`` one that an earlier run left.
        workers: processes or actors that extract; never this process, which a clip could crash.
        resume: keep the clips that are finished in ``out``.
        settings: see :class:`Settings`.
        progress: called with (clips finished, clips in all) after each.
        clip_seconds: time limit of one clip, after which it fails with ``timeout``, even in a
            decoder that hangs.
        engine: of the workers.

    Raises:
        UserError: ``out`` cannot be used or is full, the engine is not available, the source has no
            clips, or none of them is usable (``failures.jsonl`` has the reasons).
    """
    settings, out = settings or Settings(), Path(out)
    check_engine(engine, workers)
    work = out / WORK
    if resume and (out / INDEX).exists():
        shutil.rmtree(work, ignore_errors=True)
        return _finished(out)
    prepare_folder(out)
    if DoneStore.begun(work) and not resume:
        accepted = "a new or empty folder, or --resume to continue"
        raise UserError("--out", out, accepted, "holds an unfinished run")
    with _writing(out), DoneStore(work) as store:
        listed = list(source.clips())
        jobs = [Job.of(item, source.name, settings) for item in listed if isinstance(item, Clip)]
        rejected = [
            Failure(item.name, item.reason, item.detail)
            for item in listed
            if isinstance(item, Rejected)
        ]
        todo = [job for job in jobs if not store.has(job)]
        recipe = Recipe.of(source.name, settings, clip_seconds, todo)
        with closing(_extracted(todo, recipe, engine, workers)) as results:
            for done, (job, outcome) in enumerate(results, start=len(jobs) - len(todo) + 1):
                store.add(job, outcome)
                if progress is not None:
                    progress(done, len(jobs))
        report = pack(jobs, store, rejected, out, settings, source)
        shutil.rmtree(work, ignore_errors=True)
    return report


def _extracted(
    jobs: list[Job], recipe: Recipe, engine: Engine, workers: int
) -> Iterator[tuple[Job, Outcome]]:
    """The jobs' outcomes; workers live no longer than this generator."""
    if not jobs:
        return
    with closing(open_pool(engine, min(workers, len(jobs)), recipe)) as pool:
        yield from extract_all(pool, jobs, recipe.clip_seconds)


def _finished(out: Path) -> Report:
    """Report of a set that an earlier run finished."""
    index = read_index(out, "--out")
    return Report(
        index, index.provenance.get("clips", 0), index.provenance.get("lost", 0), read_failures(out)
    )


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """A full disk as a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        accepted = "a folder with room for the shards twice over; free some, then use --resume"
        raise UserError(
            "--out", out, accepted, f"{_FULL[error.errno]} ({error.strerror})"
        ) from None
