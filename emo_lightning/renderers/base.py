"""What a renderer is, and the registry by which the command line names one.

A renderer turns a portrait and absolute coefficients into frames. ``prepare`` is paid once a portrait. A renderer whose
frames depend on the coefficients around them says so in ``context``; :func:`stream` then hands it those, however the
sequence arrives, so a whole file and a live stream give the same frames.

One of your own is a class with ``prepare`` and ``render``, and nothing else has to be told of it: ``--renderer module:Class``
finds it in the current folder or the environment. A package offers one under a name of its own by an entry point of the
group ``emo_lightning.renderers`` (``mine = "module:Class"``), a program by :func:`register`. Its ``__init__`` takes no
arguments that must be given; if it takes ``folder``, it gets ``--checkpoint-dir`` (None without).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from inspect import getdoc, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.renderers import registry

if TYPE_CHECKING:
    from emo_lightning.face.portrait import Portrait


class Renderer(Protocol):
    """Animates one portrait by coefficients.

    ``exp`` is absolute (a neutral face is 0), ``angle`` and ``trans`` are absolute in crop units; the portrait's own
    fitted coefficients are known through the source, and giving them back yields the portrait.

    A renderer may have ``context``, a pair of ints: how many frames before and after it a frame depends on. Without, a
    frame depends on its own coefficients alone, as with ``(0, 0)``. It may have a ``margin``, a float: in a whole picture
    it is given a square this much wider than the head's, because it can move shoulders too. Without, the head's own. It may have
    ``files``, the paths of the trained files that it draws with, which a video's record then names.
    """

    name: str

    def prepare(self, portrait: Portrait) -> Any:
        """Everything about the portrait that does not change from frame to frame."""
        ...

    def render(self, source: Any, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame, S the portrait's size, for each frame of coefficients but the context.

        The first ``context[0]`` and the last ``context[1]`` frames are only looked at. It may draw all the frames that it is
        given at once; :func:`stream` gives few.
        """
        ...


BLOCK = 4
"""Frames that a renderer is asked for at a time. A convolution on one CPU thread is about twice as fast on 4 as on 1, and
hardly faster on more (``python -m benchmarks keypoint``)."""


def stream(renderer: Renderer, source: Any, chunks: Iterable[Coefficients]) -> Iterator[np.ndarray]:
    """Draw a sequence that arrives in chunks: one frame for each frame of coefficients, in constant memory.

    The first and the last frame stand for the context that lies outside the sequence. The renderer is called on the same
    blocks however the sequence is cut, so the frames are the same too, to the last bit. A frame appears up to
    ``context[1] + BLOCK - 1`` frames after its coefficients.

    Args:
        renderer: any; see :class:`Renderer` for its ``context``.
        source: what the renderer prepared.
        chunks: of any lengths, 0 included, one layout.
    """
    before, after = getattr(renderer, "context", (0, 0))
    for block in _blocks(chunks, before, after):
        yield from renderer.render(source, block)


def _blocks(chunks: Iterable[Coefficients], before: int, after: int) -> Iterator[Coefficients]:
    """Up to BLOCK frames at a time with their context, the edges repeated."""
    layout, held = None, np.empty((0, 0), np.float32)
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        rows = chunk.joined()
        if layout is None:
            layout, held = chunk.layout, np.repeat(rows[:1], before, axis=0)
        layout.check_same(chunk.layout, "the beginning of the sequence", "a later part of it")
        held = np.concatenate([held, rows])
        while len(held) >= before + BLOCK + after:
            yield Coefficients.from_joined(layout, held[: before + BLOCK + after])
            held = held[BLOCK:]
    if layout is None:
        return
    held = np.concatenate([held, np.repeat(held[-1:], after, axis=0)])
    while len(held) > before + after:
        yield Coefficients.from_joined(layout, held[: before + BLOCK + after])
        held = held[BLOCK:]


DEFAULT = "mesh"
"""What draws where no renderer is named."""
_FACTORIES: dict[str, Callable[..., Renderer]] = {}
_BUILT_IN = {
    "mesh": (
        "emo_lightning.renderers.mesh",
        "moves the portrait's own pixels by a face mesh; needs no training",
    ),
    "keypoint": (
        "emo_lightning.renderers.keypoint",
        "stage 3's network: keypoints, dense motion, generator",
    ),
    "refined": (
        "emo_lightning.renderers.refined.renderer",
        "the mesh's frames, repaired by a small trained network",
    ),
}
"""Module and one line about each; imported when first asked for, so that the geometric one needs no torch."""


def register(name: str) -> Callable[[Callable[..., Renderer]], Callable[..., Renderer]]:
    """Class decorator: make a renderer known under a name in this process."""

    def keep(factory: Callable[..., Renderer]) -> Callable[..., Renderer]:
        _FACTORIES[name] = factory
        return factory

    return keep


def names() -> tuple[str, ...]:
    """All renderers that have a name, sorted; :func:`find` also takes ``module:Class``."""
    return tuple(sorted({*_BUILT_IN, *_FACTORIES, *registry.offered()}))


def find(name: str) -> Callable[..., Renderer]:
    """What makes a renderer: by its name, or by ``module:Class``.

    Raises:
        UserError: an unknown name; see :func:`emo_lightning.renderers.registry.load` for ``module:Class``.
    """
    if ":" in name:
        return registry.load(name)
    if name not in names():
        accepted = f"{', '.join(names())}, or module:Class for one of your own"
        raise UserError("--renderer", name, accepted, "is not a renderer")
    if name not in _FACTORIES and name in _BUILT_IN:
        import_module(_BUILT_IN[name][0])
    return _FACTORIES[name] if name in _FACTORIES else registry.load(registry.offered()[name].value)


def create(name: str, folder: str | Path | None = None, **options: Any) -> Renderer:
    """Make a renderer.

    Args:
        name: as :func:`find` takes it.
        folder: weights, for a renderer that takes a ``folder``; the others are made without.
        options: its own.

    Raises:
        UserError: an unknown renderer, one that needs other options, one without the methods of :class:`Renderer`, or weights that
            it cannot use.
    """
    factory = find(name)
    known = signature(factory)
    if "folder" in known.parameters:
        options["folder"] = folder
    try:
        known.bind(**options)
    except TypeError as error:
        accepted = "a class that is made with no arguments, or with a folder of weights"
        raise UserError("--renderer", name, accepted, f"cannot be made: {error}") from None
    renderer = factory(**options)
    registry.check(renderer, name)
    return renderer


def about(name: str) -> str:
    """One line about a renderer that :func:`names` lists, or that is ``module:Class``."""
    if name in _BUILT_IN:
        return _BUILT_IN[name][1]
    if name in registry.offered() and name not in _FACTORIES:
        point = registry.offered()[name]
        return (
            f"{point.value}, of the package {point.dist.name}"
            if point.dist is not None
            else point.value
        )
    return (getdoc(find(name)) or "a renderer of your own").partition("\n")[0]


def origin(name: str) -> dict[str, str | None] | None:
    """Where the code of somebody else's renderer comes from, for a record; None for one of this package's own."""
    return None if name in _BUILT_IN else registry.origin(find(name))
