"""The files of a corpus, loose or in its own archives, under one kind of name.

A member ``video/front/x.mp4`` of ``M003/video.tar`` is named ``M003/video/front/x.mp4``, as if it
were unpacked there; its bytes are read from the archive when the clip is extracted, and nothing is
ever written to a path that an archive names.
"""

from __future__ import annotations

import codecs
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from datamodules.sources.clip import Place, Rejected, Stored
from emo_lightning.core.errors import UserError
from emo_lightning.media.container import LFS_PROBLEM, is_lfs_pointer

VIDEO_SUFFIXES = frozenset(
    ".mp4 .mov .mkv .webm .avi .m4v .mpg .mpeg .flv .wmv .ts .3gp .mxf".split()
)
AUDIO_SUFFIXES = frozenset(".wav .flac .mp3 .m4a .ogg .opus .aac .aiff .wma".split())
PACKED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
Record = TypeVar("Record")


@dataclass(frozen=True)
class Found:
    """A file: its name below the root with ``/``, and where it is."""

    name: str
    place: Place

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem


def find_records(
    root: Path, suffixes: Collection[str], parse: Callable[[Found], Record | None], naming: str
) -> Iterator[tuple[Found, Record] | Rejected]:
    """Files whose names follow a corpus's rules, with the record in the name.

    Args:
        root: the corpus.
        suffixes: see :func:`find_files`.
        parse: the record of a file, or None for another name.
        naming: what is wrong with such a name, for the rejection.
    """
    for item in find_files(root, suffixes):
        if isinstance(item, Rejected):
            yield item
        elif (record := parse(item)) is None:
            yield Rejected(item.name, "naming", naming)
        else:
            yield item, record


def find_files(root: Path, suffixes: Collection[str]) -> Iterator[Found | Rejected]:
    """Files with these suffixes by name, loose or in tar and zip archives; others are rejected."""
    seen: set[str] = set()
    for item in sorted(_all(root, suffixes), key=lambda item: item.name):
        if isinstance(item, Found) and item.name in seen:
            problem = "is there twice, loose and in an archive or in two archives"
            yield Rejected(item.name, "duplicate", problem)
            continue
        seen.add(item.name)
        yield item


def walk(folder: Path) -> Iterator[Path]:
    """Files below a folder by name, without hidden ones and linked folders."""
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink():
                yield from walk(path)
        elif path.is_file():
            yield path


def read_text(path: Path, argument: str, accepted: str) -> str:
    """A corpus's table, list or manifest in UTF-8 or UTF-16.

    Raises:
        UserError: it cannot be read, is in another encoding, or is a Git LFS pointer.
    """
    try:
        data = path.read_bytes()
        utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problem = f"cannot be read: line {line} is not UTF-8"
        raise UserError(argument, path, f"{accepted}, in UTF-8", problem) from None
    except OSError as error:
        raise UserError(argument, path, accepted, f"cannot be read ({error})") from None
    if is_lfs_pointer(path):
        raise UserError(argument, path, accepted, LFS_PROBLEM)
    return text


def _all(root: Path, suffixes: Collection[str]) -> Iterator[Found | Rejected]:
    for path in walk(root):
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() in suffixes:
            yield Found(name, path)
        elif name.lower().endswith(PACKED_TARS):
            problem = "a compressed tar has no random access: decompress it to a .tar, or unpack it"
            yield Rejected(name, "archive", problem)
        elif path.suffix.lower() in (".tar", ".zip"):
            yield from _members(path, PurePosixPath(name), suffixes)


def _members(
    path: Path, archive: PurePosixPath, suffixes: Collection[str]
) -> Iterator[Found | Rejected]:
    listing = _tar_members if archive.suffix.lower() == ".tar" else _zip_members
    try:
        members = list(listing(path))
    except (tarfile.TarError, zipfile.BadZipFile, OSError, ValueError) as error:
        problem = LFS_PROBLEM if is_lfs_pointer(path) else f"cannot be read: {error}"
        yield Rejected(archive.as_posix(), "archive", problem)
        return
    for member, stored in members:
        inner, name = PurePosixPath(member), f"{archive}: {member[:200]!r}"
        if inner.suffix.lower() not in suffixes or inner.name.startswith("."):
            continue
        if inner.is_absolute() or ".." in inner.parts or "\\" in member or "\0" in member:
            yield Rejected(name, "unsafe_name", "a name that leads out of its archive")
        elif stored is None:
            problem = "is a link, a device or encrypted, not a plain file"
            yield Rejected(name, "archive", problem)
        else:
            yield Found((archive.parent / inner).as_posix(), stored)


def _tar_members(path: Path) -> Iterator[tuple[str, Stored | None]]:
    size = path.stat().st_size
    with tarfile.open(path, "r:") as archive:
        members = archive.getmembers()
    for info in members:
        whole = info.isreg() and not info.issparse() and info.offset_data + info.size <= size
        yield info.name, Stored(path, info.name, info.offset_data, info.size) if whole else None


def _zip_members(path: Path) -> Iterator[tuple[str, Stored | None]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                stored = Stored(path, info.filename, None, info.file_size)
                yield info.filename, None if info.flag_bits & 1 else stored
