"""The files of a corpus, loose or in its own archives, under one kind of name.

A member ``video/front/x.mp4`` of ``M003/video.tar`` is called ``M003/video/front/x.mp4``, as if it were unpacked there; its
bytes are read from the archive when the clip's turn comes, and nothing is ever written to a path that an archive names.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datamodules.sources.clip import Place, Rejected, Stored, tar_members

VIDEO_SUFFIXES = frozenset(
    ".mp4 .mov .mkv .webm .avi .m4v .mpg .mpeg .flv .wmv .ts .3gp .mxf".split()
)
AUDIO_SUFFIXES = frozenset(".wav .flac .mp3 .m4a .ogg .opus .aac .aiff .wma".split())
PACKED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


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


def find_files(root: Path, suffixes: Collection[str]) -> Iterator[Found | Rejected]:
    """Files with these suffixes by name, loose ones and members of tar and zip archives; what cannot be one is told."""
    seen: set[str] = set()
    for item in sorted(_all(root, suffixes), key=lambda item: item.name):
        if isinstance(item, Found) and item.name in seen:
            yield Rejected(
                item.name, "duplicate", "is there twice, loose and in an archive or in two archives"
            )
            continue
        seen.add(item.name)
        yield item


def walk(folder: Path) -> Iterator[Path]:
    """Files below a folder by name, hidden ones and linked folders left out."""
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink():
                yield from walk(path)
        elif path.is_file():
            yield path


def _all(root: Path, suffixes: Collection[str]) -> Iterator[Found | Rejected]:
    for path in walk(root):
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() in suffixes:
            yield Found(name, path)
        elif name.lower().endswith(PACKED_TARS):
            yield Rejected(
                name,
                "archive",
                "a compressed tar cannot be read in pieces: decompress it to a .tar, or unpack it",
            )
        elif path.suffix.lower() in (".tar", ".zip"):
            yield from _members(path, PurePosixPath(name), suffixes)


def _members(
    path: Path, archive: PurePosixPath, suffixes: Collection[str]
) -> Iterator[Found | Rejected]:
    listing = _of_tar if archive.suffix.lower() == ".tar" else _of_zip
    try:
        members = list(listing(path))
    except (tarfile.TarError, zipfile.BadZipFile, OSError, ValueError) as error:
        yield Rejected(archive.as_posix(), "archive", f"cannot be read: {error}")
        return
    for member, stored in members:
        inner = PurePosixPath(member)
        if inner.suffix.lower() not in suffixes or inner.name.startswith("."):
            continue
        if inner.is_absolute() or ".." in inner.parts or "\\" in member or "\0" in member:
            yield Rejected(
                f"{archive}: {member[:200]!r}",
                "unsafe_name",
                "a name that leads out of its archive",
            )
        elif stored is None:
            yield Rejected(
                f"{archive}: {member[:200]!r}",
                "archive",
                "is a link, a device or encrypted, not a plain file",
            )
        else:
            yield Found((archive.parent / inner).as_posix(), stored)


def _of_tar(path: Path) -> Iterator[tuple[str, Stored | None]]:
    size = path.stat().st_size
    for info in tar_members(path):
        whole = info.isreg() and not info.issparse() and info.offset_data + info.size <= size
        yield info.name, Stored(path, info.name, info.offset_data, info.size) if whole else None


def _of_zip(path: Path) -> Iterator[tuple[str, Stored | None]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield (
                    info.filename,
                    None
                    if info.flag_bits & 1
                    else Stored(path, info.filename, None, info.file_size),
                )
