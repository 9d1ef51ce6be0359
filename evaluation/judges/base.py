"""What every judge says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True)
class JudgeInfo:
    """Who scored: a name, the sha256 of the weights (None for plain arithmetic on another judge's
    output), and one line about it."""

    name: str
    sha256: str | None
    about: str

    def to_json(self) -> dict[str, str | None]:
        return asdict(self)


class Judge(Protocol):
    """A model that scores; what it measures is its own method, what it is stands in ``info``."""

    info: JudgeInfo
