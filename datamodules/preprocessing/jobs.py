"""What is asked of a worker, one clip, and what it answers: that clip's members of archives, encoded, and what to tell of it.

A worker writes nothing to the output folder. It hands its answer back as bytes, so only the process that drives the run
writes there: a worker that outlives it can spoil nothing, a full disk is met in one place, and workers on other machines
need to see the corpus but not the output.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datamodules.preprocessing.extraction import Extraction, Failure
from datamodules.shards.schema import SampleError, encode
from datamodules.sources.clip import Clip, Place, Stored
from emo_lightning.core.errors import UserError

RECORD_VERSION = 3


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


@dataclass(frozen=True)
class Recipe:
    """What a worker must know before its first clip.

    Attributes:
        source: name of the corpus, for the records.
        size, landmarks, keep_mute: see :class:`Settings`.
        clip_seconds: time that one clip may take.
        pictures: whether any clip has some, so that a landmark back-end is needed.
    """

    source: str
    size: int
    landmarks: str
    keep_mute: bool
    clip_seconds: float
    pictures: bool


@dataclass(frozen=True)
class Job:
    """One clip to extract; ``made_of`` is the digest of all that its samples depend on."""

    clip: Clip
    made_of: str

    @staticmethod
    def of(clip: Clip, source: str, settings: Settings) -> Job:
        """The job as of now: a file that is changed later, or another label, makes it another job."""
        labels = [
            clip.speaker,
            clip.sentence,
            clip.emotion,
            clip.intensity,
            clip.level,
            clip.split,
            clip.extra,
            clip.span,
            clip.words,
        ]
        wanted = [settings.size, settings.landmarks, settings.keep_mute]
        text = json.dumps([RECORD_VERSION, source, wanted, labels, stamps(clip)], sort_keys=True)
        return Job(clip, hashlib.sha256(text.encode()).hexdigest())


def stamps(clip: Clip) -> list[list[int] | None]:
    """What tells that a file of a clip, or the archive it is in, was changed."""
    return [_stamp(place) for place in (clip.path, clip.audio, clip.coefficients, clip.aus)]


def _stamp(place: Place | None) -> list[int] | None:
    if place is None:
        return None
    path, offset = (place.archive, place.offset or 0) if isinstance(place, Stored) else (place, 0)
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns, offset]


@dataclass(frozen=True)
class Kept:
    """One sample of an outcome: its flags of quality, and the sizes of its members in the order of their bytes."""

    key: str
    flags: list[str]
    members: dict[str, int]


@dataclass(frozen=True)
class Outcome:
    """What a clip gave: samples and failures, frames looked at, and seconds by part of the work.

    ``payload`` is the bytes of all samples' members, one after another; empty where only the rest was read.
    """

    samples: list[Kept] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    payload: bytes = b""

    @staticmethod
    def failed(clip: str, reason: str, detail: str) -> Outcome:
        """A clip that gave nothing."""
        return Outcome(failures=[Failure(clip, reason, detail)])

    @staticmethod
    def of(clip: str, result: Extraction) -> Outcome:
        """Encode an extraction; a sample that does not keep to the schema becomes a failure."""
        kept, failures, parts = [], list(result.failures), []
        for sample in result.samples:
            try:
                members = encode(sample)
            except SampleError as error:
                failures.append(Failure(clip, error.reason, error.detail))
                continue
            kept.append(
                Kept(
                    sample.key,
                    list(sample.meta.extra["flags"]),
                    {name: len(data) for name, data in members.items()},
                )
            )
            parts += members.values()
        return Outcome(kept, failures, result.frames, dict(result.seconds), b"".join(parts))

    def to_dict(self) -> dict[str, Any]:
        """All but the payload, as JSON."""
        return {
            "samples": [[kept.key, kept.flags, kept.members] for kept in self.samples],
            "failures": [
                [failure.clip, failure.reason, failure.detail] for failure in self.failures
            ],
            "frames": self.frames,
            "seconds": self.seconds,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Outcome:
        """The inverse; ValueError, KeyError or TypeError when it is something else."""
        samples = [Kept(*row) for row in record["samples"]]
        return Outcome(
            samples,
            [Failure(*row) for row in record["failures"]],
            record["frames"],
            record["seconds"],
        )

    def members(self, payload: bytes) -> list[tuple[str, dict[str, bytes]]]:
        """(key, members) of every sample."""
        found, start = [], 0
        for kept in self.samples:
            members = {}
            for name, size in kept.members.items():
                members[name] = payload[start : start + size]
                start += size
            found.append((kept.key, members))
        return found
