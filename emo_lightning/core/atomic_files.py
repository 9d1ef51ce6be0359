"""Files that appear whole or not at all, into a folder that was checked before the long work."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from emo_lightning.core.errors import UserError


def check_file(
    path: str | Path, suffix: str, argument: str, inputs: Sequence[str | Path] = ()
) -> Path:
    """The path of a file to write, once it is known to be a possible one.

    Args:
        path: what the user wants written.
        suffix: the ending it must have, with its dot.
        argument: what the user calls it.
        inputs: files that are read and must not be overwritten.

    Raises:
        UserError: another suffix, a folder of that name, a folder that does not exist, or one of the inputs.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise UserError(
            argument, path, f"a file name that ends in {suffix}", f"does not end in {suffix}"
        )
    if path.is_dir():
        raise UserError(argument, path, f"a file name that ends in {suffix}", "is a folder")
    if not path.parent.is_dir():
        problem = (
            "has a folder that is a file"
            if path.parent.exists()
            else "has a folder that does not exist"
        )
        raise UserError(argument, path, "a file in a folder that exists", problem)
    for source in map(Path, inputs):
        if path.exists() and source.exists() and path.samefile(source):
            raise UserError(
                argument,
                path,
                "a file that is not read as well",
                "would overwrite one of the inputs",
            )
    return path


@contextlib.contextmanager
def staging(folder: Path, argument: str) -> Iterator[Path]:
    """A hidden folder inside ``folder`` to write into; it is gone afterwards, whatever happens.

    Raises:
        UserError: nothing can be written into ``folder``.
    """
    try:
        stage = Path(tempfile.mkdtemp(prefix=".emo-", dir=folder))
    except OSError as error:
        problem = f"is a folder that cannot be written to ({error.strerror})"
        raise UserError(argument, folder, "a folder that you may write to", problem) from None
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, folder: Path, names: Sequence[str]) -> None:
    """Move finished files from the stage to where the user wants them, in order; the last is the one that says "done"."""
    for name in names:
        os.replace(stage / name, folder / name)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it on success, and is removed on failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
