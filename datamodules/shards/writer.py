"""Shard sets on disk: samples into tar archives with ``webdataset.TarWriter``, and their index.

The bytes of a shard depend on its samples and their order alone: times and owners are zero.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import webdataset

from datamodules.shards.index import (
    AUDIO,
    INDEX,
    LIGHT,
    MUTE,
    VIDEO,
    ShardIndex,
    ShardInfo,
    prepare_folder,
)
from datamodules.shards.schema import SPLITS, Sample, SampleError, SampleMeta, encode
from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.coefficients import Layout

_VIDEO_MEMBERS = ("json", "coeffs.npz", "mp4")
_ORDER = {name: i for i, name in enumerate((*SPLITS, LIGHT, VIDEO, MUTE, AUDIO))}


class ShardWriter:
    """Writes samples, in the order given, into shards that appear at :meth:`finish`.

    Leaving the ``with`` block by an exception removes what was written; leaving it otherwise does
    not finish the set.

    Args:
        out: the folder; made when absent.
        prefix: goes before every shard's name, for several sets in one folder of archives.
        samples_per_shard: size of a shard.
        video: whether the samples bring their mp4 for the video set.
        argument: what the user knows the folder by.

    Raises:
        UserError: the folder has an index already, or cannot be made or written.
    """

    def __init__(
        self,
        out: str | Path,
        prefix: str = "",
        samples_per_shard: int = 64,
        video: bool = True,
        argument: str = "--out",
    ) -> None:
        self.out, self.prefix, self.video = Path(out), prefix, video
        self.samples_per_shard = samples_per_shard
        prepare_folder(self.out, argument)
        self.index: ShardIndex | None = None
        self.failures: Counter[str] = Counter()
        self._open: dict[tuple[str, str], _Shard] = {}
        self._done: list[tuple[Path, ShardInfo]] = []
        self._number: Counter[tuple[str, str]] = Counter()
        self._keys: set[str] = set()

    def add(self, sample: Sample) -> None:
        """Append a sample to its split's shards.

        Raises:
            SampleError: the sample does not keep to the schema, or its key was there before.
        """
        self.add_members(sample.key, sample.meta, encode(sample))

    def add_members(self, key: str, meta: SampleMeta, members: Mapping[str, bytes]) -> None:
        """Append an encoded sample; its record is written from ``meta``.

        Raises:
            SampleError: its key was there before, its mp4 is wanted and missing, or it has neither
                audio nor video.
        """
        if "coeffs.npz" not in members:
            kind, needed = AUDIO, "flac"
        elif {"flac", "wav"} & set(members):
            kind, needed = LIGHT, "mp4" if self.video else "json"
        else:
            kind, needed = MUTE, "mp4"
        if needed not in {*members, "json"}:
            raise SampleError("missing_member", needed)
        if key in self._keys:
            raise SampleError("duplicate_member", key)
        self._keys.add(key)
        self._count(meta)
        members = {**members, "json": meta.to_json()}
        main = {name: data for name, data in members.items() if name != "mp4" or kind == MUTE}
        self._append(kind, key, meta.split, main)
        if kind == LIGHT and self.video:
            self._append(VIDEO, key, meta.split, {name: members[name] for name in _VIDEO_MEMBERS})

    def fail(self, reason: str) -> None:
        """Count a clip that did not become a sample."""
        self.failures[reason] += 1

    def finish(
        self, provenance: Mapping[str, Any] | None = None, notes: Collection[str] = ()
    ) -> ShardIndex:
        """Close the shards and rename them into place, the index last.

        Raises:
            UserError: there is not one sample.
        """
        if self.index is None:
            self.discard()
            problem = "are too few to make a shard set"
            raise UserError("samples", 0, "at least one usable clip", problem)
        for slot in list(self._open):
            self._close(slot)
        index = self.index
        index.splits = {split: index.splits[split] for split in SPLITS if split in index.splits}
        index.speakers = dict(sorted(index.speakers.items()))
        index.failures = dict(sorted(self.failures.items()))
        index.notes, index.provenance = list(notes), dict(provenance or {})
        self._done.sort(key=lambda d: (_ORDER[d[1].set], _ORDER[d[1].split], d[1].name))
        for part, info in self._done:
            move_into_place(part, self.out / info.name)
            index.shards.append(info)
        part = self.out / f".{INDEX}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump(index.to_dict(), file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        move_into_place(part, self.out / INDEX)
        return index

    def discard(self) -> None:
        """Remove everything written so far."""
        for shard in self._open.values():
            shard.close()
        for path in (*(shard.path for shard in self._open.values()), *(p for p, _ in self._done)):
            path.unlink(missing_ok=True)
        self._open, self._done = {}, []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.discard()

    def _count(self, meta: SampleMeta) -> None:
        layout, seconds = Layout.from_dict(meta.layout), meta.frames / meta.fps
        if self.index is None:
            self.index = ShardIndex(layout)
        self.index.layout.check_same(layout, "the samples before", "a sample")
        zero: dict[str, Any] = {"samples": 0, "seconds": 0.0}
        split = self.index.splits.setdefault(meta.split, zero | {"speakers": []})
        speaker = self.index.speakers.setdefault(meta.speaker, zero | {"split": meta.split})
        for record in (split, speaker):
            record["samples"] += 1
            record["seconds"] = round(record["seconds"] + seconds, 2)
        split["speakers"] = sorted({*split["speakers"], meta.speaker})
        if speaker["split"] != meta.split:
            speaker["split"] = "several"
        level = "unknown" if meta.level is None else str(round(meta.level))
        row = self.index.emotions.setdefault(meta.emotion or "unknown", {})
        row[level] = row.get(level, 0) + 1

    def _append(self, kind: str, key: str, split: str, members: Mapping[str, bytes]) -> None:
        slot = (kind, split)
        if slot not in self._open:
            name = f"{self.prefix}{kind}-{split}-{self._number[slot]:06d}.tar"
            path = self.out / f".{name}.part"
            file = open(path, "wb")
            self._open[slot] = _Shard(path, name, file, tar_writer(file))
        shard = self._open[slot]
        shard.tar.write({"__key__": key, **members})
        shard.samples += 1
        if shard.samples >= self.samples_per_shard:
            self._close(slot)

    def _close(self, slot: tuple[str, str]) -> None:
        shard = self._open.pop(slot)
        self._number[slot] += 1
        shard.close()
        size, digest = shard.path.stat().st_size, sha256_of(shard.path)
        info = ShardInfo(shard.name, slot[0], slot[1], shard.samples, size, digest)
        self._done.append((shard.path, info))


@dataclass
class _Shard:
    """An archive being written."""

    path: Path
    name: str
    file: IO[bytes]
    tar: webdataset.TarWriter
    samples: int = 0

    def close(self) -> None:
        self.tar.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def tar_writer(file: IO[bytes]) -> webdataset.TarWriter:
    """The library's writer for encoded members, with every varying header field fixed."""
    return webdataset.TarWriter(file, user="", group="", mode=0o644, encoder=False, mtime=0)
