"""Items made ahead in a thread come in order; errors arrive; stopping early stops the maker."""

from __future__ import annotations

import threading
import time

import pytest

from emo_lightning.media.prefetch import prefetch


def test_order_and_bound():
    made = []

    def numbers():
        for n in range(50):
            made.append(n)
            yield n

    furthest = 0
    for n in prefetch(numbers(), depth=4):
        time.sleep(0.001)
        furthest = max(furthest, len(made) - n)
    assert n == 49
    assert 2 < furthest <= 7


def test_two_steps_work_at_once():
    def slow():
        for n in range(10):
            time.sleep(0.03)
            yield n

    start = time.perf_counter()
    for _ in prefetch(slow()):
        time.sleep(0.03)
    assert time.perf_counter() - start < 0.5


def test_an_error_comes_in_its_turn():
    def broken():
        yield 1
        raise ZeroDivisionError("made wrong")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError, match="made wrong"):
        next(items)
    assert not [t for t in threading.enumerate() if t.name == "ahead"]


def test_stopping_early_closes_the_source():
    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    items = prefetch(endless(), depth=2)
    next(items)
    items.close()
    assert closed
    assert not [t for t in threading.enumerate() if t.name == "ahead"]
