"""The work folder of a run: finished clips in one SQLite database that survives a killed process.

The database keeps a write-ahead log, so a killed run loses at most the clip it was writing, and a
full disk leaves what was there before. Samples are rows of their own: a clip may be hours long.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from datamodules.preprocessing.jobs import Job, Outcome
from emo_lightning.core.errors import UserError

DATABASE = "clips.sqlite"
# In exclusive mode the log needs no shared memory, which network file systems do not have.
_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS clips (name TEXT PRIMARY KEY, made_of TEXT, record TEXT);
CREATE TABLE IF NOT EXISTS samples
    (clip TEXT, number INTEGER, crc INTEGER, payload BLOB, PRIMARY KEY (clip, number));
"""


class DoneStore:
    """Finished clips by name; adding a name again replaces it.

    Use as a context manager: it locks the database, and the lock ends with the process.

    Args:
        folder: the work folder; made when absent.

    Raises:
        UserError: another process works in the folder, or the database is damaged.
        OSError: the disk cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        with self._disk_errors():
            self._database = sqlite3.connect(folder / DATABASE, timeout=0.0)
            try:
                self._database.executescript(_SCHEMA)
                self._made_of = dict(self._database.execute("SELECT name, made_of FROM clips"))
            except sqlite3.Error:
                self._database.close()
                raise

    @staticmethod
    def begun(folder: Path) -> bool:
        """Whether a run left anything there."""
        return (folder / DATABASE).exists()

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
        """Close the database and release the lock."""
        self._database.close()

    def has(self, job: Job) -> bool:
        """Whether the job was finished, with the same files, labels and settings."""
        return self._made_of.get(job.clip.name) == job.made_of

    def add(self, job: Job, outcome: Outcome) -> None:
        """Store an outcome; OSError leaves all that was there before as it was."""
        name = job.clip.name
        rows = (
            (name, number, zlib.crc32(payload), payload)
            for number, payload in enumerate(outcome.payloads)
        )
        record = json.dumps(outcome.to_dict())
        with self._disk_errors(), self._database as database:
            database.execute("DELETE FROM samples WHERE clip = ?", (name,))
            database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?)", rows)
            database.execute("REPLACE INTO clips VALUES (?, ?, ?)", (name, job.made_of, record))
        self._made_of[name] = job.made_of

    def outcome(self, job: Job) -> Outcome:
        """A finished job's outcome, without its payloads."""
        query = "SELECT record FROM clips WHERE name = ?"
        with self._disk_errors():
            (record,) = self._database.execute(query, (job.clip.name,)).fetchone()
        return Outcome.from_dict(json.loads(record))

    def payload(self, job: Job, number: int) -> bytes | None:
        """The bytes of a job's sample; None when the disk did not keep them."""
        query = "SELECT crc, payload FROM samples WHERE clip = ? AND number = ?"
        try:
            row = self._database.execute(query, (job.clip.name, number)).fetchone()
        except sqlite3.DatabaseError:
            return None
        return row[1] if row is not None and zlib.crc32(row[1]) == row[0] else None

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """The database's errors as a UserError or OSError."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                accepted, problem = "a folder of no other run", "is being written by another run"
                raise UserError("--out", self.folder.parent, accepted, problem) from None
            full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            code = errno.ENOSPC if full else errno.EIO
            raise OSError(code, os.strerror(code)) from error
        except sqlite3.DatabaseError as error:
            accepted = f"a whole {DATABASE}; delete the folder to begin anew"
            raise UserError("--resume", self.folder, accepted, f"is damaged ({error})") from None
