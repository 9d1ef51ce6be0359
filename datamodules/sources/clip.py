"""One clip of a corpus: its files, on disk or in an archive, and its labels."""

from __future__ import annotations

import io
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Stored:
    """A file inside a tar or zip archive. Its name there is a label and never becomes a path.

    Attributes:
        archive: the archive.
        member: the name it has in there.
        offset: where its bytes begin in a tar; None in a zip.
        size: how many they are.
    """

    archive: Path
    member: str
    offset: int | None
    size: int

    def copy_to(self, path: Path) -> None:
        """Write the bytes to a path of ours; OSError when the archive no longer has them."""
        with open(path, "wb") as out:
            self._write(out)
        if path.stat().st_size != self.size:
            raise OSError(f"{self.archive.name} has not all of {self.member}")

    def read_bytes(self, limit: int = 1 << 20) -> bytes:
        """A small file's bytes; OSError beyond the limit."""
        if self.size > limit:
            raise OSError(f"{self.member} has {self.size} bytes, {limit} are the most")
        buffer = io.BytesIO()
        self._write(buffer)
        return buffer.getvalue()

    def _write(self, out: BinaryIO) -> None:
        if self.offset is None:
            self._unzip(out)
            return
        with open(self.archive, "rb") as archive:
            archive.seek(self.offset)
            shutil.copyfileobj(_Limited(archive, self.size), out, 1 << 20)

    def _unzip(self, out: BinaryIO) -> None:
        try:
            with zipfile.ZipFile(self.archive) as archive, archive.open(self.member) as file:
                shutil.copyfileobj(_Limited(file, self.size), out, 1 << 20)
        except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError) as error:
            raise OSError(f"{self.archive.name}: {error}") from None


class _Limited:
    """Reads at most so many bytes: the size in the header bounds what is unpacked."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        data = self._file.read(min(count, self._left))
        self._left -= len(data)
        return data


Place = Path | Stored
"""Where a file of a corpus is: on the disk or in an archive."""


@dataclass(frozen=True)
class Clip:
    """A video, or a recording alone; labels are None where the corpus has none.

    Attributes:
        name: path below the corpus's root with ``/``, unique; the samples' keys derive from it.
        path: the video; None when there is only audio.
        speaker: one person.
        audio: a recording to use when the video has no audio, or instead of a video.
        split: where the corpus or the user fixes it.
        extra: what else the source knows, as JSON.
        span: (begin, end) seconds of the video that are the clip; None for all of it.
        words: (begin, end, word) in seconds from the clip's first frame.
        coefficients: a Deep3D ``.mat`` to take instead of the fit.
        aus: an OpenFace ``.csv`` to take instead of the fit's action units.
    """

    name: str
    path: Place | None
    speaker: str
    audio: Place | None = None
    sentence: str | None = None
    emotion: str | None = None
    intensity: int | None = None
    level: float | None = None
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    span: tuple[float, float] | None = None
    words: tuple[tuple[float, float, str], ...] = ()
    coefficients: Path | None = None
    aus: Path | None = None


@dataclass(frozen=True)
class Rejected:
    """A file or manifest row that is no clip, and why."""

    name: str
    reason: str
    detail: str
