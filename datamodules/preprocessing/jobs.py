"""Jobs and outcomes: one clip in; its encoded samples, failures and statistics out.

A worker writes nothing to the output folder. It returns its outcome as bytes, so only the process
that drives the run writes there: a full disk is met in one place, and workers on other machines
need to see the corpus but not the output.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.preprocessing.extraction import Extraction, Failure
from datamodules.shards.schema import SampleError, encode
from datamodules.sources.clip import Clip, Place, Stored
from emo_lightning.core.errors import UserError
from emo_lightning.face.landmarks import BACKENDS

RECORD_VERSION = 4


@dataclass(frozen=True)
class Settings:
    """What the samples' bytes depend on, besides the clips.

    Attributes:
        size: side of the stored crop in pixels.
        landmarks: landmark back end.
        samples_per_shard: samples in one archive.
        split_by: ``speaker``, or ``clip`` for a corpus of one speaker whose clips may be held out;
            then one voice and face are in several splits, which the index notes.
        keep_silent: keep videos without audio; only stage 3 can use them.
        landmark_model: weights of the landmark back end, where not its own.
    """

    size: int = 256
    landmarks: str = "mediapipe"
    samples_per_shard: int = 64
    split_by: str = "speaker"
    keep_silent: bool = False
    landmark_model: Path | None = None

    def __post_init__(self) -> None:
        if not 64 <= self.size <= 1024 or self.size % 2:
            raise UserError("--size", self.size, "an even number of pixels from 64 to 1024")
        if self.landmarks not in BACKENDS:
            accepted = ", ".join(BACKENDS)
            raise UserError("--landmarks", self.landmarks, accepted, "is not a landmark back end")
        if self.split_by not in ("speaker", "clip"):
            raise UserError("--split-by", self.split_by, "speaker, clip")
        if self.samples_per_shard < 1:
            raise UserError("--samples-per-shard", self.samples_per_shard, "1 or more")


@dataclass(frozen=True)
class Recipe:
    """A worker's settings.

    Attributes:
        source: name of the corpus, for the records.
        size, landmarks, keep_silent, landmark_model: see :class:`Settings`.
        clip_seconds: time limit of one clip.
        pictures: whether any clip is a video, so that a landmark back end is needed.
    """

    source: str
    size: int
    landmarks: str
    keep_silent: bool
    clip_seconds: float
    pictures: bool
    landmark_model: Path | None = None

    @staticmethod
    def of(source: str, settings: Settings, clip_seconds: float, jobs: Iterable[Job]) -> Recipe:
        """The settings for some jobs."""
        pictures = any(job.clip.path is not None for job in jobs)
        wanted = (settings.size, settings.landmarks, settings.keep_silent)
        return Recipe(source, *wanted, clip_seconds, pictures, settings.landmark_model)


@dataclass(frozen=True)
class Job:
    """One clip to extract; ``made_of`` is the digest of all that its samples depend on."""

    clip: Clip
    made_of: str

    @staticmethod
    def of(clip: Clip, source: str, settings: Settings) -> Job:
        """The job as of now: a file that changes later, or another label, makes another job."""
        labels = [clip.speaker, clip.sentence, clip.emotion, clip.intensity, clip.level]
        labels += [clip.split, clip.extra, clip.span, clip.words]
        wanted = [settings.size, settings.landmarks, settings.keep_silent]
        wanted += [_stamp(settings.landmark_model)]
        text = json.dumps([RECORD_VERSION, source, wanted, labels, stamps(clip)], sort_keys=True)
        return Job(clip, hashlib.sha256(text.encode()).hexdigest())


def stamps(clip: Clip) -> list[list[int] | None]:
    """Size and time of a clip's files, or of the archives they are in, to notice changes."""
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
class EncodedSample:
    """One sample of an outcome: its quality flags, and its members' sizes in payload order."""

    key: str
    flags: list[str]
    members: dict[str, int]

    def split(self, payload: bytes) -> dict[str, bytes]:
        """Members by name, from their joined bytes."""
        found, start = {}, 0
        for name, size in self.members.items():
            found[name] = payload[start : start + size]
            start += size
        return found


@dataclass(frozen=True)
class Outcome:
    """A clip's samples and failures, frames analysed, and seconds by part of the work.

    ``payloads`` has each sample's members joined; empty where only the record was read.
    """

    samples: list[EncodedSample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    payloads: list[bytes] = field(default_factory=list)

    @staticmethod
    def failed(clip: str, reason: str, detail: str) -> Outcome:
        """A clip without a sample."""
        return Outcome(failures=[Failure(clip, reason, detail)])

    @staticmethod
    def of(clip: str, result: Extraction) -> Outcome:
        """Encode an extraction; a sample that violates the schema becomes a failure."""
        out = Outcome([], list(result.failures), result.frames, dict(result.seconds))
        for sample in result.samples:
            try:
                members = encode(sample)
            except SampleError as error:
                out.failures.append(Failure(clip, error.reason, error.detail))
                continue
            sizes = {name: len(data) for name, data in members.items()}
            out.samples.append(EncodedSample(sample.key, [*sample.meta.extra["flags"]], sizes))
            out.payloads.append(b"".join(members.values()))
        return out

    def to_dict(self) -> dict[str, Any]:
        """All but the payloads, as JSON."""
        return {
            "samples": [[kept.key, kept.flags, kept.members] for kept in self.samples],
            "failures": [[fail.clip, fail.reason, fail.detail] for fail in self.failures],
            "frames": self.frames,
            "seconds": self.seconds,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Outcome:
        """The inverse; ValueError, KeyError or TypeError for anything else."""
        samples = [EncodedSample(*row) for row in record["samples"]]
        failures = [Failure(*row) for row in record["failures"]]
        return Outcome(samples, failures, record["frames"], record["seconds"])
