"""The embedded corpus as shards, made by ``emo corpus``.

Every clip is a function of the seed and its number alone; workers make clips, the parent packs them
in the script's order, so the bytes do not depend on the number of workers.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from datamodules.corpus.clip import make_sample, render_video, renderer
from datamodules.corpus.script import Line, write_script
from datamodules.corpus.speakers import MAX_SPEAKERS, CorpusSpeaker, cast
from datamodules.shards.schema import SampleMeta, encode
from datamodules.shards.writer import ShardWriter
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import track
from emo_lightning.core.provenance import provenance
from emo_lightning.face.portrait import Portrait

CLIPS_PER_SPEAKER = 8
"""Least clips of each speaker, so that each shows every emotion; fewer clips, fewer speakers."""
LEAST_SPEAKERS = 3
SAMPLES_PER_SHARD = 32
PACKAGES = ("numpy", "av", "espeakng-loader", "hibari-tts")
NOTES = (
    "Synthetic speech and faces; coefficients, landmarks, phones and levels are those that the "
    "clips were made from, not measured.",
    "Levels 1-5, 6-10 and 11-15 carry intensity 1, 2 and 3; neutral has neither.",
    "Sentences of val and test are not in train.",
)


_Made = tuple[str, SampleMeta, dict[str, bytes]]
"""Key, record and archive members of one clip."""


@dataclass(frozen=True)
class _CorpusSettings:
    """Settings that all workers share."""

    cast: tuple[CorpusSpeaker, ...]
    seed: int
    size: int
    video: bool


def build_corpus(
    out: str | Path,
    clips: int = 240,
    seed: int = 0,
    size: int = 128,
    portraits: Sequence[str | Path] = (),
    video: bool = True,
    speakers: int | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Make the corpus.

    Args:
        out: folder for the shards; made when absent.
        clips: how many, of 2 to 7 s each.
        seed: same seed, same bytes, whatever ``workers`` is.
        size: side of the frames in pixels, even.
        portraits: pictures whose faces join the cast, in train.
        video: whether frames are rendered; without them only light shards are written.
        speakers: people with painted heads; by default 16, fewer for fewer than 128 clips.
        workers: processes that make clips.

    Returns:
        The index as ``index.json`` has it.

    Raises:
        UserError: an argument out of range, a picture without one clear face, a folder that cannot
            be used, a speech package that is not installed.
    """
    people = _cast(clips, seed, size, portraits, speakers, workers)
    lines = write_script(people, clips, seed)
    job = _CorpusSettings(tuple(people), seed, size, video)
    with ShardWriter(out, samples_per_shard=SAMPLES_PER_SHARD, video=video) as writer:
        made = _make_clips(job, lines, workers)
        for key, meta, members in track(made, "corpus", clips, "clips"):
            writer.add_members(key, meta, members)
        settings = {
            "clips": clips,
            "seed": seed,
            "size": size,
            "portraits": len(portraits),
            "video": video,
            "speakers": len(people),
        }
        return writer.finish(provenance(settings, PACKAGES), NOTES).to_dict()


def _cast(
    clips: int,
    seed: int,
    size: int,
    portraits: Sequence[str | Path],
    speakers: int | None,
    workers: int,
) -> list[CorpusSpeaker]:
    """Check the arguments and cast the speakers; a bad picture is refused before any work."""
    least = LEAST_SPEAKERS + len(portraits)
    for argument, value, low, high in (
        ("--clips", clips, least, 1_000_000),
        ("--seed", seed, 0, 2**31),
        ("--size", size, 64, 1024),
        ("--workers", workers, 1, 256),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UserError(argument, value, f"a whole number from {low} to {high}")
    if size % 2:
        raise UserError("--size", size, "an even number of pixels")
    if speakers is None:
        speakers = max(LEAST_SPEAKERS, min(MAX_SPEAKERS, clips // CLIPS_PER_SPEAKER))
    if not LEAST_SPEAKERS <= speakers <= min(MAX_SPEAKERS, clips):
        accepted = f"{LEAST_SPEAKERS} to {min(MAX_SPEAKERS, clips)}, at most one a clip"
        raise UserError("--speakers", speakers, accepted)
    people = cast(speakers, seed, [Path(path) for path in portraits])
    for person in people:
        if person.portrait is not None:
            person.face(size)
    return people


def _make_clips(job: _CorpusSettings, lines: Sequence[Line], workers: int) -> Iterator[_Made]:
    """Encoded clips in the script's order."""
    if workers == 1:
        yield from map(_ClipMaker(job).make, lines)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(lines)), _start_worker, (job,)) as pool:
        yield from pool.imap(_make_in_worker, lines, chunksize=1)


class _ClipMaker:
    """Makes clips in one process and keeps the prepared faces between them."""

    def __init__(self, job: _CorpusSettings) -> None:
        self.job = job
        self._prepared: dict[int, tuple[Portrait, Any]] = {}

    def make(self, line: Line) -> _Made:
        """One clip as archive members."""
        speaker = self.job.cast[line.speaker]
        if line.speaker not in self._prepared:
            portrait = speaker.face(self.job.size)
            self._prepared[line.speaker] = (
                portrait,
                renderer().prepare(portrait) if self.job.video else None,
            )
        portrait, source = self._prepared[line.speaker]
        sample = make_sample(line, speaker, portrait, self.job.seed)
        if self.job.video:
            sample.video = render_video(source, sample.coefficients)
        return sample.key, sample.meta, encode(sample)


_MAKER: list[_ClipMaker] = []
"""Of a worker process; the pool's functions have no other state."""


def _start_worker(job: _CorpusSettings) -> None:
    """Set up a worker process, with one thread, since workers share the cores."""
    cv2.setNumThreads(1)
    _MAKER[:] = [_ClipMaker(job)]


def _make_in_worker(line: Line) -> _Made:
    return _MAKER[0].make(line)
