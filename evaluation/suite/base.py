"""What an entry of the suite can be.

Metrics are of three kinds, by what they look at. A :class:`FrameMetric` sees pairs of cropped frames; a
:class:`ClipMetric` sees one clip beside its reference; a :class:`SetMetric` sees one system's clips together. Judges that
several metrics share, or whose answers a set metric needs, are extractors: each looks at a clip once, while it is decoded
(:class:`FrameExtractor`), at its landmarks (:class:`TrackExtractor`) or at its sound (:class:`SoundExtractor`), and what
it finds is kept in the feature cache.

A file of this package with ``ORDER``, ``ENTRIES`` and perhaps ``EXTRACTORS`` is part of the suite; nothing else needs an
edit. ``open`` functions load weights and run once a process; ``judge`` functions say who would answer and are cheap. Both
raise :class:`evaluation.protocol.Unavailable` where weights are absent: the metric is then null, with that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from evaluation.judges.base import JudgeInfo
from evaluation.judges.landmark_track import Track
from evaluation.protocol import SIZE
from evaluation.records import Column, Record, Scores, SetResult

Features = Mapping[str, np.ndarray]
"""What an extractor found in one clip: arrays by name."""


class Clip(Protocol):
    """One clip as clip metrics see it."""

    name: str
    emotion: str | None
    level: float | None
    extra: Mapping[str, str]
    track: Track

    def features(self, extractor: str) -> Features:
        """What an extractor, named in the entry's ``needs``, found; NotScored where it found nothing (a clip without sound)."""


class ClipSet(Protocol):
    """Scored clips of one system, sorted by clip, as set metrics see them; features are read from disk one clip at a time."""

    records: Sequence[Record]
    reference: ClipSet | None
    """The references of these clips, each once; None where the clips have none, and for the references themselves."""

    def features(self, extractor: str) -> Iterator[tuple[Record, Features]]:
        """Each clip that has such features, with them."""


@dataclass(frozen=True)
class View:
    """A square to look at: the protocol's crop or a part of it, cut from the full frame.

    Attributes:
        size: pixels a side.
        x, y, half: centre and half side in crop units, in which the protocol's crop spans -1..1.
    """

    size: int = SIZE
    x: float = 0.0
    y: float = 0.0
    half: float = 1.0


HEAD = View()
FrameFunction = Callable[[np.ndarray, np.ndarray], Features]


@dataclass(frozen=True)
class FrameExtractor:
    """A judge that looks at frames while the clip is decoded.

    Attributes:
        name: unique in the suite.
        judge: who it is.
        open: device -> function of crops ``(B, S, S, 3)`` uint8 RGB and points ``(B, 478, 3)`` float32 in the view's pixels (nan
            where no face was found), giving arrays with one row a frame; with a ``context`` of c frames, ``B - c + 1`` rows.
        view: what it sees.
        context: consecutive frames behind one row; blocks of frames overlap by one less, so a clip of T frames has
            ``T - context + 1`` rows, and none if it is shorter.
        every: look at frames 0, every, 2 every, ... alone: neighbouring frames show nearly the same picture, and some judges are
            slow. Then the context is 1.
        batch: most rows a call; no result may depend on it.
        finish: the clip's rows -> what is kept, where that is less; None keeps the rows.
        version: to be raised when the same judge would answer differently.
    """

    name: str
    judge: Callable[[], JudgeInfo]
    open: Callable[[torch.device], FrameFunction]
    view: View = HEAD
    context: int = 1
    batch: int = 16
    finish: Callable[[Features], Features] | None = None
    version: int = 1
    every: int = 1

    def __post_init__(self) -> None:
        if self.every > 1 and self.context > 1:
            raise ValueError(
                f"extractor {self.name} looks at consecutive frames and can leave out none"
            )

    def rows(self, frames: int) -> int:
        """How many rows a clip of so many frames gives; 0 or less if it is too short."""
        return -(-frames // self.every) - self.context + 1


@dataclass(frozen=True)
class TrackExtractor:
    """A judge of a whole clip's landmarks; ``open``: device -> function of a :class:`evaluation.judges.landmark_track.Track`."""

    name: str
    judge: Callable[[], JudgeInfo]
    open: Callable[[torch.device], Callable[[Track], Features]]
    version: int = 1


@dataclass(frozen=True)
class SoundExtractor:
    """A judge of a clip's sound; ``open``: device -> function of ``(640 T,)`` float32, 16 kHz mono, T the clip's frames."""

    name: str
    judge: Callable[[], JudgeInfo]
    open: Callable[[torch.device], Callable[[np.ndarray], Features]]
    version: int = 1


Extractor = FrameExtractor | TrackExtractor | SoundExtractor


@dataclass(frozen=True)
class FrameMetric:
    """Scores cropped frames against the reference's.

    Attributes:
        column: where the score stands.
        open: device -> function of two ``(B, 3, 256, 256)`` uint8 batches, generated and reference, giving ``(B,)`` values.
        finish: mean over the clip's frames -> the clip's score.
        judge: who scores, if a model does.
        batch: most frames a call, on a CPU; no score may depend on it.
        still: whether the held first frame is scored as a control.
        version: to be raised when the same frames would score differently.
        every: compare frames 0, every, 2 every, ... alone.
    """

    column: Column
    open: Callable[[torch.device], Callable[[Tensor, Tensor], Tensor]]
    finish: Callable[[float], float] = float
    judge: Callable[[], JudgeInfo] | None = None
    batch: int = 2
    still: bool = True
    version: int = 1
    every: int = 1


@dataclass(frozen=True)
class ClipMetric:
    """Scores a clip, beside its reference (None where there is none).

    Attributes:
        columns: where the scores stand.
        score: the clip and its reference -> scores by column. NotScored gives every column that reason.
        needs: extractors whose features it reads. One that hears sound makes this a metric of the sound controls.
        needs_reference: whether clips without a reference, and the references themselves, have no score.
        still: whether the held first frame is scored as a control.
        breakdown: kept vector -> names of its numbers; the report shows their means over clips.
    """

    columns: tuple[Column, ...]
    score: Callable[[Clip, Clip | None], Scores]
    needs: tuple[str, ...] = ()
    needs_reference: bool = True
    still: bool = True
    breakdown: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class SetMetric:
    """Scores all clips of one system together, after all of them were looked at.

    ``details`` of its result may hold, by any name, a mapping with ``kind`` that the report draws:

    - ``confusion``: ``labels``, ``counts`` (rows wanted, columns seen), perhaps ``about``;
    - ``histogram``: ``bins`` (one label a bar) and ``counts``, perhaps ``unit`` and ``about``;
    - ``bars``: ``values`` (name -> number), perhaps ``about``.

    Attributes:
        columns: where the scores stand.
        score: the system's clips -> what they give.
        needs: extractors whose features it reads.
        keep: a clip -> small vectors to keep in its record for ``score``.
        needs_reference: whether only clips with a reference count, and the references' own row has no score.
        still: whether the held first frames are scored as a control.
        about: shown beside its section.
    """

    columns: tuple[Column, ...]
    score: Callable[[ClipSet], SetResult]
    needs: tuple[str, ...] = ()
    keep: Callable[[Clip], Mapping[str, list[float]]] | None = None
    needs_reference: bool = False
    still: bool = False
    about: str = ""


Entry = FrameMetric | ClipMetric | SetMetric


def columns_of(entry: Entry) -> tuple[Column, ...]:
    """The columns that an entry fills."""
    return (entry.column,) if isinstance(entry, FrameMetric) else entry.columns


def needs_of(entry: Entry) -> tuple[str, ...]:
    """The extractors that an entry reads."""
    return () if isinstance(entry, FrameMetric) else entry.needs
