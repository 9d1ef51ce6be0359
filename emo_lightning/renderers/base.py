"""The renderer interface: a portrait and absolute coefficients to frames.

``prepare`` runs once a portrait. A renderer whose frames depend on the coefficients around them
declares ``context``; :func:`stream` then adds those, however the sequence arrives, so a whole file
and a live stream give the same frames. See :mod:`emo_lightning.renderers.registry` for your own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emo_lightning.face.coefficients import Coefficients

if TYPE_CHECKING:
    from emo_lightning.face.portrait import Portrait


class Renderer(Protocol):
    """Animates one portrait by coefficients.

    ``exp`` is absolute (a neutral face is 0), ``angle`` and ``trans`` are absolute in crop units;
    the portrait's own fitted coefficients are known through the source, and reproduce the portrait.

    Optional attributes:
        context: ``(before, after)``, the frames around it on which a frame depends; ``(0, 0)``
            without.
        margin: size of the square in full view against the head's, because it moves shoulders too;
            1 without.
        timed: whether ``render`` takes ``first``, the number of the first frame after the context,
            for motion of its own over time; False without.
        files: paths of the trained files that it uses, which a video's record then names.
    """

    name: str

    def prepare(self, portrait: Portrait) -> Any:
        """Everything about the portrait that does not change from frame to frame."""
        ...

    def render(self, source: Any, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame for each frame but the context.

        The first ``context[0]`` and the last ``context[1]`` frames are context only. All frames may
        be computed at once; :func:`stream` passes few.
        """
        ...


BLOCK = 4
"""Frames a call: convolutions on one CPU thread gain nothing from larger batches."""


def stream(renderer: Renderer, source: Any, chunks: Iterable[Coefficients]) -> Iterator[np.ndarray]:
    """Render a sequence that arrives in chunks, frame by frame, in constant memory.

    The first and the last frame are repeated as the context outside the sequence. The renderer is
    called on the same blocks however the sequence is cut, so the frames are identical too. A frame
    appears up to ``context[1] + BLOCK - 1`` frames after its coefficients.

    Args:
        renderer: any; see :class:`Renderer` for its ``context``.
        source: what the renderer prepared.
        chunks: of any lengths, 0 included, one layout.
    """
    before, after = getattr(renderer, "context", (0, 0))
    timed, first = getattr(renderer, "timed", False), 0
    for block in _blocks(chunks, before, after):
        number = {"first": first} if timed else {}
        yield from renderer.render(source, block, **number)
        first += len(block) - before - after


def _blocks(chunks: Iterable[Coefficients], before: int, after: int) -> Iterator[Coefficients]:
    """Up to BLOCK frames at a time with their context, the edges repeated."""
    layout, buffer = None, np.empty((0, 0), np.float32)
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        rows = chunk.joined()
        if layout is None:
            layout, buffer = chunk.layout, np.repeat(rows[:1], before, axis=0)
        layout.check_same(chunk.layout, "the beginning of the sequence", "a later part of it")
        buffer = np.concatenate([buffer, rows])
        while len(buffer) >= before + BLOCK + after:
            yield Coefficients.from_joined(layout, buffer[: before + BLOCK + after])
            buffer = buffer[BLOCK:]
    if layout is None:
        return
    buffer = np.concatenate([buffer, np.repeat(buffer[-1:], after, axis=0)])
    while len(buffer) > before + after:
        yield Coefficients.from_joined(layout, buffer[: before + BLOCK + after])
        buffer = buffer[BLOCK:]
