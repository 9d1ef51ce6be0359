"""Derived shard sets: a pass over a finished set that writes a changed copy of every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from datamodules.shards.index import INDEX, VIDEO, ShardIndex, read_index
from datamodules.shards.reader import Members, read_shard
from datamodules.shards.schema import SampleError, SampleMeta
from datamodules.shards.writer import ShardWriter
from emo_lightning.core.provenance import sha256_of

Change = Callable[[str, SampleMeta, Members], tuple[SampleMeta, Members]]
"""(key, record, members) to the record and members of the copy."""
Copies = Callable[[str, SampleMeta, Members], Iterable[tuple[str, SampleMeta, Members]]]
"""(key, record, members) to any number of samples."""
Progress = Callable[[int, int], None]
"""Called with (shards done, shards in all)."""


def derive_set(
    data: Path,
    out: Path,
    change: Change,
    provenance: Mapping[str, Mapping[str, Any]],
    note: str,
    progress: Progress | None = None,
) -> ShardIndex:
    """Write a set with every sample changed by ``change``; the rest as :func:`copy_set`."""

    def changed(
        key: str, meta: SampleMeta, members: Members
    ) -> Iterable[tuple[str, SampleMeta, Members]]:
        yield key, *change(key, meta, members)

    return copy_set(data, out, changed, provenance, note, progress)


def copy_set(
    data: Path,
    out: Path,
    copies: Copies,
    provenance: Mapping[str, Mapping[str, Any]],
    note: str,
    progress: Progress | None = None,
    video: bool = True,
) -> ShardIndex:
    """Write a set of the samples that are made of a set's samples; bad ones are counted, skipped.

    Args:
        data: a finished set.
        out: a new or empty folder.
        copies: makes the new samples of one sample, with keys of their own.
        provenance: added to the set's own, each entry with the hash of the index it came from.
        note: added to the set's notes.
        progress: as :data:`Progress`.
        video: False leaves out the video set.

    Returns:
        The new index.

    Raises:
        UserError: a folder that cannot be used, or no good sample at all.
    """
    index = read_index(data, "DIR")
    shards = index.without_video
    size = max((shard.samples for shard in shards), default=1)
    video = video and any(shard.set == VIDEO for shard in index.shards)
    with ShardWriter(out, samples_per_shard=size, video=video) as writer:
        writer.failures.update(index.failures)
        for number, shard in enumerate(shards):
            for key, members in read_shard(data, shard):
                try:
                    add_all(writer, copies(key, record_of(members), members))
                except SampleError as error:
                    writer.fail(error.reason)
            if progress is not None:
                progress(number + 1, len(shards))
        origin = {"index_sha256": sha256_of(data / INDEX)}
        added = {name: origin | dict(record) for name, record in provenance.items()}
        return writer.finish(index.provenance | added, [*index.notes, note])


def add_all(writer: ShardWriter, samples: Iterable[tuple[str, SampleMeta, Members]]) -> None:
    """Append encoded samples as they are made."""
    for sample in samples:
        writer.add_members(*sample)


def record_of(members: Members | SampleError) -> SampleMeta:
    """The record among a sample's members; raises the SampleError in place of a bad sample's."""
    if isinstance(members, SampleError):
        raise members
    if "json" not in members:
        raise SampleError("missing_member", "json")
    return SampleMeta.from_json(members["json"])
