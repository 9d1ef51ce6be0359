"""Scores one group of clips: the reference is tracked once, then every clip of the group beside it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emo_lightning.face.crop import CropBox, crop_box, crop_image
from emo_lightning.provenance import sha256_of
from emo_lightning.video import iter_frames
from evaluation.pairs import Group, Item
from evaluation.protocol import FPS, SIZE, NotScored, same_framing
from evaluation.records import Record
from evaluation.suite import Entry, FrameMetric, SetMetric, TrackMetric
from evaluation.tracks import Judges, Track, observe

BATCH = {"cpu": 2, "cuda": 16}
"""Frames scored together; on a CPU two still fit its cache. No score depends on it."""
OTHER_FRAMING = "the picture's aspect ratio differs from the reference's, so the two do not show the same view"


class FrameScores:
    """Running means of the frame metrics over pairs of cropped frames."""

    def __init__(self, metrics: Mapping[str, FrameMetric], device: torch.device) -> None:
        self._metrics, self._device = metrics, device
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._totals = dict.fromkeys(metrics, 0.0)
        self._count = 0

    def add(self, generated: np.ndarray, reference: np.ndarray) -> None:
        """One pair of ``(S, S, 3)`` uint8 crops."""
        self._pending.append((generated, reference))
        if len(self._pending) == BATCH[self._device.type]:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        stacks = (np.stack(side).transpose(0, 3, 1, 2) for side in zip(*self._pending, strict=True))
        generated, reference = (torch.from_numpy(np.ascontiguousarray(s)).to(self._device) for s in stacks)
        for name, metric in self._metrics.items():
            self._totals[name] += float(metric.frames(generated, reference).sum())
        self._count += len(self._pending)
        self._pending.clear()

    def results(self) -> dict[str, float]:
        """The scores; NotScored when no pair was seen."""
        self._flush()
        if not self._count:
            raise NotScored("the clip and its reference share no moment")
        return {name: metric.finish(self._totals[name] / self._count) for name, metric in self._metrics.items()}


class Scorer:
    """Scores groups with one set of judges.

    Args:
        entries: the metrics, from :func:`evaluation.suite.choose`.
        device: where frame metrics run.
    """

    def __init__(self, entries: Mapping[str, Entry], device: torch.device) -> None:
        self._entries, self._device = entries, device
        self._frame_metrics = {n: e for n, e in entries.items() if isinstance(e, FrameMetric)}
        self._judges = Judges()

    def close(self) -> None:
        self._judges.close()

    def score(self, group: Group) -> Iterator[Record]:
        """One record a clip, in the group's order, the reference's own first when the group reports it."""
        reference: Track | None = None
        if group.reference is not None:
            found = self._guarded(group.reference, lambda record: self._score_alone(group.reference, record))
            record, reference = found
            if group.scores_reference:
                yield record
            if reference is None:
                for item in group.items:
                    yield _record(item, failure=f"its reference cannot be used: {record.failure}")
                return
        for item in group.items:
            yield self._guarded(item, lambda record, item=item: self._score_item(item, record, group.reference, reference))[0]

    def _guarded(self, item: Item, score: Callable[[Record], Track]) -> tuple[Record, Track | None]:
        """Run one clip's scoring; whatever goes wrong stays with the clip."""
        record = _record(item)
        try:
            return record, score(record)
        except NotScored as error:
            record.failure = str(error)
        except Exception as error:
            # One clip must not cost the others their scores; an unforeseen error is shown in full as well.
            traceback.print_exc()
            record.failure = f"unexpected {type(error).__name__}: {error}"
        record.values.clear()
        record.features.clear()
        return record, None

    def _score_alone(self, item: Item | None, record: Record) -> Track:
        """A clip by itself: the reference's own row, or a clip that has no reference."""
        if item is None:
            raise NotScored("no reference")
        record.facts["sha256"] = _sha256(item.path)
        track = observe(item.path, self._judges)
        record.facts |= _facts(track)
        self._score_track(record, track, None)
        return track

    def _score_item(self, item: Item, record: Record, reference_item: Item | None, reference: Track | None) -> Track:
        if reference_item is None or reference is None:
            return self._score_alone(item, record)
        record.facts["sha256"] = _sha256(item.path)
        pixels = FrameScores(self._frame_metrics, self._device)
        with closing(iter_frames(reference_item.path, fps=FPS, threads=1)) as frames:
            view = _SharedView(reference, frames, pixels)
            hook = view.on_frame if self._frame_metrics else None
            track = observe(item.path, self._judges, lambda points, size: _box_for(points, size, reference), hook)
        framing = same_framing(track.size, reference.size)
        record.facts |= _facts(track) | _match(track, reference) | {"framing": "shared" if framing else "own"}
        try:
            if not framing:
                raise NotScored(OTHER_FRAMING)
            for name, value in pixels.results().items() if self._frame_metrics else ():
                record.put(name, value)
        except NotScored as error:
            record.missing |= dict.fromkeys(self._frame_metrics, str(error))
        self._score_track(record, track, reference)
        return track

    def _score_track(self, record: Record, track: Track, reference: Track | None) -> None:
        for name, entry in self._entries.items():
            if isinstance(entry, SetMetric):
                record.features |= entry.features(track)
            elif isinstance(entry, TrackMetric):
                try:
                    value, features = entry.score(track, reference)
                    record.put(name, value)
                    record.features |= features
                except NotScored as error:
                    record.missing[name] = str(error)
            elif reference is None:
                record.missing[name] = "no reference"


class _SharedView:
    """Walks the reference's frames beside the generated ones and scores both through the reference's crop."""

    def __init__(self, reference: Track, frames: Iterator[np.ndarray], scores: FrameScores) -> None:
        self._reference, self._frames, self._scores = reference, frames, scores

    def on_frame(self, frame: np.ndarray) -> None:
        size = frame.shape[1], frame.shape[0]
        beside = next(self._frames, None)
        if beside is not None and same_framing(size, self._reference.size):
            box = scaled_box(self._reference.box, size[0] / self._reference.size[0])
            self._scores.add(crop_image(frame, box, SIZE), crop_image(beside, self._reference.box, SIZE))


def scaled_box(box: CropBox, factor: float) -> CropBox:
    """The same view in a picture of another resolution."""
    return CropBox(box.cx * factor, box.cy * factor, box.half * factor)


def _box_for(points: np.ndarray, size: tuple[int, int], reference: Track) -> CropBox:
    """The reference's crop where the framing is shared, else the clip's own."""
    return scaled_box(reference.box, size[0] / reference.size[0]) if same_framing(size, reference.size) else crop_box(points)


def _facts(track: Track) -> dict[str, Any]:
    return {"frames": len(track), "frames_without_face": int((~track.seen).sum()), "width": track.size[0], "height": track.size[1]}


def _match(track: Track, reference: Track) -> dict[str, Any]:
    """How far the two clips cover the same time."""
    return {
        "reference_frames": len(reference),
        "compared_frames": min(len(track), len(reference)),
        "length_difference_s": round((len(track) - len(reference)) / FPS, 4),
    }


def _record(item: Item, failure: str | None = None) -> Record:
    return Record(item.system, item.clip, item.emotion, item.level, dict(item.extra), failure=failure)


def _sha256(path: Path) -> str:
    """Hash of a file; NotScored when it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise NotScored(f"{path.name} cannot be read ({error.strerror})") from None


def score_groups(
    groups: Sequence[Group], entries: Mapping[str, Entry], device: torch.device, skip: frozenset[tuple[str, str]]
) -> Iterator[Record]:
    """Score groups one after the other; clips ``(system, clip)`` in ``skip`` are known already and left out."""
    if not groups:
        return
    scorer = Scorer(entries, device)
    try:
        for group in groups:
            items = tuple(item for item in group.items if (item.system, item.clip) not in skip)
            known = group.reference is not None and (group.reference.system, group.reference.clip) in skip
            wants_reference = group.scores_reference and not known
            if items or wants_reference:
                yield from scorer.score(Group(group.reference, items, wants_reference))
    finally:
        scorer.close()
