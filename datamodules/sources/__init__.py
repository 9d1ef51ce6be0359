"""Where clips come from: one file a corpus, each a :class:`Source`; adding one touches this folder alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from datamodules.sources.clip import Clip, Rejected
from datamodules.sources.folder import FolderSource
from emo_lightning.errors import UserError

__all__ = ["SOURCES", "Clip", "Rejected", "Source", "open_source"]


class Source(Protocol):
    """A corpus on disk."""

    name: str

    def clips(self) -> Iterator[Clip | Rejected]:
        """Every clip in a fixed order, and every file that ought to be one and is not."""


SOURCES: Mapping[str, Callable[[Path], Source]] = {"folder": FolderSource}
"""Corpus name, as the command line takes it -> what reads it from its root."""


def open_source(name: str, root: str | Path) -> Source:
    """The source of this name over this folder.

    Raises:
        UserError: unknown name, no such folder, or a manifest that cannot be read.
    """
    if name not in SOURCES:
        raise UserError("--source", name, ", ".join(SOURCES), "is not a source")
    root = Path(root)
    if not root.is_dir():
        raise UserError("--root", root, "a folder of videos", "is a file" if root.exists() else "does not exist")
    return SOURCES[name](root)
