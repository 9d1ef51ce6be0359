"""The work folder of a run: finished clips, appended to a few large files, whatever kills the process.

A file is a sequence of entries, each a fixed head (marker, lengths, checksum), a record in JSON and the encoded samples. An
entry counts when it is whole, so a run that was killed loses the one it was writing at most; a new run appends to a file of
its own. Listing reads records alone: it takes time in proportion to the clips, not to their bytes, and a corpus of
hundreds of thousands of clips makes hundreds of files, not a million.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from datamodules.preprocessing.jobs import Job, Outcome
from emo_lightning.core.errors import UserError

SEGMENT_BYTES = 256 << 20
"""A file that has grown to this is closed, flushed to the disk, and followed by another."""
OPEN_FILES = 16
_HEAD = struct.Struct("<4sIQI")
_MARK = b"EMOC"
_RECORD_LIMIT = 64 << 20


@dataclass(frozen=True)
class _Place:
    """Where an entry is."""

    made_of: str
    segment: int
    record: int
    record_bytes: int
    payload_bytes: int


class DoneStore:
    """Finished clips by name; the last entry of a name counts.

    Use as a context manager: it holds a lock that ends with the process.

    Args:
        folder: the work folder; made when absent.

    Raises:
        UserError: another process is at work in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._lock = _locked(folder)
        self._places: dict[str, _Place] = {}
        self._readers: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._writer: IO[bytes] | None = None
        numbers = sorted(
            int(path.stem.removeprefix("clips-"))
            for path in folder.glob("clips-??????.bin")
            if path.stem[6:].isdigit()
        )
        for number in numbers:
            for name, place in self._scan(number):
                self._places[name] = place
        self._number = numbers[-1] + 1 if numbers else 0

    @staticmethod
    def begun(folder: Path) -> bool:
        """Whether a run left anything there."""
        return any(folder.glob("clips-*.bin"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files and let the lock go."""
        files = [*self._readers.values(), *([self._writer] if self._writer else []), self._lock]
        self._readers.clear()
        self._writer = None
        for file in files:
            file.close()

    def has(self, job: Job) -> bool:
        """Whether the job was finished, with the same files, labels and settings."""
        place = self._places.get(job.clip.name)
        return place is not None and place.made_of == job.made_of

    def add(self, job: Job, outcome: Outcome) -> None:
        """Append what a job gave; OSError leaves all that was there before as it was."""
        record = json.dumps(
            {
                "clip": job.clip.name,
                "made_of": job.made_of,
                "crc": zlib.crc32(outcome.payload),
                **outcome.to_dict(),
            }
        )
        data = record.encode()
        head = _HEAD.pack(_MARK, len(data), len(outcome.payload), zlib.crc32(data))
        if self._writer is None:
            self._writer = open(self._path(self._number), "ab", buffering=0)
        start = self._writer.tell()
        try:
            for part in (head + data, outcome.payload):
                _write(self._writer, part)
        except OSError:
            self._writer.truncate(start)
            raise
        self._places[job.clip.name] = _Place(
            job.made_of, self._number, start + _HEAD.size, len(data), len(outcome.payload)
        )
        if self._writer.tell() >= SEGMENT_BYTES:
            os.fsync(self._writer.fileno())
            self._writer.close()
            self._writer, self._number = None, self._number + 1

    def outcome(self, job: Job) -> Outcome:
        """What a finished job gave, without its payload."""
        return Outcome.from_dict(self._record(self._places[job.clip.name]))

    def payload(self, job: Job) -> bytes | None:
        """The samples' bytes; None when the disk did not keep them."""
        place = self._places[job.clip.name]
        data = os.pread(
            self._file(place.segment), place.payload_bytes, place.record + place.record_bytes
        )
        return data if zlib.crc32(data) == self._record(place)["crc"] else None

    def _record(self, place: _Place) -> dict:
        return json.loads(os.pread(self._file(place.segment), place.record_bytes, place.record))

    def _path(self, number: int) -> Path:
        return self.folder / f"clips-{number:06d}.bin"

    def _file(self, number: int) -> int:
        """Descriptor of a segment open for reading; a few stay open."""
        if number in self._readers:
            self._readers.move_to_end(number)
        else:
            self._readers[number] = open(self._path(number), "rb", buffering=0)
            if len(self._readers) > OPEN_FILES:
                self._readers.popitem(last=False)[1].close()
        return self._readers[number].fileno()

    def _scan(self, number: int) -> Iterator[tuple[str, _Place]]:
        """Whole entries of a file. One that never grew full may not have reached the disk, so its samples are read too."""
        with open(self._path(number), "rb", buffering=0) as file:
            size, at = os.fstat(file.fileno()).st_size, 0
            while at + _HEAD.size <= size:
                mark, length, payload, checksum = _HEAD.unpack(
                    os.pread(file.fileno(), _HEAD.size, at)
                )
                start = at + _HEAD.size
                if mark != _MARK or length > _RECORD_LIMIT or start + length + payload > size:
                    return
                data = os.pread(file.fileno(), length, start)
                if zlib.crc32(data) != checksum:
                    return
                record = json.loads(data)
                at = start + length + payload
                if (
                    size < SEGMENT_BYTES
                    and zlib.crc32(os.pread(file.fileno(), payload, start + length))
                    != record["crc"]
                ):
                    continue
                yield record["clip"], _Place(record["made_of"], number, start, length, payload)


def _write(file: IO[bytes], data: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part first, and fails at the next call."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _locked(folder: Path) -> IO[bytes]:
    file = open(folder / "lock", "ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            "--out",
            folder.parent,
            "a folder that no other run writes to",
            "is being written by another run",
        ) from None
    except OSError:
        pass  # A file system without locks; a second run there is the user's to avoid.
    return file
