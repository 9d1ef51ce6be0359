"""Whatever a renderer looks at around a frame, a sequence may arrive in any pieces."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.renderers import base


class Plain:
    """A user's renderer: each frame is painted with its own first expression coefficient."""

    name = "plain"

    def prepare(self, portrait: object) -> int:
        return 2

    def render(self, source: int, coefficients: Coefficients) -> Iterator[np.ndarray]:
        for value in coefficients["exp"][:, 0]:
            yield np.full((source, source, 3), value)


class Looking(Plain):
    """Paints the range of frames that it may look at."""

    def __init__(self, before: int, after: int) -> None:
        self.context = (before, after)
        self.most = 0

    def render(self, source: int, coefficients: Coefficients) -> Iterator[np.ndarray]:
        before, after = self.context
        self.most = max(self.most, len(coefficients))
        values = coefficients["exp"][:, 0]
        for t in range(before, len(values) - after):
            yield values[t - before : t + after + 1].copy()


def numbered(start: int, stop: int) -> Coefficients:
    blocks = {name: np.zeros((stop - start, width), np.float32) for name, width in BUILTIN.widths}
    blocks["exp"][:, 0] = np.arange(start, stop)
    return Coefficients(BUILTIN, blocks)


def test_a_renderer_without_context_needs_none() -> None:
    frames = list(base.stream(Plain(), 2, [numbered(0, 3), numbered(3, 3), numbered(3, 10)]))
    assert [frame[0, 0, 0] for frame in frames] == list(range(10))


@pytest.mark.parametrize("context", [(0, 0), (3, 0), (0, 5), (2, 7), (13, 13)])
@pytest.mark.parametrize("frames", [1, 2, 7, 8, 31])
def test_each_frame_once_with_its_context_and_repeated_edges(
    context: tuple[int, int], frames: int
) -> None:
    before, after = context
    wanted = [np.clip(np.arange(t - before, t + after + 1), 0, frames - 1) for t in range(frames)]
    rng = np.random.default_rng(frames)
    for cuts in ([], range(1, frames), sorted(rng.integers(0, frames + 1, 3))):
        edges = [0, *cuts, frames]
        seen = list(
            base.stream(Looking(*context), None, (numbered(a, b) for a, b in pairwise(edges)))
        )
        assert np.array_equal(seen, wanted)


def test_no_frames() -> None:
    assert list(base.stream(Looking(2, 3), None, [])) == []
    assert list(base.stream(Looking(2, 3), None, [numbered(0, 0)])) == []


def test_frames_come_while_the_sequence_still_runs_in_constant_memory() -> None:
    asked, renderer = 0, Looking(13, 13)

    def endless() -> Iterator[Coefficients]:
        nonlocal asked
        while True:
            yield numbered(asked, asked + 10)
            asked += 10

    drawn = base.stream(renderer, None, endless())
    peaks = []
    tracemalloc.start()
    for _ in range(2):
        for _ in range(500):
            next(drawn)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert asked <= 1000 + 13 + base.BLOCK + 10
    assert renderer.most == 26 + base.BLOCK
    assert peaks[1] < 1.1 * peaks[0] + 10_000
