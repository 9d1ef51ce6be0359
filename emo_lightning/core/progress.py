"""Progress, notes and results of a command: progress and notes to stderr, the result to stdout."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")
PLAIN_STEPS = 10
"""Plain lines that a short run prints where stderr is no terminal."""
QUIET_SECONDS = 30.0
"""A plain line also comes after this long without one, however long the run."""


def note(text: str) -> None:
    """Print a remark to stderr."""
    _print(text, sys.stderr)


def result(text: str) -> None:
    """Print the result of a command, the only thing that stdout carries."""
    _print(text, sys.stdout)


class Progress:
    """Counts finished units of one job: a bar on a terminal, a plain line every tenth otherwise.

    Use as a context manager; :meth:`update` after each unit. Both give the rate and the time left.

    Args:
        what: name of the job, the first word of each line.
        total: number of units, or None where it is unknown.
        unit: plural name of a unit, for rates (``frames``).
    """

    def __init__(self, what: str, total: int | None, unit: str = "frames") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._before = 0
        self._start = self._printed = time.monotonic()
        self._next = 1
        terminal = sys.stderr is not None and sys.stderr.isatty()
        bar = {"desc": what, "total": total, "unit": f" {unit}", "dynamic_ncols": True}
        self._bar = tqdm(file=sys.stderr, **bar) if terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, units: int = 1) -> None:
        """Count ``units`` more as done."""
        self.done += units
        if self._bar is not None:
            self._bar.update(units)
        elif self._due():
            self._printed = time.monotonic()
            note(self._line())

    def reach(self, done: int, total: int) -> None:
        """Set the count to ``done`` of ``total``; for jobs that count themselves.

        Where the first call begins at more than one, an earlier run did the others, and the rate is
        without them.
        """
        if self.done == 0:
            self.done = self._before = done - 1
            if self._bar is not None:
                self._bar.initial = self._bar.n = done - 1
        self.total = total
        if self._bar is not None:
            self._bar.total = total
        self.update(done - self.done)

    def _due(self) -> bool:
        tenth = 0 if self.total is None else self.done * PLAIN_STEPS // max(self.total, 1)
        if tenth >= self._next:
            self._next = tenth + 1
            return True
        return time.monotonic() - self._printed > QUIET_SECONDS

    def _line(self) -> str:
        rate = (self.done - self._before) / max(time.monotonic() - self._start, 1e-6)
        share = left = ""
        if self.total is not None:
            share = f" of {self.total}, {100 * self.done // max(self.total, 1)} %"
        if self.total not in (None, self.done):
            seconds = round((self.total - self.done) / max(rate, 1e-6))
            clock = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
            left = f", {clock} left"
        return f"{self.what}: {self.done}{share} ({rate:.1f} {self.unit}/s{left})"


def track(
    items: Iterable[T], what: str, total: int | None = None, unit: str = "items"
) -> Iterator[T]:
    """Yield the items, counting each when the caller asks for the next."""
    with Progress(what, total, unit) as progress:
        for item in items:
            yield item
            progress.update()


def _print(text: str, stream: TextIO | None) -> None:
    """Print a line; a name that cannot be encoded is escaped, a closed pipe never ends the work."""
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(text, file=stream, flush=True)
    except (BrokenPipeError, ValueError):
        # Nobody reads any more. What the stream still holds would fail again when Python exits.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
