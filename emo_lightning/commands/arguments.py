"""Argument types whose errors name the argument, the value and what is accepted."""

from __future__ import annotations

from collections.abc import Callable

from emo_lightning.core.errors import UserError


def integer(
    argument: str, low: int, high: int | None = None, multiple: int = 1
) -> Callable[[str], int]:
    """A parser of integers from ``low`` to ``high`` (inclusive), multiples of ``multiple``."""
    limits = f"{low} or more" if high is None else f"from {low} to {high}"
    accepted = f"a whole number{',' if high is None else ''} {limits}"
    if multiple > 1:
        accepted += f", a multiple of {multiple}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise UserError(argument, text, accepted, "is not a whole number") from None
        if value % multiple:
            raise UserError(argument, text, accepted, "is not accepted")
        if value < low or (high is not None and value > high):
            raise UserError(argument, text, accepted, "is out of range")
        return value

    return parse
