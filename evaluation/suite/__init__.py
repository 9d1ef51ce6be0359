"""The suite: every metric that ``emo eval`` can compute, family by family.

Each module here with ``ORDER``, ``ENTRIES`` and perhaps ``EXTRACTORS`` is found by itself; see
:mod:`evaluation.suite.base`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence

from emo_lightning.core.errors import UserError
from evaluation.judges.base import JudgeInfo
from evaluation.protocol import Unavailable
from evaluation.records import MetricColumn
from evaluation.suite.base import (
    AudioExtractor,
    Entry,
    Extractor,
    FrameMetric,
    columns_of,
    needs_of,
)


def _collect() -> tuple[dict[str, Entry], dict[str, Extractor]]:
    names = [f"{__name__}.{info.name}" for info in pkgutil.iter_modules(__path__)]
    modules = [m for m in map(importlib.import_module, names) if hasattr(m, "ENTRIES")]
    entries: dict[str, Entry] = {}
    extractors: dict[str, Extractor] = {}
    for module in sorted(modules, key=lambda m: (m.ORDER, m.__name__)):
        mine = {extractor.name: extractor for extractor in getattr(module, "EXTRACTORS", ())}
        double = (set(module.ENTRIES) & set(entries)) | (set(mine) & set(extractors))
        if double:
            raise ValueError(f"two parts of the suite are called {', '.join(sorted(double))}")
        entries |= module.ENTRIES
        extractors |= mine
    for name, entry in entries.items():
        unknown = set(needs_of(entry)) - set(extractors)
        if unknown:
            raise ValueError(f"{name} needs undefined extractors: {', '.join(sorted(unknown))}")
    return entries, extractors


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


def columns(entries: Mapping[str, Entry]) -> list[MetricColumn]:
    """The columns of the results table that these entries fill."""
    return [column for entry in entries.values() for column in columns_of(entry)]


def extractors(entries: Mapping[str, Entry]) -> dict[str, Extractor]:
    """The extractors that these entries need, each once, in the suite's order."""
    wanted = {name for entry in entries.values() for name in needs_of(entry)}
    return {name: extractor for name, extractor in EXTRACTORS.items() if name in wanted}


def uses_audio(entry: Entry) -> bool:
    """Whether a metric depends on the audio, and so is scored on the audio controls."""
    return any(isinstance(EXTRACTORS[name], AudioExtractor) for name in needs_of(entry))


def describe_judge(source: Extractor | FrameMetric) -> JudgeInfo | None:
    """The judge of an extractor or frame metric; None for a metric that is plain arithmetic.

    Raises:
        Unavailable: this installation lacks it.
    """
    if source.judge is None:
        return None
    try:
        return source.judge()
    except (UserError, OSError) as error:
        # An absent or wrong file is the metric's problem and not the run's.
        raise Unavailable(str(error)) from None


def judges_of(entry: Entry) -> list[JudgeInfo]:
    """The judges behind an entry, each once; Unavailable when this installation lacks one of
    them."""
    is_frame = isinstance(entry, FrameMetric)
    sources = [entry] if is_frame else [EXTRACTORS[name] for name in needs_of(entry)]
    found = (describe_judge(source) for source in sources)
    return list(dict.fromkeys(info for info in found if info is not None))


def unavailable(entries: Mapping[str, Entry]) -> dict[str, str]:
    """Entry -> why it cannot be computed here, for those of which that is so."""
    found = {}
    for name, entry in entries.items():
        try:
            judges_of(entry)
        except Unavailable as error:
            found[name] = str(error)
    return found
