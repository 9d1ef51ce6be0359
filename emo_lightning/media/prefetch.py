"""Let two steps of a stream work at once: one makes the next items in a thread while the other uses the last."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


class _Failed:
    """An error on its way to the thread that wants the items."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int = 8) -> Iterator[T]:
    """The same items in the same order, made up to ``depth`` ahead in a thread of its own.

    An error in the making is raised here, in its turn. When the caller stops early the thread ends after the item it is
    at, and ``items`` is closed if it is a generator.
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
        except BaseException as error:  # whatever it is, it belongs to the caller
            put(_Failed(error))
        finally:
            getattr(items, "close", lambda: None)()

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := line.get()) is not end:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()
