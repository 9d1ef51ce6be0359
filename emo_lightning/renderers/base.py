"""What a renderer is, and the registry by which the command line names one.

A renderer turns a portrait and absolute coefficients into frames. ``prepare`` is paid once a portrait; ``render`` is a
generator that looks at one frame of coefficients at a time or at a fixed window, so cutting a sequence into chunks
changes nothing and memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emo_lightning.coefficients import Coefficients
from emo_lightning.errors import UserError

if TYPE_CHECKING:
    from emo_lightning.portrait import Portrait


class Renderer(Protocol):
    """Animates one portrait by coefficients.

    ``exp`` is absolute (a neutral face is 0), ``angle`` and ``trans`` are absolute in crop units; the portrait's own
    fitted coefficients are known through the source, and giving them back yields the portrait.
    """

    name: str

    def prepare(self, portrait: Portrait) -> Any:
        """Everything about the portrait that does not change from frame to frame."""
        ...

    def render(self, source: Any, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame for each frame of coefficients, S the portrait's size."""
        ...


_FACTORIES: dict[str, Callable[..., Renderer]] = {}
_MODULES = {"mesh": "emo_lightning.renderers.mesh", "keypoint": "emo_lightning.renderers.keypoint"}
"""Built-in renderers, imported when first asked for, so that the geometric one needs no torch."""


def register(name: str) -> Callable[[Callable[..., Renderer]], Callable[..., Renderer]]:
    """Class decorator: make a renderer known under a name."""

    def keep(factory: Callable[..., Renderer]) -> Callable[..., Renderer]:
        _FACTORIES[name] = factory
        return factory

    return keep


def names() -> tuple[str, ...]:
    """All renderers that :func:`create` accepts, sorted."""
    return tuple(sorted({*_MODULES, *_FACTORIES}))


def create(name: str, **options: Any) -> Renderer:
    """Build a renderer by name, with its own options; UserError for an unknown name."""
    if name not in names():
        raise UserError("--renderer", name, ", ".join(names()), "is not a renderer")
    if name not in _FACTORIES:
        import_module(_MODULES[name])
    return _FACTORIES[name](**options)
