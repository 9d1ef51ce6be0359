"""One walk along a clip's frames: crops are cut once for every view that is wanted and handed to the extractors in blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from emo_lightning.face.crop import CropBox, crop_image
from evaluation.protocol import NotScored
from evaluation.suite.base import HEAD, Features, FrameExtractor, FrameFunction, View

Crop = tuple[np.ndarray, np.ndarray]
"""A crop ``(S, S, 3)`` uint8 and the points ``(478, 3)`` in its pixels."""
Sink = Callable[[np.ndarray], None]


def view_box(box: CropBox, view: View) -> CropBox:
    """The view's square in pixels of the frame, given the protocol's crop."""
    return CropBox(box.cx + view.x * box.half, box.cy + view.y * box.half, box.half * view.half)


def cut(frame: np.ndarray, points: np.ndarray, box: CropBox, view: View) -> Crop:
    """What a view shows of a frame, and its points there."""
    square = view_box(box, view)
    corner = np.array([square.cx - square.half, square.cy - square.half, 0.0], np.float64)
    return crop_image(frame, square, view.size), (
        (points - corner) * (view.size / (2 * square.half))
    ).astype(np.float32)


class Rows:
    """One extractor's rows of one clip."""

    def __init__(self, extractor: FrameExtractor, function: FrameFunction) -> None:
        self._extractor, self._function = extractor, function
        self._pending: list[Crop] = []
        self._found: list[Features] = []
        self._frames = 0

    def add(self, crop: Crop) -> None:
        self._frames += 1
        if (self._frames - 1) % self._extractor.every:
            return
        self._pending.append(crop)
        if len(self._pending) == self._extractor.batch + self._extractor.context - 1:
            self._flush()

    def _flush(self) -> None:
        self._found.append(ask(self._extractor, self._function, self._pending))
        self._pending = self._pending[len(self._pending) - self._extractor.context + 1 :]

    def result(self) -> Features:
        """What is kept of the clip; NotScored when it is shorter than the extractor's context."""
        if len(self._pending) >= self._extractor.context:
            self._flush()
        if not self._found:
            raise NotScored(
                f"shorter than the {self._extractor.context} frames that {self._extractor.name} looks at together"
            )
        rows = {
            name: np.concatenate([block[name] for block in self._found]) for name in self._found[0]
        }
        return finished(self._extractor, rows)


def ask(extractor: FrameExtractor, function: FrameFunction, crops: Sequence[Crop]) -> Features:
    """The rows of one block of frames, checked."""
    rows = function(
        np.stack([crop for crop, _ in crops]), np.stack([points for _, points in crops])
    )
    wanted = len(crops) - extractor.context + 1
    for name, values in rows.items():
        if len(values) != wanted:
            raise ValueError(
                f"extractor {extractor.name} gave {len(values)} rows of {name} for {len(crops)} frames, expected {wanted}"
            )
    return rows


def hold(extractor: FrameExtractor, function: FrameFunction, crop: Crop, frames: int) -> Features:
    """What the extractor finds in a clip that shows one picture throughout: asked once, repeated."""
    rows = extractor.rows(frames)
    if rows < 1:
        raise NotScored(
            f"shorter than the {extractor.context} frames that {extractor.name} looks at together"
        )
    one = ask(extractor, function, [crop] * extractor.context)
    return finished(
        extractor, {name: np.repeat(values, rows, axis=0) for name, values in one.items()}
    )


def finished(extractor: FrameExtractor, rows: Features) -> Features:
    """What is kept of a clip's rows."""
    return rows if extractor.finish is None else extractor.finish(rows)


class Look:
    """Cuts every frame for those who want to see it.

    Args:
        box: the protocol's crop in this clip.
        wanted: extractors and their opened functions.
        sink: takes every protocol crop, for the frame metrics; None if nobody wants them.
        keep_first: views of which the first crop with a face is to be kept in ``first``.
    """

    def __init__(
        self,
        box: CropBox,
        wanted: Mapping[str, tuple[FrameExtractor, FrameFunction]],
        sink: Sink | None,
        keep_first: Sequence[View] = (),
    ) -> None:
        self.box, self._sink, self._keep_first = box, sink, keep_first
        self._rows = {
            name: Rows(extractor, function) for name, (extractor, function) in wanted.items()
        }
        self._view_of = {name: extractor.view for name, (extractor, _) in wanted.items()}
        self.first: dict[View, Crop] = {}

    @property
    def is_idle(self) -> bool:
        """Nobody wants to see anything."""
        return not (self._rows or self._sink or self._keep_first)

    def push(self, frame: np.ndarray, points: np.ndarray) -> None:
        """The next frame and its points in pixels of the frame."""
        crops: dict[View, Crop] = {}
        for view in self._views(points):
            crops[view] = cut(frame, points, self.box, view)
        if not self.first and np.isfinite(points[0, 0]):
            self.first = {view: crops[view] for view in self._keep_first}
        if self._sink is not None:
            self._sink(crops[HEAD][0])
        for name, rows in self._rows.items():
            rows.add(crops[self._view_of[name]])

    def _views(self, points: np.ndarray) -> set[View]:
        views = set(self._view_of.values())
        if self._sink is not None:
            views.add(HEAD)
        if not self.first and np.isfinite(points[0, 0]):
            views |= set(self._keep_first)
        return views

    def results(self) -> dict[str, Features | str]:
        """Extractor -> what it found, or why it found nothing."""
        found: dict[str, Features | str] = {}
        for name, rows in self._rows.items():
            try:
                found[name] = rows.result()
            except NotScored as error:
                found[name] = str(error)
        return found
