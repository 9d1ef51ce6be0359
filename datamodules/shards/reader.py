"""Samples from tar shards: webdataset's grouping over a tar stage that does not trust the archive.

``webdataset.tariterators.tar_file_expander`` reads every member whatever its size, takes compressed
archives, skips links in silence and cannot seek past members nobody wants, so :func:`tar_files`
stands in its place; ``webdataset.tariterators.group_by_keys`` makes samples of its output.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from webdataset.tariterators import group_by_keys

from datamodules.shards.index import PARTS_OF, ShardIndex, ShardInfo, read_index
from datamodules.shards.schema import (
    EXTRAS,
    MEMBER_LIMITS,
    MEMBERS_OF,
    PARTS,
    Sample,
    SampleError,
    check_key,
    decode,
)

Members = dict[str, bytes]
_PROBLEM = "__problem__"


def members_for(parts: Collection[str]) -> set[str]:
    """Member extensions that hold these parts of a sample."""
    return {"json"}.union(*(MEMBERS_OF[part] for part in parts))


def read_samples(
    stream: IO[bytes], wanted: Collection[str] | None = None
) -> Iterator[tuple[str, Members | SampleError]]:
    """Key and members of each sample of one tar archive, or why the sample cannot be used.

    Args:
        stream: an open archive; a pipe will do.
        wanted: member extensions to read; None for all of the schema.

    Yields:
        A hostile or damaged sample costs itself alone; a damaged archive ends with ``bad_archive``.
    """
    wanted = MEMBER_LIMITS if wanted is None else wanted
    files = tar_files([stream], wanted)
    for sample in group_by_keys(files, keys=lambda name: name, lcase=False):
        members = {name: data for name, data in sample.items() if name in wanted}
        yield sample["__key__"], sample.get(_PROBLEM) or members


def tar_files(streams: Iterable[IO[bytes]], wanted: Collection[str]) -> Iterator[dict[str, Any]]:
    """Pipeline stage: archives to the records that ``group_by_keys`` takes.

    Only regular files are read, none beyond its limit of :data:`MEMBER_LIMITS`, and names are never
    used as paths. A sample that breaks a rule gets one record with a :class:`SampleError`.
    """
    for stream in streams:
        key, usable = "", False
        try:
            for record in _archive_records(stream, wanted):
                key, extension = record["fname"]
                usable = extension != _PROBLEM
                yield record
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            problem = SampleError("bad_archive", str(error))
            yield _record(key if usable else "", _PROBLEM, problem)
        yield {}


def _archive_records(stream: IO[bytes], wanted: Collection[str]) -> Iterator[dict[str, Any]]:
    """Records of one archive; a sample's first record has no extension."""
    key, usable, seen = "", False, set[str]()
    # A file on disk is sought through, so that unread members cost nothing.
    mode = "r:" if getattr(stream, "seekable", bool)() else "r|"
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for info in tar:
            tar.members = []  # tarfile would keep every header
            name, _, extension = info.name.partition(".")
            if "/" in info.name:
                name, extension = info.name, ""
            if name != key:
                key, usable, seen = name, True, set[str]()
                yield _record(key, "", b"")
            problem = _problem(info, key, extension, wanted, seen) if usable else None
            if problem is not None:
                usable = False
                yield _record(key, _PROBLEM, problem)
            elif usable and extension in wanted:
                seen.add(extension)
                yield _record(key, extension, _content(tar, info))


def _record(key: str, extension: str, data: object) -> dict[str, Any]:
    return {"fname": (key, extension), "data": data, "__url__": ""}


def _problem(
    info: tarfile.TarInfo, key: str, extension: str, wanted: Collection[str], seen: set[str]
) -> SampleError | None:
    """Why a member makes its sample unusable."""
    try:
        check_key(key)
    except SampleError as error:
        return error
    if not info.isreg():
        return SampleError("bad_archive", f"{info.name[:80]!r} is not a regular file")
    if extension not in wanted:
        return None
    if info.size > MEMBER_LIMITS[extension]:
        return SampleError("member_too_large", f"{extension} has {info.size} bytes")
    return SampleError("duplicate_member", extension) if extension in seen else None


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    content = file.read() if file else b""
    if len(content) != info.size:
        raise tarfile.ReadError("unexpected end of data")
    return content


def read_shard(
    folder: Path, shard: ShardInfo, wanted: Collection[str] | None = None
) -> Iterator[tuple[str, Members | SampleError]]:
    """As :func:`read_samples`, for a shard of a set; light samples get the mp4 of their twins.

    A missing shard is one ``bad_archive``; a missing twin leaves the samples without video.
    """
    videos: dict[str, bytes] = {}
    twin = folder / (shard.twin or "")
    if shard.set == "light" and (wanted is None or "mp4" in wanted) and twin.is_file():
        with open(twin, "rb") as stream:
            found = [item for item in read_samples(stream, {"mp4"}) if isinstance(item[1], dict)]
        videos = {key: members["mp4"] for key, members in found if "mp4" in members}
    try:
        stream = open(folder / shard.name, "rb")
    except OSError as error:
        yield "", SampleError("bad_archive", str(error))
        return
    with stream:
        for key, members in read_samples(stream, wanted):
            if isinstance(members, dict) and key in videos:
                members["mp4"] = videos.pop(key)
            yield key, members


def decode_shard(
    folder: Path,
    shard: ShardInfo,
    index: ShardIndex,
    parts: Collection[str],
    failures: Counter[str],
) -> Iterator[Sample]:
    """Good samples of a shard with these parts; bad ones are counted by reason and skipped."""
    for key, members in read_shard(folder, shard, members_for(parts)):
        try:
            if isinstance(members, SampleError):
                raise members
            yield decode(key, members, parts, index.layout)
        except SampleError as error:
            failures[error.reason] += 1


def iter_samples(
    folder: str | Path,
    split: str | None = None,
    parts: Collection[str] = PARTS,
    failures: Counter[str] | None = None,
    argument: str = "data",
) -> Iterator[Sample]:
    """Every good sample of a shard set that has the parts wanted, in order.

    Args:
        folder: the shard set.
        split: one split, or None for all.
        parts: of :data:`datamodules.shards.schema.PARTS` and ``EXTRAS``.
        failures: counts bad samples by reason when given; they are skipped either way.
        argument: what the user knows the folder by.

    Raises:
        UserError: see :func:`datamodules.shards.index.read_index`.
    """
    folder, index = Path(folder), read_index(folder, argument)
    failures = Counter() if failures is None else failures
    for shard in index.without_video:
        complete = PARTS_OF[shard.set] >= set(parts) - set(EXTRAS)
        if complete and split in (None, shard.split):
            yield from decode_shard(folder, shard, index, parts, failures)
