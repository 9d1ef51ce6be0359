"""Description of a judge: a model, or arithmetic on another judge's output, that scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from emo_lightning.core.provenance import sha256_of


@dataclass(frozen=True)
class JudgeInfo:
    """Who scored: a name, the sha256 of the weights (None for plain arithmetic), and one line about
    it."""

    name: str
    sha256: str | None
    about: str

    def to_json(self) -> dict[str, str | None]:
        return asdict(self)


@lru_cache(maxsize=16)
def _hashed(path: Path, modified: int) -> str:
    del modified
    return sha256_of(path)


def file_info(name: str, path: Path, about: str) -> JudgeInfo:
    """Description of a judge with a user's file of weights, hashed once as long as it stays the
    same."""
    return JudgeInfo(name, _hashed(path, path.stat().st_mtime_ns), about)
