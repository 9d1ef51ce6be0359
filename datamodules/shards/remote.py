"""Shard sets in a folder or behind an address; remote shards go through a local cache.

=================================  =================================================================
``DIR``                            a folder
``https://HOST/SET``, ``http://``  a folder on a web server; a query (``?token=...``) is sent with
                                   every request
``s3://BUCKET/SET``                needs the package ``s3fs``; ``AWS_ENDPOINT_URL`` names the server
``gs://BUCKET/SET``                needs the package ``gcsfs``
``pipe:COMMAND ... {} ...``        the output of a command; ``{}`` stands for ``index.json`` or a
                                   shard's name. No shell runs it: words are split, quotes are
                                   honoured, nothing else has a meaning
=================================  =================================================================

fsspec downloads. Its own file caches write under the final name, so that another process can open
half of a shard, and they neither check hashes nor keep to a size: :class:`Cache` stands in for
them. It names shards by the SHA-256 of the index and renames them into place once they have it, so
that sets, ranks and workers can share it. The index is cached too, and used while the source does
not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shlex
import ssl
import subprocess
import tempfile
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.shards.index import INDEX, ShardIndex, ShardInfo, parse_index, read_index
from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of

CACHE_FOLDER, CACHE_LIMIT = "EMO_SHARD_CACHE", "EMO_SHARD_CACHE_GB"
"""Environment variables: the cache folder, and how many GB it may hold."""
INDEX_LIMIT = 256 << 20
SCHEMES = ("https", "http", "s3", "gs", "pipe")
ACCEPTED = "a folder, https://, s3://, gs:// or pipe:COMMAND with {} for the file's name"
ATTEMPTS, RETRY_DELAY, TIMEOUT = 4, 0.5, 60.0
"""Attempts of a download, seconds before the second (then doubled), seconds without a byte."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(pipe):")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_SHELL = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<"})


class Unreachable(UserError):
    """The source did not answer, or answered nonsense; a later attempt may succeed."""


@dataclass(frozen=True)
class ShardSet:
    """A shard set with its index; ``cache`` is None for a folder on this machine."""

    name: str
    index: ShardIndex
    index_sha256: str
    cache: Cache | None = None

    def path(self, shard: ShardInfo) -> Path:
        """Where a shard is, or will be once it was opened."""
        return Path(self.name) / shard.name if self.cache is None else self.cache.path(shard)

    def open(self, shard: ShardInfo) -> IO[bytes]:
        """A shard for reading; UserError when it cannot be had, or only with another content."""
        while self.cache is not None:
            path = self.cache.fetch(member_address(self.name, shard.name), shard)
            try:
                return open(path, "rb")
            except FileNotFoundError:
                continue  # another process made room in between
        return open(self.path(shard), "rb")

    def check(self, argument: str = "data") -> None:
        """UserError unless every shard has the size of the index; remote ones are checked later."""
        accepted = "every shard that the index lists, whole"
        for shard in self.index.shards if self.cache is None else ():
            path = self.path(shard)
            if not path.is_file():
                raise UserError(argument, path, accepted, "is missing")
            size = path.stat().st_size
            if size != shard.bytes:
                problem = f"has {size} bytes where the index says {shard.bytes}"
                raise UserError(argument, path, accepted, problem)


def open_set(
    data: str | Path,
    argument: str = "data",
    cache: Path | None = None,
    cache_gb: float | None = None,
) -> ShardSet:
    """Shard set with its index read.

    Args:
        data: see this module's table.
        argument: what the user knows it by.
        cache: folder for remote shards; by default ``$EMO_SHARD_CACHE`` or
            ``emo-lightning/shards`` in the user's cache.
        cache_gb: size of that folder, above which the shards unused longest are deleted; by default
            ``$EMO_SHARD_CACHE_GB``, or unlimited.

    Raises:
        UserError: an unknown protocol, a package that is not installed, nothing there, an index
            that cannot be read.
    """
    found = None if isinstance(data, Path) else _SCHEME.match(data)
    if found is None:
        index = read_index(data, argument)
        return ShardSet(str(Path(data)), index, sha256_of(Path(data) / INDEX))
    scheme = (found[1] or found[2]).lower()
    if scheme not in SCHEMES:
        raise UserError(argument, data, ACCEPTED, f"has a protocol that is not known ({scheme})")
    address = str(data)
    if scheme == "pipe":
        check_pipe(address, argument)
    store = Cache.of(cache, cache_gb)
    content = store.index(address, argument)
    index = _checked_index(content, address, argument)
    return ShardSet(address, index, hashlib.sha256(content).hexdigest(), store)


def check_pipe(address: str, argument: str) -> None:
    """UserError unless a ``pipe:`` address is one command with a place for the file's name."""
    problem, words = None, []
    try:
        words = shlex.split(address.removeprefix("pipe:"))
    except ValueError as error:
        problem = f"cannot be split into words ({error})"
    if operators := sorted(_SHELL & set(words)):
        problem = f"has {operators[0]!r}, and no shell runs it"
    elif problem is None and not any("{}" in word for word in words[1:]):
        problem = "has no {} for the file's name"
    if problem:
        accepted = "one command with {} for the file's name, as in 'pipe:ssh host cat /sets/a/{}'"
        raise UserError(argument, address, accepted, problem)


def member_address(address: str, name: str) -> str:
    """Address of a file of the set."""
    if address.startswith("pipe:"):
        words = shlex.split(address.removeprefix("pipe:"))
        return "pipe:" + shlex.join(word.replace("{}", name) for word in words)
    parts = urllib.parse.urlsplit(address)
    path = f"{parts.path.rstrip('/')}/{name}"
    return urllib.parse.urlunsplit(parts._replace(path=path, fragment=""))


def _checked_index(content: bytes, address: str, argument: str) -> ShardIndex:
    index = parse_index(content, address, argument)
    for shard in index.shards:
        if not _NAME.fullmatch(shard.name):
            problem = f"lists {shard.name[:80]!r}"
            raise UserError(argument, address, "shards with plain names", problem)
    return index


@dataclass(frozen=True)
class Cache:
    """A folder of shards named by their SHA-256, of at most ``limit`` bytes."""

    folder: Path
    limit: float

    @staticmethod
    def of(folder: Path | None, gigabytes: float | None) -> Cache:
        """The cache named by the arguments, the environment or the user's cache folder."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        default = home / "emo-lightning" / "shards"
        folder = folder or Path(os.environ.get(CACHE_FOLDER) or default)
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
            accepted, problem = "a folder you may write to", f"cannot be made ({error.strerror})"
            raise UserError(CACHE_FOLDER, folder, accepted, problem) from None
        return Cache(folder, limit * 1e9)

    def index(self, address: str, argument: str) -> bytes:
        """The set's index; the cached one, with a warning, while its source does not answer."""
        # A query is an access key, not part of which set it is.
        place = address if address.startswith("pipe:") else address.partition("?")[0]
        kept = self.folder / f"{hashlib.sha256(place.encode()).hexdigest()}.{INDEX}"
        part = kept.with_suffix(f".{os.getpid()}.part")
        try:
            self._download(member_address(address, INDEX), part, INDEX_LIMIT, argument)
            content = part.read_bytes()
            _checked_index(content, address, argument)
            move_into_place(part, kept)
            return content
        except Unreachable as error:
            if not kept.is_file():
                raise
            rank_zero_warn(
                f"{error.value} {error.problem}: going on with the index and shards of its last "
                f"use in {self.folder}"
            )
            return kept.read_bytes()
        finally:
            part.unlink(missing_ok=True)

    def path(self, shard: ShardInfo) -> Path:
        """Where a shard is, or would be."""
        if not re.fullmatch(r"[0-9a-f]{64}", shard.sha256):
            problem = "has none in the index"
            raise UserError("data", shard.name, "a SHA-256 for every shard", problem)
        return self.folder / f"{shard.sha256}.tar"

    def fetch(self, address: str, shard: ShardInfo) -> Path:
        """Download a shard unless it is here; one process does, others that want it wait.

        Raises:
            UserError: it cannot be had, or has another content than the index states.
        """
        path = self.path(shard)
        if not self._has(path, shard):
            with open(path.with_suffix(".lock"), "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._has(path, shard):
                    self._fetch(address, shard, path)
                    self._make_room(path)
        return path

    def _has(self, path: Path, shard: ShardInfo) -> bool:
        try:
            os.utime(path)  # the date of last use, by which room is made
            return path.stat().st_size == shard.bytes
        except FileNotFoundError:
            return False

    def _fetch(self, address: str, shard: ShardInfo, path: Path) -> None:
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self._download(address, part, shard.bytes, "data")
            if sha256_of(part) != shard.sha256:
                accepted = "the shard that the index describes"
                raise UserError("data", address, accepted, "has another content")
            move_into_place(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, newest: Path) -> None:
        entries = []
        for path in self.folder.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):  # another process makes room as well
                stat = path.stat()
                entries.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total > self.limit and path != newest:
                path.unlink(missing_ok=True)
                total -= size

    def _download(self, address: str, path: Path, limit: int, argument: str) -> None:
        """Copy a remote file to ``path``, with several attempts; UserError when that fails."""
        for attempt in range(ATTEMPTS):
            try:
                _copy(address, path, _SizeLimit(limit), argument)
                return
            except UserError:
                raise
            # Every store's package has exceptions of its own.
            except Exception as error:
                if getattr(error, "errno", None) == errno.ENOSPC:
                    accepted = "a folder with room for a shard"
                    raise UserError(CACHE_FOLDER, self.folder, accepted, "is full") from None
                final = isinstance(error, (OverflowError, FileNotFoundError, PermissionError))
                status = getattr(error, "status", 0)
                final |= 400 <= status < 500 and status not in (408, 429)
                if final or attempt == ATTEMPTS - 1:
                    kind, name = UserError if final else Unreachable, type(error).__name__
                    lines = str(error).strip().splitlines() or [""]
                    problem = f"cannot be read ({name}: {lines[-1][:300]})"
                    raise kind(argument, address, ACCEPTED, problem) from None
            time.sleep(RETRY_DELAY * 2**attempt)


class _SizeLimit(fsspec.Callback):
    """Stops a download with OverflowError once it is larger than the index states."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        if self.value > self.limit:
            raise OverflowError(f"larger than {self.limit} bytes")


def _copy(address: str, path: Path, progress: fsspec.Callback, argument: str) -> None:
    scheme = address.partition(":")[0].lower()
    if scheme == "pipe":
        _copy_output(shlex.split(address.removeprefix("pipe:")), path, progress, argument)
        return
    try:
        if scheme in ("http", "https"):
            # In a thread of its own, because a notebook's thread runs an event loop already.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, _copy_http(address, path, progress)).result()
        else:
            files = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
            files.get_file(address, str(path), callback=progress)
    except ImportError as error:
        accepted = "pip install 'emo-lightning[remote]', or pipe:COMMAND that prints the file"
        raise UserError(argument, address, accepted, f"needs a package ({error})") from None


async def _copy_http(address: str, path: Path, progress: fsspec.Callback) -> None:
    """Download with a session that is closed here.

    fsspec's synchronous interface leaves its session to the garbage collector, which may close it
    in the middle of other code of a loader worker that was forked since.
    """
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
    client = {"trust_env": True, "timeout": timeout}
    # aiohttp's own context is made at import, before SSL_CERT_FILE may be set.
    secure = address.lower().startswith("https:")
    options: dict[str, Any] = {"ssl": ssl.create_default_context()} if secure else {}
    options |= {"asynchronous": True, "skip_instance_cache": True, "encoded": True}
    files = fsspec.filesystem("http", client_kwargs=client, **options)
    session = await files.set_session()
    try:
        await files._get_file(address, str(path), callback=progress)
    finally:
        await session.close()


def _copy_output(words: list[str], path: Path, progress: fsspec.Callback, argument: str) -> None:
    """Output of a command to a file; OSError with its last line of stderr when it fails."""
    with tempfile.TemporaryFile() as errors, open(path, "wb") as file:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        except OSError as error:
            problem = f"cannot be run ({error.strerror})"
            raise UserError(argument, words[0], "a command that can be run", problem) from None
        assert process.stdout is not None
        with process.stdout:
            try:
                while block := process.stdout.read(1 << 20):
                    file.write(block)
                    progress.relative_update(len(block))
                code = process.wait(TIMEOUT)
            finally:
                process.kill()
                process.wait()
        if code:
            errors.seek(0)
            lines = errors.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
            raise OSError(f"{words[0]} exited with {code}: {lines[-1] if lines else 'no message'}")
