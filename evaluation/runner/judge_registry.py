"""Who can be asked in this installation, and the judges that a process has opened so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from emo_lightning.core.errors import UserError
from evaluation.judges.base import JudgeInfo
from evaluation.protocol import Unavailable
from evaluation.suite import EXTRACTORS
from evaluation.suite.base import Entry, Extractor, FrameMetric, needs_of


def introduce(source: Extractor | FrameMetric) -> JudgeInfo | None:
    """Who would answer; None for a frame metric that is plain arithmetic.

    Raises:
        Unavailable: nobody can.
    """
    if source.judge is None:
        return None
    try:
        return source.judge()
    except (UserError, OSError) as error:
        # A file that is absent, or that is not what it should be, is the metric's problem and not the run's.
        raise Unavailable(str(error)) from None


def judges_of(entry: Entry) -> list[JudgeInfo]:
    """The judges behind an entry, each once.

    Raises:
        Unavailable: one of them cannot be asked.
    """
    sources = (
        [entry]
        if isinstance(entry, FrameMetric)
        else [EXTRACTORS[name] for name in needs_of(entry)]
    )
    return list(
        dict.fromkeys(info for source in sources if (info := introduce(source)) is not None)
    )


def unavailable(entries: Mapping[str, Entry]) -> dict[str, str]:
    """Entry -> why its judges cannot be asked, for those of which that is so."""
    found = {}
    for name, entry in entries.items():
        try:
            judges_of(entry)
        except Unavailable as error:
            found[name] = str(error)
    return found


class Opened:
    """Judges opened when they are first asked, once a process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._functions: dict[str, Callable[..., Any] | Unavailable] = {}

    def function(self, name: str, source: Extractor | FrameMetric) -> Callable[..., Any]:
        """What ``open`` gave.

        Raises:
            Unavailable: the judge cannot be opened; said again at every call.
        """
        if name not in self._functions:
            try:
                introduce(source)
                self._functions[name] = source.open(self.device)
            except (Unavailable, UserError, OSError) as error:
                self._functions[name] = Unavailable(str(error))
        found = self._functions[name]
        if isinstance(found, Unavailable):
            raise found
        return found
