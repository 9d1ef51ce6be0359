"""How far a long command is: a bar on a terminal, a plain line every tenth otherwise (a log, a pipe, CI)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
PLAIN_STEPS = 10
"""Plain lines a short run prints, when nobody watches a terminal."""
QUIET_SECONDS = 30.0
"""A plain line also comes after this long without one, however long the run."""


class Progress:
    """Counts finished units of one job.

    Use as a context manager; :meth:`update` after each unit. The bar goes to stderr, plain lines to stdout; both tell the rate
    and the time that remains.

    Args:
        what: name of the job, the first word of each line.
        total: number of units, or None where it is unknown.
        unit: plural name of a unit, for rates (``frames``).
    """

    def __init__(self, what: str, total: int | None, unit: str = "frames") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._before = 0
        self._start = self._said = time.monotonic()
        self._next = 1
        self._bar = (
            tqdm(desc=what, total=total, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, units: int = 1) -> None:
        """Say that ``units`` more are done."""
        self.done += units
        if self._bar is not None:
            self._bar.update(units)
        elif self._due():
            self._said = time.monotonic()
            print(self._line(), flush=True)

    def reach(self, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` are done by now; for jobs that count themselves.

        Where the first call begins at more than one, an earlier run did the others, and the rate is without them.
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
        return time.monotonic() - self._said > QUIET_SECONDS

    def _line(self) -> str:
        rate = (self.done - self._before) / max(time.monotonic() - self._start, 1e-6)
        share = (
            ""
            if self.total is None
            else f" of {self.total}, {100 * self.done // max(self.total, 1)} %"
        )
        left = (
            ""
            if self.total in (None, self.done)
            else f", {_clock((self.total - self.done) / max(rate, 1e-6))} left"
        )
        return f"{self.what}: {self.done}{share} ({rate:.1f} {self.unit}/s{left})"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def track(
    items: Iterable[T], what: str, total: int | None = None, unit: str = "items"
) -> Iterator[T]:
    """Yield the items, counting each when the caller asks for the next."""
    with Progress(what, total, unit) as progress:
        for item in items:
            yield item
            progress.update()
