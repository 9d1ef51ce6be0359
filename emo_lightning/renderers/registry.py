"""Renderers that live in somebody else's package or folder: named ``module:Class``, or offered by an installed package."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of

GROUP = "emo_lightning.renderers"
"""Entry points of this group offer a renderer under their own name."""
ACCEPTED = "module:Class, a class with prepare and render in a module of the current folder or the environment"
METHODS = ("prepare", "render")
Factory = Callable[..., Any]


@lru_cache(maxsize=1)
def offered() -> dict[str, EntryPoint]:
    """Name -> the entry point of an installed package."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load(place: str, argument: str = "--renderer") -> Factory:
    """The class that ``module:Class`` names.

    Raises:
        UserError: another form, no such module, one that cannot be imported, no such class, a class without the methods.
    """
    module_name, _, path = place.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *path.split(".")]):
        raise UserError(argument, place, ACCEPTED, "does not have the form module:Class")
    found: Any = _module(module_name, place, argument)
    for part in path.split("."):
        if not hasattr(found, part):
            raise UserError(
                argument,
                place,
                ACCEPTED,
                f"names no class that there is: {module_name} has no {path}",
            )
        found = getattr(found, part)
    if not callable(found):
        raise UserError(argument, place, ACCEPTED, "names something that is no class")
    if isinstance(found, type):
        check(found, place, argument)
    return found


def check(renderer: object, name: str, argument: str = "--renderer") -> None:
    """UserError unless a renderer, or its class, has the interface's methods."""
    missing = [method for method in METHODS if not callable(getattr(renderer, method, None))]
    if missing:
        raise UserError(argument, name, ACCEPTED, f"has no method {' and no '.join(missing)}")


def origin(factory: Factory) -> dict[str, str | None]:
    """The class, and the file that it lies in with its sha256 (None where there is none)."""
    place = f"{factory.__module__}:{getattr(factory, '__qualname__', type(factory).__qualname__)}"
    source = getattr(sys.modules.get(factory.__module__), "__file__", None)
    return {
        "class": place,
        "file": Path(source).name if source else None,
        "sha256": sha256_of(source) if source else None,
    }


def _module(name: str, place: str, argument: str) -> Any:
    """Import it; the current folder is looked through last, so that nothing in it can stand in for an installed package."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                argument, place, ACCEPTED, f"names a module that cannot be found: {error.name}"
            ) from None
        raise UserError(argument, place, ACCEPTED, f"cannot be imported ({error})") from None
    except Exception as error:
        # The user's own code: whatever is wrong in it, one line says where to look.
        raise UserError(
            argument, place, ACCEPTED, f"cannot be imported ({type(error).__name__}: {error})"
        ) from None
