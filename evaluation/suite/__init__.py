"""The suite: every metric that ``emo eval`` can compute, family by family.

Each module here with ``ORDER``, ``ENTRIES`` and perhaps ``EXTRACTORS`` is found by itself; see :mod:`evaluation.suite.base`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from types import ModuleType

from emo_lightning.core.errors import UserError
from evaluation.records import Column
from evaluation.suite.base import Entry, Extractor, SoundExtractor, columns_of, needs_of

__all__ = ["EXTRACTORS", "SUITE", "choose", "columns", "extractors", "hears"]


def _modules() -> list[ModuleType]:
    found = [
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    ]
    return sorted((m for m in found if hasattr(m, "ENTRIES")), key=lambda m: (m.ORDER, m.__name__))


def _collect() -> tuple[dict[str, Entry], dict[str, Extractor]]:
    entries: dict[str, Entry] = {}
    looks: dict[str, Extractor] = {}
    for module in _modules():
        for name, entry in module.ENTRIES.items():
            if name in entries:
                raise ValueError(f"two entries of the suite are called {name}")
            entries[name] = entry
        for extractor in getattr(module, "EXTRACTORS", ()):
            if extractor.name in looks:
                raise ValueError(f"two extractors of the suite are called {extractor.name}")
            looks[extractor.name] = extractor
    for name, entry in entries.items():
        unknown = set(needs_of(entry)) - set(looks)
        if unknown:
            raise ValueError(
                f"{name} needs extractors that nobody defines: {', '.join(sorted(unknown))}"
            )
    return entries, looks


SUITE: Mapping[str, Entry]
EXTRACTORS: Mapping[str, Extractor]
SUITE, EXTRACTORS = _collect()


def choose(names: Sequence[str] | None) -> dict[str, Entry]:
    """The wanted entries in the suite's order; all of them for None.

    Raises:
        UserError: an unknown metric, or none at all.
    """
    if names is None:
        return dict(SUITE)
    for name in names:
        if name not in SUITE:
            raise UserError("--metrics", name, ", ".join(SUITE), "is not a metric")
    if not names:
        raise UserError("--metrics", "", ", ".join(SUITE), "names no metric")
    return {name: entry for name, entry in SUITE.items() if name in names}


def columns(entries: Mapping[str, Entry]) -> list[Column]:
    """The columns of the results table that these entries fill."""
    return [column for entry in entries.values() for column in columns_of(entry)]


def extractors(entries: Mapping[str, Entry]) -> dict[str, Extractor]:
    """What these entries need, each once, in the suite's order."""
    wanted = {name for entry in entries.values() for name in needs_of(entry)}
    return {name: extractor for name, extractor in EXTRACTORS.items() if name in wanted}


def hears(entry: Entry) -> bool:
    """Whether a metric depends on the sound, and so is one of the sound controls'."""
    return any(isinstance(EXTRACTORS[name], SoundExtractor) for name in needs_of(entry))
