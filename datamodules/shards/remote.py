"""Shard sets wherever they lie, a folder or an address of :mod:`datamodules.shards.transport`.

Archives from afar are kept in a cache folder under the SHA-256 that the index states, and only once they have it: a cache
can be shared by sets, ranks and workers, and a reader never sees half an archive. The index is kept as well: while its
source does not answer, the one seen last is used, and that is said.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lightning.pytorch.utilities import rank_zero_warn

from datamodules.shards.tar_io import INDEX, ShardIndex, ShardInfo, parse_index, read_index
from datamodules.shards.transport import Unreachable, check_pipe, fetched, member_address, scheme_of
from emo_lightning.core.errors import UserError

CACHE_FOLDER, CACHE_LIMIT = "EMO_SHARD_CACHE", "EMO_SHARD_CACHE_GB"
"""Environment: where archives from afar are kept, and how many GB of them."""
INDEX_LIMIT = 256 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


@dataclass(frozen=True)
class LocalSet:
    """A shard set in a folder."""

    folder: Path
    index: ShardIndex

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def index_sha256(self) -> str:
        return hashlib.sha256((self.folder / INDEX).read_bytes()).hexdigest()

    def path(self, shard: ShardInfo) -> Path:
        """Where the archive lies."""
        return self.folder / shard.name

    def open(self, shard: ShardInfo) -> IO[bytes]:
        """The archive, for reading."""
        return open(self.path(shard), "rb")

    def check(self, argument: str = "data") -> None:
        """UserError unless every archive is there with the size that the index states."""
        accepted = "every shard that the index lists, whole"
        for shard in self.index.shards:
            path = self.path(shard)
            if not path.is_file():
                raise UserError(argument, path, accepted, "is missing")
            if path.stat().st_size != shard.bytes:
                raise UserError(
                    argument,
                    path,
                    accepted,
                    f"has {path.stat().st_size} bytes where the index says {shard.bytes}",
                )


@dataclass(frozen=True)
class RemoteSet:
    """A shard set from afar: archives come into the cache when they are first opened."""

    address: str
    index: ShardIndex
    index_sha256: str
    cache: Cache

    @property
    def name(self) -> str:
        return self.address

    def path(self, shard: ShardInfo) -> Path:
        """Where the archive lies once it was opened."""
        return self.cache.path(shard)

    def open(self, shard: ShardInfo) -> IO[bytes]:
        """The archive, for reading; UserError when it cannot be had, or only with another content."""
        while True:
            path = self.cache.fetch(member_address(self.address, shard.name), shard)
            try:
                return open(path, "rb")
            except FileNotFoundError:
                continue  # another process made room in between

    def check(self, argument: str = "data") -> None:
        """Nothing to do before an archive is wanted: its hash is checked when it comes."""


ShardSet = LocalSet | RemoteSet


def open_set(
    data: str | Path,
    argument: str = "data",
    cache: Path | None = None,
    cache_gb: float | None = None,
) -> ShardSet:
    """A shard set with its index read.

    Args:
        data: see this module's table.
        argument: what the user knows it by.
        cache: folder for archives from afar; by default ``$EMO_SHARD_CACHE`` or ``emo-lightning/shards`` in the user's cache.
        cache_gb: what that folder may hold, the archives unused longest go first; by default ``$EMO_SHARD_CACHE_GB``, or all.

    Raises:
        UserError: a protocol that is not known, a tool that is not installed, nothing there, an index that cannot be read.
    """
    scheme = scheme_of(data, argument)
    if scheme is None:
        return LocalSet(Path(data), read_index(data, argument))
    address = str(data)
    if scheme == "pipe":
        check_pipe(address, argument)
    cached = Cache.of(cache, cache_gb)
    content = cached.index(address, argument)
    return RemoteSet(
        address, _index_of(content, address, argument), hashlib.sha256(content).hexdigest(), cached
    )


def _index_of(content: bytes, address: str, argument: str) -> ShardIndex:
    index = parse_index(content, address, argument)
    for shard in index.shards:
        if not _NAME.fullmatch(shard.name):
            raise UserError(
                argument, address, "shards with plain names", f"lists {shard.name[:80]!r}"
            )
    return index


@dataclass(frozen=True)
class Cache:
    """A folder of archives named by their SHA-256.

    Attributes:
        folder: made when absent.
        limit: bytes it may hold.
    """

    folder: Path
    limit: float

    @staticmethod
    def of(folder: Path | None, gigabytes: float | None) -> Cache:
        """The cache that the arguments, the environment or the user's account name."""
        home = (
            Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            / "emo-lightning"
            / "shards"
        )
        folder = folder or Path(os.environ.get(CACHE_FOLDER) or home)
        text = os.environ.get(CACHE_LIMIT, "inf") if gigabytes is None else gigabytes
        try:
            limit = float(text)
        except ValueError:
            limit = -1.0
        if not limit > 0:
            raise UserError(CACHE_LIMIT, text, "GB above 0")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                CACHE_FOLDER,
                folder,
                "a folder that can be written to",
                f"cannot be made ({error.strerror})",
            ) from None
        return Cache(folder, limit * 1e9)

    def index(self, address: str, argument: str) -> bytes:
        """The set's index as its source has it, or as it was seen last while the source does not answer."""
        # A query is a key of the server's, not part of which set it is.
        place = address if address.startswith("pipe:") else address.partition("?")[0]
        kept = self.folder / f"{hashlib.sha256(place.encode()).hexdigest()}.{INDEX}"
        try:
            content = b"".join(fetched(member_address(address, INDEX), INDEX_LIMIT, argument))
        except Unreachable as error:
            if not kept.is_file():
                raise
            rank_zero_warn(
                f"{error.value} {error.problem}: going on with its index and archives as they are in {self.folder}"
            )
            return kept.read_bytes()
        _index_of(content, address, argument)  # nothing but an index takes the place of one
        part = kept.with_suffix(f".{os.getpid()}.part")
        try:
            part.write_bytes(content)
            os.replace(part, kept)
        except OSError as error:
            raise self._full(error) from None
        return content

    def path(self, shard: ShardInfo) -> Path:
        """Where an archive lies, or would."""
        if not re.fullmatch(r"[0-9a-f]{64}", shard.sha256):
            raise UserError(
                "data", shard.name, "a SHA-256 for every shard", "has none in the index"
            )
        return self.folder / f"{shard.sha256}.tar"

    def fetch(self, address: str, shard: ShardInfo) -> Path:
        """Bring an archive here unless it is; processes that want the same one wait for the first.

        Raises:
            UserError: it cannot be had, or has another content than the index states.
        """
        path = self.path(shard)
        if not self._has(path, shard):
            with open(path.with_suffix(".lock"), "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._has(path, shard):
                    self._bring(address, shard, path)
                    self._make_room(path)
        return path

    def _has(self, path: Path, shard: ShardInfo) -> bool:
        try:
            os.utime(path)  # the date of last use, by which room is made
            return path.stat().st_size == shard.bytes
        except FileNotFoundError:
            return False

    def _bring(self, address: str, shard: ShardInfo, path: Path) -> None:
        part = path.with_suffix(f".{os.getpid()}.part")
        digest = hashlib.sha256()
        try:
            with open(part, "wb") as file:
                for block in fetched(address, shard.bytes, "data"):
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != shard.sha256:
                raise UserError(
                    "data", address, "the archive that the index describes", "has another content"
                )
            os.replace(part, path)
        except OSError as error:
            raise self._full(error) from None
        finally:
            part.unlink(missing_ok=True)

    def _full(self, error: OSError) -> UserError:
        return UserError(
            CACHE_FOLDER,
            self.folder,
            "a folder with room for a shard",
            f"cannot be written ({error.strerror})",
        )

    def _make_room(self, newest: Path) -> None:
        entries = [
            (entry.stat(), Path(entry.path))
            for entry in os.scandir(self.folder)
            if entry.name.endswith(".tar")
        ]
        total = sum(stat.st_size for stat, _ in entries)
        for stat, path in sorted(entries, key=lambda e: e[0].st_mtime):
            if total > self.limit and path != newest:
                path.unlink(missing_ok=True)
                total -= stat.st_size
