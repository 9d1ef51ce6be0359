"""One pass over a clip's frames: crops are cut once for every view and given to extractors and
comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from emo_lightning.face.crop import CropBox, crop_image
from evaluation.protocol import NotScored
from evaluation.suite.base import (
    HEAD,
    Features,
    FrameExtractor,
    FrameFunction,
    FrameMetric,
    View,
)

Crop = tuple[np.ndarray, np.ndarray]
"""A crop ``(S, S, 3)`` uint8 and the points ``(478, 3)`` in its pixels."""
PairFunction = Callable[[Tensor, Tensor], Tensor]
BLOCK = 16
"""Pairs gathered before they are scored, each metric in batches of its own size; no score depends
on either."""


def cut(frame: np.ndarray, points: np.ndarray, box: CropBox, view: View) -> Crop:
    """A view's crop of a frame, and the points there; ``box`` is the protocol's crop."""
    half = box.half * view.half
    square = CropBox(box.cx + view.x * box.half, box.cy + view.y * box.half, half)
    corner = np.array([square.cx - half, square.cy - half, 0.0], np.float64)
    placed = ((points - corner) * (view.size / (2 * half))).astype(np.float32)
    return crop_image(frame, square, view.size), placed


class ExtractorRows:
    """One extractor's rows of one clip, computed in batches."""

    def __init__(self, extractor: FrameExtractor, function: FrameFunction) -> None:
        self._extractor, self._function = extractor, function
        self._pending: list[Crop] = []
        self._found: list[Features] = []
        self._frames = 0

    def add(self, crop: Crop) -> None:
        """The next frame's crop."""
        self._frames += 1
        if (self._frames - 1) % self._extractor.every:
            return
        self._pending.append(crop)
        if len(self._pending) == self._extractor.batch + self._extractor.context - 1:
            self._flush()

    def _flush(self) -> None:
        self._found.append(rows_of(self._extractor, self._function, self._pending))
        self._pending = self._pending[len(self._pending) - self._extractor.context + 1 :]

    def result(self) -> Features:
        """The clip's features; NotScored when it is shorter than the extractor's context."""
        if len(self._pending) >= self._extractor.context:
            self._flush()
        if not self._found:
            raise NotScored(_too_short(self._extractor))
        names = self._found[0]
        rows = {name: np.concatenate([block[name] for block in self._found]) for name in names}
        return rows if self._extractor.finish is None else self._extractor.finish(rows)


def rows_of(extractor: FrameExtractor, function: FrameFunction, crops: Sequence[Crop]) -> Features:
    """The rows of one block of frames, their number checked."""
    images, points = (np.stack(part) for part in zip(*crops, strict=True))
    rows = function(images, points)
    wanted = len(crops) - extractor.context + 1
    for name, values in rows.items():
        if len(values) != wanted:
            found = f"extractor {extractor.name} gave {len(values)} rows of {name}"
            raise ValueError(f"{found} for {len(crops)} frames, expected {wanted}")
    return rows


def still_rows(
    extractor: FrameExtractor, function: FrameFunction, crop: Crop, frames: int
) -> Features:
    """Features of a clip that shows one image throughout: computed once, repeated."""
    count = -(-frames // extractor.every) - extractor.context + 1
    if count < 1:
        raise NotScored(_too_short(extractor))
    one = rows_of(extractor, function, [crop] * extractor.context)
    rows = {name: np.repeat(values, count, axis=0) for name, values in one.items()}
    return rows if extractor.finish is None else extractor.finish(rows)


def _too_short(extractor: FrameExtractor) -> str:
    return f"shorter than the {extractor.context} frames that {extractor.name} needs together"


class PairScores:
    """Values of frame metrics over pairs of crops.

    Args:
        metrics: name -> metric and its opened function.
        reference: the reference's crops ``(S, S, 3)`` uint8 in order; frames past its end are not
            compared.
        device: where the metrics run.
    """

    def __init__(
        self,
        metrics: Mapping[str, tuple[FrameMetric, PairFunction]],
        reference: Iterator[np.ndarray],
        device: torch.device,
    ) -> None:
        self._metrics, self._reference, self._device = metrics, reference, device
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._found: dict[str, list[Tensor]] = {name: [] for name in metrics}
        self._done = 0

    def add(self, generated: np.ndarray) -> None:
        """The next crop of the generated clip."""
        beside = next(self._reference, None)
        if beside is not None:
            self._pending.append((generated, beside))
            if len(self._pending) == BLOCK:
                self._flush()

    def _flush(self) -> None:
        stacks = (np.stack(side).transpose(0, 3, 1, 2) for side in zip(*self._pending, strict=True))
        sides = [torch.from_numpy(np.ascontiguousarray(s)).to(self._device) for s in stacks]
        for name, (metric, function) in self._metrics.items():
            size = metric.batch if self._device.type == "cpu" else BLOCK
            chosen = slice(-self._done % metric.every, None, metric.every)
            for pair in zip(*(side[chosen].split(size) for side in sides), strict=True):
                if len(pair[0]):
                    with torch.inference_mode():
                        self._found[name].append(function(*pair).double().cpu())
        self._done += len(self._pending)
        self._pending.clear()

    def values(self) -> dict[str, np.ndarray]:
        """Metric -> ``(T,)`` float64, one value a frame compared; NotScored when no pair was
        seen."""
        if self._pending:
            self._flush()
        if not all(self._found.values()):
            raise NotScored("the clip and its reference share no moment")
        return {name: torch.cat(blocks).numpy() for name, blocks in self._found.items()}


class FramePass:
    """Cuts every frame for the extractors and the comparison that need it.

    Args:
        box: the protocol's crop in this clip.
        wanted: extractors and their opened functions.
        sinks: take every protocol crop (a comparison, a buffer).
        keep_first: views of which the first crop with a face is kept in ``first``.
    """

    def __init__(
        self,
        box: CropBox,
        wanted: Mapping[str, tuple[FrameExtractor, FrameFunction]],
        sinks: Sequence[Callable[[np.ndarray], None]] = (),
        keep_first: Sequence[View] = (),
    ) -> None:
        self._box, self._sinks, self._keep_first = box, sinks, keep_first
        self._rows = {name: ExtractorRows(*pair) for name, pair in wanted.items()}
        self._view_of = {name: extractor.view for name, (extractor, _) in wanted.items()}
        self._views = {*self._view_of.values(), *((HEAD,) if sinks else ())}
        self.first: dict[View, Crop] = {}
        self.is_idle = not (wanted or sinks or keep_first)
        """Whether nothing needs a frame."""

    def add(self, frame: np.ndarray, points: np.ndarray) -> None:
        """The next frame and its points in pixels of the frame."""
        keep = self._keep_first if not self.first and np.isfinite(points[0, 0]) else ()
        views = self._views.union(keep)
        crops = {view: cut(frame, points, self._box, view) for view in views}
        if keep:
            self.first = {view: crops[view] for view in keep}
        for sink in self._sinks:
            sink(crops[HEAD][0])
        for name, rows in self._rows.items():
            rows.add(crops[self._view_of[name]])

    def results(self) -> dict[str, Features | str]:
        """Extractor -> its features, or why it has none."""
        found: dict[str, Features | str] = {}
        for name, rows in self._rows.items():
            try:
                found[name] = rows.result()
            except NotScored as error:
                found[name] = str(error)
        return found
