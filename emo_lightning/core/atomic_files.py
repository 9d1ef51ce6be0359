"""Output files: checked before the long work, written beside their place, moved when complete.

An output never replaces an input, nor a file that this program did not write: its files carry
:data:`MARK`, and a sidecar records the sha256 of the files that cannot.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from emo_lightning.core.errors import UserError

MARK = "made by emo-lightning"
"""Text in every file that may be replaced without asking."""
LEFTOVER_SECONDS = 24 * 3600
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]
_LEFTOVER = re.compile(r"\.emo-(\d+)-([0-9a-f]{4})-\w{8}(\.\w+)?")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def move_into_place(source: str | Path, target: str | Path) -> None:
    """Move a complete file or folder to its place; the only such call of the whole program."""
    os.replace(source, target)


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A path to write to; the file moves to ``path`` when the block ends, and goes on an error."""
    path = Path(path)
    part = path.with_name(f"{_temporary_prefix()}{os.urandom(4).hex()}{path.suffix}")
    try:
        yield part
        move_into_place(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def staging(folder: Path, argument: str) -> Iterator[Path]:
    """A hidden folder inside ``folder`` to write into, removed afterwards in any case.

    Raises:
        UserError: nothing can be written into ``folder``, or its disk is full.
    """
    try:
        sweep(folder)
        stage = Path(tempfile.mkdtemp(prefix=_temporary_prefix(), dir=folder))
    except OSError as error:
        problem = f"is a folder that cannot be written to ({error.strerror})"
        raise UserError(argument, folder, "a folder that you may write to", problem) from None
    try:
        yield stage
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        problem = f"cannot be written ({error.strerror or os.strerror(error.errno)})"
        accepted = "a folder on a disk with room for the file"
        raise UserError(argument, folder, accepted, problem) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, folder: Path, names: Sequence[str] | Mapping[str, str]) -> None:
    """Move complete files from the stage to ``folder``, in order; the last one completes the set.

    Args:
        stage: see :func:`staging`.
        folder: where the user wants them.
        names: of the files, or of each file in the stage its name in the folder.
    """
    pairs = names.items() if isinstance(names, Mapping) else zip(names, names, strict=True)
    for source, name in pairs:
        move_into_place(stage / source, folder / name)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in ``folder`` more than a day ago."""
    for path in folder.glob(".emo-*"):
        found = _LEFTOVER.fullmatch(path.name)
        if found and found[2] == _HOST and not _is_running(int(found[1])):
            with contextlib.suppress(OSError):
                inside = path.rglob("*") if path.is_dir() else ()
                newest = max(item.lstat().st_mtime for item in (path, *inside))
                if time.time() - newest > LEFTOVER_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_file(path: str | Path, suffixes: Sequence[str], argument: str) -> Path:
    """The path of a file to write, once its name and folder are possible.

    Args:
        path: what the user wants written.
        suffixes: accepted endings with their dot; an empty one for a new folder.
        argument: what the user calls it.

    Raises:
        UserError: another suffix, a folder of that name, or a folder that does not exist.
    """
    path = Path(path)
    ends = ", ".join(suffix for suffix in suffixes if suffix)
    named = f"a file name that ends in {ends}"
    if "" in suffixes:
        named += ", or the name of a new folder"
    if path.suffix.lower() not in suffixes:
        raise UserError(argument, path, named, f"does not end in {ends}")
    if path.is_dir() and (path.suffix or any(path.iterdir())):
        raise UserError(
            argument, path, named, "is a folder" + ("" if path.suffix else " that is not empty")
        )
    if not path.parent.is_dir():
        missing = "that is a file" if path.parent.exists() else "that does not exist"
        raise UserError(argument, path, "a file in a folder that exists", f"has a folder {missing}")
    return path


def check_outputs(
    outputs: Sequence[Path],
    argument: str,
    inputs: Sequence[str | Path | None] = (),
    overwrite: bool = False,
) -> None:
    """Refuse outputs that would replace something of the user's.

    Args:
        outputs: all files that will be written; a JSON sidecar last.
        argument: what the user calls them.
        inputs: everything that is read, None for what is not given.
        overwrite: allow files that this program did not write; never an input.

    Raises:
        UserError: an output that is an input, write-protected, not ours, or too long a name.
    """
    sources = [Path(source) for source in inputs if source is not None]
    sources = [source.resolve() for source in sources if source.exists()]
    recorded = _recorded_hashes(outputs[-1])
    other = "another file name"
    for path in outputs:
        try:
            path.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            problem = f"cannot be the name of {path.suffix or 'a file'} ({error.strerror})"
            raise UserError(argument, path, "a shorter file name", problem) from None
        if path.is_dir() and not path.suffix and not any(path.iterdir()):
            continue
        if path.is_dir() or not path.exists():
            raise UserError(argument, path, other, "is a folder" if path.is_dir() else "is a link")
        if any(path.resolve() == source or path.samefile(source) for source in sources):
            raise UserError(argument, path, other, "is an input and would be overwritten")
        if not path.stat().st_mode & 0o222:
            raise UserError(argument, path, other, "is write-protected")
        if not overwrite and not (is_ours(path) or sha256_in(path, recorded)):
            accepted = "another file name, or --overwrite to replace it"
            raise UserError(argument, path, accepted, "exists and was not made by this program")


def is_ours(path: Path) -> bool:
    """Whether a file carries :data:`MARK` near its start or end."""
    with open(path, "rb") as file:
        start = file.read(1 << 16)
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        return MARK.encode() in start or MARK.encode() in file.read()


def sha256_in(path: Path, hashes: Sequence[str]) -> bool:
    """Whether a file's content is among the hashes."""
    if not hashes:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() in hashes


def _recorded_hashes(sidecar: Path) -> list[str]:
    """The hashes of its outputs that a JSON sidecar of ours records."""
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
        return list(record["outputs"].values()) if MARK in record["generator"] else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _temporary_prefix() -> str:
    return f".emo-{os.getpid()}-{_HOST}-"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
