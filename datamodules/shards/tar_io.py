"""Shard sets on disk: tar archives that any WebDataset reader understands, and the index that describes them.

A folder holds two parallel sets, ``light-SPLIT-000000.tar`` (record, sound, coefficients, AUs, landmarks) and
``video-SPLIT-000000.tar`` (record, coefficients, mp4), with the same samples in the same order in archives of the same
number, and ``index.json``. Two more sets hold what lacks one half: ``audio-SPLIT-...`` (record, sound) clips without pictures,
``mute-SPLIT-...`` (record, coefficients, AUs, landmarks, mp4) videos without sound, which stage 3 reads after the
video set. A shard holds one split only, so that a reader of one split opens nothing else. The bytes
depend on the samples and their order alone: times and owners in the archives are zero.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from datamodules.shards.schema import (
    EXTRAS,
    MEMBER_LIMITS,
    PARTS,
    SPLITS,
    Sample,
    SampleError,
    SampleMeta,
    check_key,
    decode,
    encode,
)
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Layout

INDEX = "index.json"
INDEX_FORMAT, INDEX_VERSION = "emo-lightning-shards", 1
LIGHT, VIDEO, AUDIO, MUTE = "light", "video", "audio", "mute"
_A_SET = f"a folder with {INDEX} and shards, as emo preprocess and emo corpus write it"
_VIDEO_MEMBERS = ("json", "coeffs.npz", "mp4")
_MEMBERS_OF = {
    "wave": ("flac", "wav"),
    "coefficients": ("coeffs.npz",),
    "au": ("au.npy",),
    "landmarks": ("landmarks.npy",),
    "blendshapes": ("blend.npy",),
    "whisper": ("whisper.npy",),
    "video": ("mp4",),
}


PARTS_OF = {LIGHT: frozenset(PARTS), AUDIO: frozenset({"wave"}), MUTE: frozenset(PARTS) - {"wave"}}
"""Parts that a sample of each set has, a light one together with its twin in the video set."""


@dataclass(frozen=True)
class ShardInfo:
    """One archive: its plain file name, set (``light``, ``video``, ``audio`` or ``mute``), split, samples, bytes and SHA-256."""

    name: str
    set: str
    split: str
    samples: int
    bytes: int
    sha256: str


@dataclass
class ShardIndex:
    """What a folder of shards holds.

    Attributes:
        layout: of every sample's coefficients.
        shards: in reading order.
        splits: split -> samples, seconds and speakers.
        speakers: speaker -> samples, seconds and split.
        emotions: emotion (or ``unknown``) -> level, rounded (or ``unknown``) -> samples.
        failures: reason -> clips, or parts of clips, that did not become samples.
        notes: what a reader ought to know, in sentences.
        provenance: how the set was made.
    """

    layout: Layout
    shards: list[ShardInfo] = field(default_factory=list)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    speakers: dict[str, dict[str, Any]] = field(default_factory=dict)
    emotions: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        return sum(split["samples"] for split in self.splits.values())

    @property
    def hours(self) -> float:
        return sum(split["seconds"] for split in self.splits.values()) / 3600.0

    def of(self, kind: str, split: str) -> list[ShardInfo]:
        """The archives of one set and split, in reading order; ``video`` has those of mute clips as well."""
        kinds = (VIDEO, MUTE) if kind == VIDEO else (kind,)
        return [shard for shard in self.shards if shard.set in kinds and shard.split == split]

    def to_dict(self) -> dict[str, Any]:
        """As ``index.json`` has it."""
        record = {
            "format": INDEX_FORMAT,
            "version": INDEX_VERSION,
            "samples": self.samples,
            "hours": round(self.hours, 6),
        }
        return record | asdict(self) | {"layout": self.layout.to_dict()}


class ShardWriter:
    """Writes samples, in the order given, into shards; nothing bears its final name before :meth:`finish`.

    Leaving the ``with`` block by an exception removes what was written; leaving it otherwise does not finish the set.

    Args:
        out: the folder; made when absent.
        prefix: goes before every shard's name, for several sets in one folder of archives.
        samples_per_shard: how many samples an archive takes.
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
        self.out, self.prefix, self.samples_per_shard, self.video = (
            Path(out),
            prefix,
            samples_per_shard,
            video,
        )
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
        """Append a sample that :func:`datamodules.shards.schema.encode` made before; its record is written from ``meta``.

        Raises:
            SampleError: its key was there before, its mp4 is wanted and missing, or it has neither sound nor picture.
        """
        kind = (
            AUDIO
            if "coeffs.npz" not in members
            else LIGHT
            if {"flac", "wav"} & set(members)
            else MUTE
        )
        needed = {LIGHT: "mp4" if self.video else "json", AUDIO: "flac", MUTE: "mp4"}[kind]
        if needed not in {*members, "json"}:
            raise SampleError("missing_member", needed)
        if key in self._keys:
            raise SampleError("duplicate_member", key)
        self._keys.add(key)
        self._count(meta)
        members = {**members, "json": meta.to_json()}
        self._append(
            kind,
            key,
            meta.split,
            {name: data for name, data in members.items() if name != "mp4" or kind == MUTE},
        )
        if kind == LIGHT and self.video:
            self._append(VIDEO, key, meta.split, {name: members[name] for name in _VIDEO_MEMBERS})

    def fail(self, reason: str) -> None:
        """Count a clip that did not become a sample."""
        self.failures[reason] += 1

    def finish(
        self, provenance: Mapping[str, Any] | None = None, notes: Collection[str] = ()
    ) -> ShardIndex:
        """Close the archives and let them appear, the index last.

        Raises:
            UserError: there is not one sample.
        """
        if self.index is None:
            self.discard()
            raise UserError(
                "samples", 0, "at least one usable clip", "are too few to make a shard set"
            )
        for slot in list(self._open):
            self._close(slot)
        index = self.index
        index.splits = {split: index.splits[split] for split in SPLITS if split in index.splits}
        index.speakers = dict(sorted(index.speakers.items()))
        index.failures, index.notes, index.provenance = (
            dict(sorted(self.failures.items())),
            list(notes),
            dict(provenance or {}),
        )
        order = {name: i for i, name in enumerate((*SPLITS, LIGHT, VIDEO, MUTE, AUDIO))}
        for part, info in sorted(
            self._done, key=lambda d: (order[d[1].set], order[d[1].split], d[1].name)
        ):
            os.replace(part, self.out / info.name)
            index.shards.append(info)
        write_json(self.out / INDEX, index.to_dict())
        return index

    def discard(self) -> None:
        """Give up: remove what was written."""
        for shard in self._open.values():
            shard.tar.close()
            shard.file.close()
            shard.path.unlink(missing_ok=True)
        for part, _ in self._done:
            part.unlink(missing_ok=True)
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
        split = self.index.splits.setdefault(
            meta.split, {"samples": 0, "seconds": 0.0, "speakers": []}
        )
        speaker = self.index.speakers.setdefault(
            meta.speaker, {"samples": 0, "seconds": 0.0, "split": meta.split}
        )
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
            self._open[slot] = _Shard(self.out / f".{name}.part", name)
        shard = self._open[slot]
        shard.add(key, members)
        if shard.samples >= self.samples_per_shard:
            self._close(slot)

    def _close(self, slot: tuple[str, str]) -> None:
        shard = self._open.pop(slot)
        self._number[slot] += 1
        size, digest = shard.close()
        self._done.append(
            (shard.path, ShardInfo(shard.name, slot[0], slot[1], shard.samples, size, digest))
        )


class _Shard:
    """An archive being written."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name, self.samples = path, name, 0
        self.file = open(path, "wb")
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        add_members(self.tar, key, members)
        self.samples += 1

    def close(self) -> tuple[int, str]:
        self.tar.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        return self.path.stat().st_size, file_sha256(self.path)


def add_members(tar: tarfile.TarFile, key: str, members: Mapping[str, bytes]) -> None:
    """Append a sample's members, the record first; times and owners are zero."""
    for name in sorted(members, key=lambda n: (n != "json", n)):
        info = tarfile.TarInfo(f"{key}.{name}")
        info.size, info.mode = len(members[name]), 0o644
        tar.addfile(info, io.BytesIO(members[name]))


def prepare_folder(out: Path, argument: str = "--out") -> None:
    """Make an output folder and its parents; UserError if unusable or already a finished set."""
    accepted = "a new or empty folder that can be made and written to"
    if out.exists() and not out.is_dir():
        raise UserError(argument, out, accepted, "is a file")
    if (out / INDEX).exists():
        raise UserError(argument, out, accepted, f"holds a finished shard set already ({INDEX})")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(argument, out, accepted, f"cannot be made ({error.strerror})") from None
    if not os.access(out, os.W_OK):
        raise UserError(argument, out, accepted, "cannot be written to")


def read_index(folder: str | Path, argument: str = "data") -> ShardIndex:
    """Read a shard set's index.

    Raises:
        UserError: no folder, no index, or not one that this version can read.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file():
        raise UserError(
            argument, folder, _A_SET, f"holds no {INDEX}" if folder.is_dir() else "does not exist"
        )
    return parse_index((folder / INDEX).read_bytes(), str(folder), argument)


def parse_index(content: bytes, where: str, argument: str = "data") -> ShardIndex:
    """The index that ``content`` is, found at ``where``; UserError when this version cannot read it."""
    try:
        record = json.loads(content)
        if record.get("format") != INDEX_FORMAT or record.get("version") != INDEX_VERSION:
            raise ValueError(f"format {record.get('format')!r} version {record.get('version')!r}")
        shards = [ShardInfo(**shard) for shard in record["shards"]]
        for shard in shards:
            if Path(shard.name).name != shard.name or shard.name.startswith("."):
                raise ValueError(f"shard name {shard.name!r}")
            if shard.set not in (*PARTS_OF, VIDEO):
                raise ValueError(f"shard set {shard.set!r}")
        rest = {
            name: record[name]
            for name in ("splits", "speakers", "emotions", "failures", "notes", "provenance")
        }
        return ShardIndex(Layout.from_dict(record["layout"]), shards, **rest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            argument, where, _A_SET, f"has an {INDEX} that cannot be read ({error})"
        ) from None


def read_tar(
    stream: IO[bytes], wanted: Collection[str] | None = None
) -> Iterator[tuple[str, dict[str, bytes] | SampleError]]:
    """Samples of one archive as (key, members), read forwards; hostile content costs only the sample it is in.

    Only regular files are looked at, a member beyond its limit is passed over unread, and names are never used as
    paths.

    Args:
        stream: an open tar.
        wanted: member extensions to read; None for all that the schema knows.

    Yields:
        Key and members, or key and the reason why the sample cannot be had. A damaged archive ends with the key ``""``
        and ``bad_archive``.
    """
    wanted = MEMBER_LIMITS if wanted is None else wanted
    key, members, problem = "", {}, None
    try:
        # A file on disk is sought through, so that what is passed over costs nothing however large it is; a pipe cannot be.
        with tarfile.open(fileobj=stream, mode="r:" if _seekable(stream) else "r|") as tar:
            for info in tar:
                tar.members = []
                name, _, extension = (
                    info.name.partition(".") if "/" not in info.name else (info.name, "", "")
                )
                if name != key and key:
                    yield key, problem or members
                if name != key:
                    key, members, problem = name, {}, _bad_key(name)
                if not info.isreg():
                    problem = problem or SampleError(
                        "bad_archive", f"{info.name[:80]!r} is not a regular file"
                    )
                elif extension in wanted and info.size > MEMBER_LIMITS[extension]:
                    problem = problem or SampleError(
                        "member_too_large", f"{extension} has {info.size} bytes"
                    )
                elif extension in members:
                    problem = problem or SampleError("duplicate_member", extension)
                elif extension in wanted and problem is None:
                    file = tar.extractfile(info)
                    members[extension] = file.read() if file else b""
                    if len(members[extension]) != info.size:
                        raise tarfile.ReadError("unexpected end of data")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        yield "", SampleError("bad_archive", str(error))
        return
    if key:
        yield key, problem or members


def _seekable(stream: IO[bytes]) -> bool:
    """Also of streams that can do nothing but read."""
    seekable = getattr(stream, "seekable", None)
    return seekable is not None and bool(seekable())


def _bad_key(name: str) -> SampleError | None:
    try:
        check_key(name)
    except SampleError as error:
        return error
    return None


def members_for(parts: Collection[str]) -> set[str]:
    """The archive members that hold these parts of a sample."""
    return {"json"}.union(*(_MEMBERS_OF[part] for part in parts))


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
        parts: of :data:`datamodules.shards.schema.PARTS` and ``EXTRAS``; with ``video`` both sets are read side by side.
        failures: counts bad samples by reason when given; they are left out either way.

    Raises:
        UserError: see :func:`read_index`.
    """
    folder, index = Path(folder), read_index(folder, argument)
    failures = Counter() if failures is None else failures
    wanted = [
        s
        for s in index.shards
        if split in (None, s.split)
        and s.set != VIDEO
        and PARTS_OF[s.set] >= set(parts) - set(EXTRAS)
    ]
    for shard in wanted:
        videos, inside = {}, members_for(parts)
        if "video" in parts and shard.set == LIGHT:
            inside -= {"mp4"}
            name = shard.name.replace(f"{LIGHT}-{shard.split}", f"{VIDEO}-{shard.split}")
            with open(folder / name, "rb") as stream:
                videos = {
                    key: members["mp4"]
                    for key, members in read_tar(stream, {"mp4"})
                    if isinstance(members, dict) and "mp4" in members
                }
        with open(folder / shard.name, "rb") as stream:
            for key, members in read_tar(stream, inside):
                try:
                    if isinstance(members, SampleError):
                        raise members
                    if key in videos:
                        members["mp4"] = videos.pop(key)
                    yield decode(key, members, parts, index.layout)
                except SampleError as error:
                    failures[error.reason] += 1


def file_sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, record: object) -> None:
    """Write indented JSON that appears by rename."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
