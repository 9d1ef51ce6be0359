"""Renderers by name: built in, offered by an installed package, or ``module:Class``.

One of your own is a class with ``prepare`` and ``render`` and needs no registration: ``--renderer
module:Class`` imports it from the current folder or the environment. A package offers one under a
name of its own by an entry point of the group ``emo_lightning.renderers`` (``mine =
"module:Class"``), a program by :func:`register`. Its ``__init__`` has no required arguments; if it
takes ``folder``, it gets ``--checkpoint-dir`` (None without), if it takes ``inference``, the
:class:`emo_lightning.core.device.InferenceContext` of ``--device``, and if it takes ``gaze``, the
:class:`emo_lightning.motion.gaze.GazeProcess` of ``--gaze-at``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from inspect import getdoc, signature
from pathlib import Path
from typing import Any

from emo_lightning.core.device import InferenceContext
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from emo_lightning.motion.gaze import GazeProcess
from emo_lightning.renderers.base import Renderer

Factory = Callable[..., Renderer]
DEFAULT = "mesh"
GROUP = "emo_lightning.renderers"
"""Entry points of this group offer a renderer under their own name."""
ACCEPTED = "module:Class, with prepare and render, in the current folder or the environment"
METHODS = ("prepare", "render")
_FACTORIES: dict[str, Factory] = {}
_BUILT_IN = {
    "mesh": (
        "emo_lightning.renderers.mesh.renderer",
        "moves the portrait's own pixels by a face mesh; needs no training",
    ),
    "keypoint": (
        "emo_lightning.renderers.keypoint",
        "stage 3's network: keypoints, dense motion, generator",
    ),
    "refined": (
        "emo_lightning.renderers.refined.renderer",
        "the mesh's frames, corrected by a small trained network",
    ),
}
"""Module and one line about each; imported when first needed: the mesh needs no torch."""


def register(name: str) -> Callable[[Factory], Factory]:
    """Class decorator: make a renderer known under a name in this process."""

    def keep(factory: Factory) -> Factory:
        _FACTORIES[name] = factory
        return factory

    return keep


def names() -> tuple[str, ...]:
    """All renderers that have a name, sorted; :func:`find` also takes ``module:Class``."""
    return tuple(sorted({*_BUILT_IN, *_FACTORIES, *offered()}))


@lru_cache(maxsize=1)
def offered() -> dict[str, EntryPoint]:
    """Name -> the entry point of an installed package."""
    return {point.name: point for point in entry_points(group=GROUP)}


def find(name: str) -> Factory:
    """A renderer's class, by its name or by ``module:Class``.

    Raises:
        UserError: an unknown name; see :func:`load` for ``module:Class``.
    """
    if ":" in name:
        return load(name)
    if name not in names():
        accepted = f"{', '.join(names())}, or module:Class for one of your own"
        raise UserError("--renderer", name, accepted, "is not a renderer")
    if name not in _FACTORIES and name in _BUILT_IN:
        importlib.import_module(_BUILT_IN[name][0])
    return _FACTORIES[name] if name in _FACTORIES else load(offered()[name].value)


def create(
    name: str,
    folder: str | Path | None = None,
    inference: InferenceContext | None = None,
    gaze: GazeProcess | None = None,
    **options: Any,
) -> Renderer:
    """Make a renderer.

    Args:
        name: as :func:`find` takes it.
        folder: weights, for a renderer that takes a ``folder``; ignored by the others.
        inference: device and precision, for a renderer that takes ``inference``.
        gaze: directions of the eyes over time, for a renderer that takes ``gaze``.
        options: its own.

    Raises:
        UserError: an unknown renderer, one that needs other options, one without the methods of
            :class:`emo_lightning.renderers.base.Renderer`, or weights that it cannot use.
    """
    factory = find(name)
    known = signature(factory)
    given = {"folder": folder, "inference": inference, "gaze": gaze}
    options |= {key: value for key, value in given.items() if key in known.parameters}
    try:
        known.bind(**options)
    except TypeError as error:
        accepted = "a class that is made with no arguments, or with a folder of weights"
        raise UserError("--renderer", name, accepted, f"cannot be made: {error}") from None
    renderer = factory(**options)
    check(renderer, name)
    return renderer


def about(name: str) -> str:
    """One line about a renderer that :func:`names` lists, or that is ``module:Class``."""
    if name in _BUILT_IN:
        return _BUILT_IN[name][1]
    if name in offered() and name not in _FACTORIES:
        point = offered()[name]
        package = f", of the package {point.dist.name}" if point.dist is not None else ""
        return f"{point.value}{package}"
    return (getdoc(find(name)) or "a renderer of your own").partition("\n")[0]


def origin(name: str) -> dict[str, str | None] | None:
    """Class, file and sha256 of a renderer, for a record; None for built-in ones."""
    if name in _BUILT_IN:
        return None
    factory = find(name)
    source = getattr(sys.modules.get(factory.__module__), "__file__", None)
    qualified = getattr(factory, "__qualname__", type(factory).__qualname__)
    return {
        "class": f"{factory.__module__}:{qualified}",
        "file": Path(source).name if source else None,
        "sha256": sha256_of(source) if source else None,
    }


def load(place: str, argument: str = "--renderer") -> Factory:
    """The class that ``module:Class`` names.

    Raises:
        UserError: another form, no such module, one that cannot be imported, no such class, a class
            without the methods.
    """

    def problem(text: str) -> UserError:
        return UserError(argument, place, ACCEPTED, text)

    module_name, _, path = place.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *path.split(".")]):
        raise problem("does not have the form module:Class")
    try:
        found: Any = _imported(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise problem(f"names a module that cannot be found: {missing}") from None
        raise problem(f"cannot be imported ({error})") from None
    except Exception as error:
        # The user's own code: whatever is wrong in it, one line says where.
        raise problem(f"cannot be imported ({type(error).__name__}: {error})") from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise problem(f"names a class that does not exist: {module_name} has no {path}")
        found = getattr(found, part)
    if not callable(found):
        raise problem("names something that is no class")
    if isinstance(found, type):
        check(found, place, argument)
    return found


def check(renderer: object, name: str, argument: str = "--renderer") -> None:
    """Raise UserError unless a renderer, or its class, has the interface's methods."""
    missing = [method for method in METHODS if not callable(getattr(renderer, method, None))]
    if missing:
        raise UserError(argument, name, ACCEPTED, f"has no method {' and no '.join(missing)}")


def _imported(name: str) -> Any:
    """A module; the current folder comes last, so that it replaces no installed package."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    return importlib.import_module(name)
