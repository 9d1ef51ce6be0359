"""Argument types that name the argument, the value and what would be accepted."""

from __future__ import annotations

from collections.abc import Callable

from emo_lightning.core.errors import UserError


def integer(
    argument: str, low: int, high: int | None = None, multiple: int = 1
) -> Callable[[str], int]:
    """A parser of whole numbers from ``low`` to ``high`` (inclusive) that are a multiple of ``multiple``."""
    accepted = (
        f"a whole number from {low} to {high}"
        if high is not None
        else f"a whole number, {low} or more"
    )
    if multiple > 1:
        accepted += f", a multiple of {multiple}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise UserError(argument, text, accepted, "is not a whole number") from None
        if value < low or (high is not None and value > high) or value % multiple:
            raise UserError(
                argument,
                text,
                accepted,
                "is out of range" if value % multiple == 0 else "is not accepted",
            )
        return value

    return parse
