"""Bytes from afar, with several tries, and never through a shell.

=================================  ==================================================================================
``DIR``                            a folder
``https://HOST/SET``, ``http://``  a folder on a web server; a query (``?token=...``) goes along with every request
``s3://BUCKET/SET``                through the package ``s3fs`` where it is installed, else the command ``aws``;
                                   ``AWS_ENDPOINT_URL`` names another server
``gs://BUCKET/SET``                through the package ``gcsfs``, else the command ``gcloud`` or ``gsutil``
``pipe:COMMAND ... {} ...``        what the command prints; ``{}`` stands for ``index.json`` or a shard's name. There is no
                                   shell: words are split, quotes are honoured, nothing else has a meaning
=================================  ==================================================================================
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, TypeVar

from emo_lightning.core.errors import UserError

T = TypeVar("T")
SCHEMES = ("https", "http", "s3", "gs", "pipe")
ACCEPTED = "a folder, https://, s3://, gs:// or pipe:COMMAND with {} for the file's name"
PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
EXTRA = "pip install 'emo-lightning[remote]'"
"""What brings both packages."""
TOOLS = {
    "s3": (("aws", "s3", "cp", "--only-show-errors", "{}", "-"),),
    "gs": (("gcloud", "storage", "cat", "{}"), ("gsutil", "-q", "cat", "{}")),
}
"""Commands of the stores' vendors that print an object; the first that is installed is used."""
ATTEMPTS, PATIENCE, TIMEOUT = 4, 0.5, 60.0
"""Tries of one download, seconds before the second (doubled each time), seconds without a byte that end a request."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(pipe):")
_SHELL = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<"})


class Unreachable(UserError):
    """Nothing came back, or no sense; the same question may have an answer later."""


def scheme_of(data: str | Path, argument: str = "data") -> str | None:
    """The protocol of an address, None for a folder; UserError for one that is not known."""
    found = None if isinstance(data, Path) else _SCHEME.match(data)
    if found is None:
        return None
    scheme = (found[1] or found[2]).lower()
    if scheme not in SCHEMES:
        raise UserError(argument, data, ACCEPTED, f"has a protocol that is not known ({scheme})")
    return scheme


def member_address(address: str, name: str) -> str:
    """Address of a file of the set."""
    if address.startswith("pipe:"):
        return "pipe:" + shlex.join(
            word.replace("{}", name) for word in shlex.split(address[len("pipe:") :])
        )
    parts = urllib.parse.urlsplit(address)
    return urllib.parse.urlunsplit(
        parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="")
    )


def fetched(address: str, limit: int, argument: str) -> Iterator[bytes]:
    """A remote file in blocks; a try that breaks off is taken up where it stopped by passing over what came before."""
    done, pause = 0, PATIENCE
    for attempt in range(ATTEMPTS):
        try:
            seen = 0
            with _stream(address, argument) as stream:
                while block := stream.read(1 << 20):
                    fresh = block[max(0, done - seen) :]
                    seen += len(block)
                    if seen > limit:
                        raise UserError(
                            argument, address, f"a file of at most {limit} bytes", "is larger"
                        )
                    if fresh:
                        done = seen
                        yield fresh
            return
        except (OSError, HTTPException) as error:
            if _is_final(error):
                raise UserError(
                    argument, address, ACCEPTED, f"cannot be read ({_reason(error)})"
                ) from None
            if attempt == ATTEMPTS - 1:
                raise Unreachable(
                    argument, address, ACCEPTED, f"cannot be read ({_reason(error)})"
                ) from None
            time.sleep(pause)
            pause *= 2


def check_pipe(address: str, argument: str) -> None:
    accepted = "pipe:COMMAND with {} for the file's name, such as 'pipe:ssh host cat /sets/a/{}'"
    try:
        words = shlex.split(address[len("pipe:") :])
    except ValueError as error:
        raise UserError(
            argument, address, accepted, f"cannot be split into words ({error})"
        ) from None
    if not any("{}" in word for word in words[1:]):
        raise UserError(argument, address, accepted, "does not say where the file's name goes")
    meant = _SHELL & set(words)
    if meant:
        raise UserError(
            argument,
            address,
            "one command; put several into a script",
            f"has {sorted(meant)[0]!r}, and no shell runs it",
        )


def _is_final(error: Exception) -> bool:
    """Whether another try cannot help."""
    if isinstance(error, urllib.error.HTTPError):
        return 400 <= error.code < 500 and error.code not in (408, 429)
    return isinstance(error, (FileNotFoundError, PermissionError))


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


@contextmanager
def _stream(address: str, argument: str) -> Iterator[IO[bytes]]:
    scheme = scheme_of(address, argument)
    if scheme == "pipe":
        with _printed(shlex.split(address[len("pipe:") :]), argument) as stream:
            yield stream
    elif scheme in TOOLS:
        with _object(scheme, address, argument) as stream:
            yield stream
    else:
        with closing(urllib.request.urlopen(address, timeout=TIMEOUT)) as response:
            yield _Whole(response)


class _Whole:
    """A response that ends early raises instead of looking finished (``read(n)`` of http.client says nothing)."""

    def __init__(self, response: IO[bytes]) -> None:
        length = response.headers.get("Content-Length")  # type: ignore[attr-defined]
        self._response, self._left = response, int(length) if length and length.isdigit() else None

    def read(self, size: int) -> bytes:
        block = self._response.read(size)
        if self._left is not None:
            self._left -= len(block)
            if not block and self._left > 0:
                raise ConnectionError(f"ended {self._left} bytes early")
        return block


@contextmanager
def _object(scheme: str, address: str, argument: str) -> Iterator[IO[bytes]]:
    """An object of a store, through its package or its vendor's command."""
    if importlib.util.find_spec(PACKAGES[scheme]):
        with closing(_Stored(address)) as stored:
            yield stored
        return
    for words in TOOLS[scheme]:
        if shutil.which(words[0]):
            with _printed([word.replace("{}", address) for word in words], argument) as stream:
                yield stream
            return
    commands = " or ".join(words[0] for words in TOOLS[scheme])
    accepted = f"the package {PACKAGES[scheme]} ({EXTRA}) or the command {commands}"
    raise UserError(argument, address, accepted, "needs a tool that is not installed")


class _Stored:
    """An object read through its store's package, each of which has exceptions of its own; here they are all OSErrors."""

    def __init__(self, address: str) -> None:
        # No cache of listings: a set that was uploaded a moment ago is there.
        self._stream = self._call(
            lambda: (
                importlib.import_module("fsspec")
                .open(address, "rb", use_listings_cache=False)
                .open()
            )
        )

    def read(self, size: int) -> bytes:
        return self._call(lambda: self._stream.read(size))

    def close(self) -> None:
        self._stream.close()

    @staticmethod
    def _call(action: Callable[[], T]) -> T:
        try:
            return action()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"there is no such object: {error}") from error
        except OSError:
            raise
        except Exception as error:
            raise OSError(str(error) or type(error).__name__) from error


@contextmanager
def _printed(words: list[str], argument: str) -> Iterator[IO[bytes]]:
    """What a command prints; OSError with its last words when it fails."""
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
            )
        except OSError as error:
            raise UserError(
                argument, words[0], "a command that can be run", f"cannot be run ({error.strerror})"
            ) from None
        assert process.stdout is not None
        try:
            yield process.stdout
            # Only a command that was read to its end is asked how it went; one that is left early dies of its closed pipe.
            if process.wait(TIMEOUT) != 0:
                complaints.seek(0)
                said = complaints.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
                raise OSError(
                    f"{words[0]} left with code {process.returncode}: {said[-1] if said else 'no word'}"
                )
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
                process.wait()
