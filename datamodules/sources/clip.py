"""What a source says of one clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Clip:
    """A video that is to become samples; labels are None where the corpus has none.

    Attributes:
        name: path below the corpus's root with ``/``, unique; the samples' keys come from it.
        path: the video.
        speaker: one person.
        audio: a recording to use when the video has no sound.
        split: where the corpus or the user fixes it.
    """

    name: str
    path: Path
    speaker: str
    audio: Path | None = None
    sentence: str | None = None
    emotion: str | None = None
    intensity: int | None = None
    level: float | None = None
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """A file or manifest row that is no clip, and why."""

    name: str
    reason: str
    detail: str
