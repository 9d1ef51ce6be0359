"""Corpora on disk: one file a corpus, each a :class:`Source`; adding one touches this folder alone.

One table maps the corpora's emotions and intensities: :mod:`datamodules.sources.labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from datamodules.sources.clip import Clip, Rejected, Stored
from datamodules.sources.cremad import CremadSource
from datamodules.sources.folder import FolderSource
from datamodules.sources.grid import GridSource
from datamodules.sources.hdtf import HdtfSource
from datamodules.sources.mead import VIEWS, MeadSource
from datamodules.sources.ravdess import RavdessSource
from emo_lightning.core.errors import UserError

__all__ = ["SOURCES", "Clip", "Rejected", "Source", "Stored", "open_source"]


class Source(Protocol):
    """A corpus on disk.

    Attributes:
        name: as the command line takes it.
        notes: for the users of the shards, in sentences; complete once the clips were listed.
    """

    name: str
    notes: list[str]

    def clips(self) -> Iterator[Clip | Rejected]:
        """Every clip in a fixed order, and every file that ought to be one and is not."""


SOURCES: Mapping[str, Callable[..., Source]] = {
    "folder": FolderSource,
    "mead": MeadSource,
    "cremad": CremadSource,
    "ravdess": RavdessSource,
    "hdtf": HdtfSource,
    "grid": GridSource,
}
"""Corpus name, as the command line takes it -> its source, made from the root."""


def open_source(name: str, root: str | Path, views: Sequence[str] | None = None) -> Source:
    """The source of this name over this folder.

    Args:
        name: of :data:`SOURCES`.
        root: the corpus.
        views: camera views, for MEAD alone; None for its default, ``("all",)`` for all.

    Raises:
        UserError: unknown name, no such folder, views of a corpus without any, or an unreadable
            table.
    """
    if name not in SOURCES:
        raise UserError("--source", name, ", ".join(SOURCES), "is not a source")
    root = Path(root)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise UserError("--root", root, "a folder of videos", problem)
    options: dict[str, Any] = {}
    if views is not None:
        if name != MeadSource.name:
            accepted = f"a corpus with views: {MeadSource.name}"
            raise UserError("--views", ",".join(views), accepted, f"does not apply to {name}")
        options["views"] = VIEWS if tuple(views) == ("all",) else views
    return SOURCES[name](root, **options)
