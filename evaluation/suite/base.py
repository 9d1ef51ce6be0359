"""The kinds of metrics and extractors of which the suite consists.

Metrics are of three kinds, by their input. A :class:`FrameMetric` scores pairs of cropped frames; a
:class:`ClipMetric` one clip beside its reference; a :class:`SetMetric` one system's clips together.
Extractors are judges that several metrics share, or whose features a set metric needs: each
processes a clip once, frame by frame while it is decoded (:class:`FrameExtractor`), its landmarks
(:class:`TrackExtractor`) or its audio (:class:`AudioExtractor`). Features are cached.

A module of this package with ``ORDER``, ``ENTRIES`` and perhaps ``EXTRACTORS`` is part of the
suite; nothing else needs an edit. ``open`` functions load weights and run once a process; ``judge``
functions describe the judge and are cheap. Both raise :class:`evaluation.protocol.Unavailable`
where weights are absent: the metric is then null, with that reason.
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
from evaluation.records import MetricColumn, Record, Scores, SetResult

Features = Mapping[str, np.ndarray]
"""An extractor's features of one clip: arrays by name."""


class EvaluatedClip(Protocol):
    """One clip as clip metrics see it."""

    name: str
    emotion: str | None
    level: float | None
    extra: Mapping[str, str]
    track: Track

    def features(self, extractor: str) -> Features:
        """Features of an extractor named in ``needs``; NotScored where there are none (no
        audio)."""


class ClipSet(Protocol):
    """Scored clips of one system, sorted by clip, as set metrics see them.

    Features are loaded from disk one clip at a time.
    """

    records: Sequence[Record]
    reference: ClipSet | None
    """The references of these clips, each once; None where they have none, and for the
    references."""

    def features(self, extractor: str) -> Iterator[tuple[Record, Features]]:
        """Each clip that has such features, with them."""


@dataclass(frozen=True)
class View:
    """A square part of the image: the protocol's crop or a part of it, cut from the full frame.

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
    """A judge of frames, run while the clip is decoded.

    Attributes:
        name: unique in the suite.
        judge: describes it.
        open: device -> function of crops ``(B, S, S, 3)`` uint8 RGB and points ``(B, 478, 3)``
            float32 in the view's pixels (nan where no face was found), giving arrays with one row a
            frame; with a ``context`` of c frames, ``B - c + 1`` rows.
        view: its crop.
        context: consecutive frames behind one row; a clip of T frames has ``T - context + 1`` rows.
        every: process frames 0, every, 2 every, ... alone. Then the context is 1.
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
            raise ValueError(f"extractor {self.name} needs consecutive frames and can skip none")


@dataclass(frozen=True)
class TrackExtractor:
    """A judge of a clip's landmarks; ``open``: device -> function of a track."""

    name: str
    judge: Callable[[], JudgeInfo]
    open: Callable[[torch.device], Callable[[Track], Features]]
    version: int = 1


@dataclass(frozen=True)
class AudioExtractor:
    """A judge of a clip's audio.

    ``open``: device -> function of ``(640 T,)`` float32, 16 kHz mono, T the clip's frames.
    """

    name: str
    judge: Callable[[], JudgeInfo]
    open: Callable[[torch.device], Callable[[np.ndarray], Features]]
    version: int = 1


Extractor = FrameExtractor | TrackExtractor | AudioExtractor


@dataclass(frozen=True)
class FrameMetric:
    """Scores cropped frames against the reference's.

    Attributes:
        column: where the score stands.
        open: device -> function of two ``(B, 3, 256, 256)`` uint8 batches, generated and reference,
            giving ``(B,)`` values.
        finish: mean over the clip's frames -> the clip's score.
        judge: describes the model, if there is one.
        batch: most frames a call, on a CPU; no score may depend on it.
        still: whether the held first frame is scored as a control.
        version: to be raised when the same frames would score differently.
        every: compare frames 0, every, 2 every, ... alone.
    """

    column: MetricColumn
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
        score: the clip and its reference -> scores. NotScored gives every column that reason.
        needs: extractors whose features it reads. An audio extractor makes this a metric of the
            audio controls.
        needs_reference: whether clips without a reference, and the references, have no score.
        still: whether the held first frame is scored as a control.
        breakdown: kept vector -> names of its numbers; the report shows their means over clips.
    """

    columns: tuple[MetricColumn, ...]
    score: Callable[[EvaluatedClip, EvaluatedClip | None], Scores]
    needs: tuple[str, ...] = ()
    needs_reference: bool = True
    still: bool = True
    breakdown: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class SetMetric:
    """Scores all clips of one system together, after all of them were processed.

    ``details`` of its result may hold, by any name, a mapping with ``kind`` that the report shows:

    - ``confusion``: ``labels``, ``counts`` (rows wanted, columns found), perhaps ``about``;
    - ``histogram``: ``bins`` (one label a bar) and ``counts``, perhaps ``unit`` and ``about``;
    - ``bars``: ``values`` (name -> number), perhaps ``about``.

    Attributes:
        columns: where the scores stand.
        score: the system's clips -> scores.
        needs: extractors whose features it reads.
        keep: a clip -> small vectors to keep in its record for ``score``.
        needs_reference: whether only clips with a reference count, and the references have no
            score.
        still: whether the held first frames are scored as a control.
    """

    columns: tuple[MetricColumn, ...]
    score: Callable[[ClipSet], SetResult]
    needs: tuple[str, ...] = ()
    keep: Callable[[EvaluatedClip], Mapping[str, list[float]]] | None = None
    needs_reference: bool = False
    still: bool = False


Entry = FrameMetric | ClipMetric | SetMetric


def columns_of(entry: Entry) -> tuple[MetricColumn, ...]:
    """The columns that an entry fills."""
    return (entry.column,) if isinstance(entry, FrameMetric) else entry.columns


def needs_of(entry: Entry) -> tuple[str, ...]:
    """The extractors that an entry reads."""
    return () if isinstance(entry, FrameMetric) else entry.needs
