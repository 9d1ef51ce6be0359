"""Derived shard sets: a copy of a finished set in which every sample is changed in one way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datamodules.shards.index import INDEX, VIDEO, ShardIndex, read_index
from datamodules.shards.reader import Members, read_shard
from datamodules.shards.schema import SampleError, SampleMeta
from datamodules.shards.writer import ShardWriter
from emo_lightning.core.provenance import sha256_of

Change = Callable[[str, SampleMeta, Members], tuple[SampleMeta, Members]]
"""(key, record, members) to the record and members of the copy."""
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
    """Write a copy of a shard set with changed samples; a bad sample is counted and skipped.

    Args:
        data: a finished set.
        out: a new or empty folder.
        change: of one sample.
        provenance: added to the set's own, each entry with the hash of the index it came from.
        note: added to the set's notes.
        progress: as :data:`Progress`.

    Returns:
        The new index.

    Raises:
        UserError: a folder that cannot be used, or no good sample at all.
    """
    index = read_index(data, "DIR")
    shards = index.without_video
    size = max((shard.samples for shard in shards), default=1)
    video = any(shard.set == VIDEO for shard in index.shards)
    with ShardWriter(out, samples_per_shard=size, video=video) as writer:
        writer.failures.update(index.failures)
        for number, shard in enumerate(shards):
            for key, members in read_shard(data, shard):
                try:
                    if isinstance(members, SampleError):
                        raise members
                    if "json" not in members:
                        raise SampleError("missing_member", "json")
                    meta = SampleMeta.from_json(members["json"])
                    writer.add_members(key, *change(key, meta, members))
                except SampleError as error:
                    writer.fail(error.reason)
            if progress is not None:
                progress(number + 1, len(shards))
        origin = {"index_sha256": sha256_of(data / INDEX)}
        added = {name: origin | dict(record) for name, record in provenance.items()}
        return writer.finish(index.provenance | added, [*index.notes, note])
