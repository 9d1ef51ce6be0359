"""A larger network's features of speech, put beside the sound of a finished shard set: a second pass that copies the set.

Training then hears through that network, or learns from it, without running it at every step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.shards.schema import SampleError, SampleMeta, decode, encode_teacher
from datamodules.shards.tar_io import (
    INDEX,
    LIGHT,
    VIDEO,
    ShardIndex,
    ShardInfo,
    ShardWriter,
    read_index,
    read_tar,
)

Teacher = Callable[[np.ndarray], np.ndarray]
"""Sound ``(N,)`` at 16 kHz to features ``(2T, 384)``, 50 a second."""
RECORD = "whisper"
"""Where the index' provenance says how the features were made."""


def add_teacher(
    data: str | Path,
    out: str | Path,
    teacher: Teacher,
    about: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> ShardIndex:
    """Write a copy of a shard set with the member ``whisper.npy`` in every sample that has sound.

    Args:
        data: a finished set.
        out: a new or empty folder.
        teacher: makes the features.
        about: how, for the index.
        progress: called with (archives done, archives in all).

    Returns:
        The new index, with ``about`` in ``provenance["whisper"]``.

    Raises:
        UserError: a folder that cannot be used, or no good sample at all.
    """
    data, out = Path(data), Path(out)
    index = read_index(data, "DIR")
    shards = [shard for shard in index.shards if shard.set != VIDEO]
    size = max((shard.samples for shard in shards), default=1)
    with ShardWriter(
        out, samples_per_shard=size, video=any(shard.set == VIDEO for shard in index.shards)
    ) as writer:
        for reason, count in index.failures.items():
            writer.failures[reason] += count
        for done, shard in enumerate(shards):
            for key, members in _samples(data, shard):
                try:
                    _add(writer, key, members, teacher, index)
                except SampleError as error:
                    writer.fail(error.reason)
            if progress is not None:
                progress(done + 1, len(shards))
        digest = hashlib.sha256((data / INDEX).read_bytes()).hexdigest()
        notes = [
            *index.notes,
            f"Every sound has features of {about.get('network', 'a larger network')}; provenance.whisper says how.",
        ]
        return writer.finish({**index.provenance, RECORD: {"index_sha256": digest, **about}}, notes)


def _add(
    writer: ShardWriter,
    key: str,
    members: dict[str, bytes] | SampleError,
    teacher: Teacher,
    index: ShardIndex,
) -> None:
    """Append one sample with its features."""
    if isinstance(members, SampleError):
        raise members
    if {"flac", "wav"} & set(members):
        sample = decode(key, members, {"wave"}, index.layout)
        assert sample.wave is not None
        members = {**members, **encode_teacher(teacher(sample.wave), sample.meta)}
        meta = sample.meta
    else:
        if "json" not in members:
            raise SampleError("missing_member", "json")
        meta = SampleMeta.from_json(members["json"])
    writer.add_members(key, meta, members)


def _samples(data: Path, shard: ShardInfo) -> Iterator[tuple[str, dict[str, bytes] | SampleError]]:
    """An archive's samples, a light one together with its twin's mp4."""
    videos: dict[str, bytes] = {}
    if shard.set == LIGHT:
        twin = data / shard.name.replace(f"{LIGHT}-{shard.split}", f"{VIDEO}-{shard.split}")
        videos = {
            key: members["mp4"]
            for key, members in _read(twin)
            if isinstance(members, dict) and "mp4" in members
        }
    for key, members in _read(data / shard.name):
        if isinstance(members, dict) and key in videos:
            members = {**members, "mp4": videos[key]}
        yield key, members


def _read(path: Path) -> Iterator[tuple[str, dict[str, bytes] | SampleError]]:
    if path.is_file():
        with open(path, "rb") as stream:
            yield from read_tar(stream)
