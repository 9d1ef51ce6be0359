"""Prefetching: a thread makes the next items of a stream while the caller uses the last."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


class _Failed:
    """An exception to be raised in the caller's thread."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch(items: Iterable[T], depth: int = 8) -> Iterator[T]:
    """The same items in the same order, made up to ``depth`` ahead in a thread.

    An exception in making an item is raised here, in its turn. When the caller stops early the
    thread ends after the item in work, and ``items`` is closed if it is a generator.
    """
    line: queue.Queue[object] = queue.Queue(depth)
    stop, end = threading.Event(), object()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                line.put(item, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    break
            put(end)
        except BaseException as error:  # it belongs to the caller, whatever it is
            put(_Failed(error))
        finally:
            getattr(items, "close", lambda: None)()

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := line.get()) is not end:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()
