"""Scores groups of clips: the reference is processed once, then its controls and every clip
compared with it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emo_lightning.core.constants import FPS
from emo_lightning.core.provenance import sha256_of
from evaluation.judges.landmark_track import Judges, Track
from evaluation.protocol import CONTROL, REFERENCE, STILL, NotScored, Unavailable
from evaluation.records import Record
from evaluation.runner.cache import FeatureCache, key
from evaluation.runner.clip_reader import BoundedFrames
from evaluation.runner.controls import ControlMaker, applies_to_control
from evaluation.runner.feature_extraction import (
    ClipAnalyzer,
    ClipFeatures,
    ExtractedClip,
    OpenJudges,
    box_key,
    judge_key,
)
from evaluation.runner.frame_pass import PairScores
from evaluation.runner.pairs import ClipGroup, Item
from evaluation.runner.previews import previews
from evaluation.suite import describe_judge, extractors, unavailable
from evaluation.suite.base import (
    HEAD,
    ClipMetric,
    Entry,
    FrameExtractor,
    FrameMetric,
    SetMetric,
    columns_of,
)

OTHER_FRAMING = (
    "the aspect ratio differs from the reference's, so the two do not show the same view"
)
NO_REFERENCE = "no reference"
Pair = tuple[object, ...]
"""Cache key parts of a comparison: the two files' hashes, the reference's crop, changes of the
clip."""


class Comparison:
    """Frame metrics of one clip beside its reference: cached, or computed during the pass.

    Args:
        metrics: by name.
        opened: their functions.
        cache: where values are kept.
        pair: the two sides.
        reference: the reference's crops; they are read only where a metric is not cached.
    """

    def __init__(
        self,
        metrics: Mapping[str, FrameMetric],
        opened: OpenJudges,
        cache: FeatureCache,
        pair: Pair,
        reference: Iterator[np.ndarray],
    ) -> None:
        self._metrics, self._cache, self._pair = metrics, cache, pair
        self._values: dict[str, np.ndarray] = {}
        self._missing: dict[str, str] = {}
        wanted = {}
        for name, metric in metrics.items():
            known = cache.load(comparison_key(name, metric, pair))
            if known is not None:
                self._values[name] = known["values"]
                continue
            try:
                wanted[name] = metric, opened.function(name, metric)
            except Unavailable as error:
                self._missing[name] = str(error)
        self._scores = PairScores(wanted, reference, opened.device) if wanted else None

    @property
    def sinks(self) -> tuple[Callable[[np.ndarray], None], ...]:
        """Takers of the clip's crops; empty when everything is cached."""
        return (self._scores.add,) if self._scores is not None else ()

    def write(self, record: Record) -> None:
        """Cache what was computed and put the scores into the record."""
        record.missing |= self._missing
        if self._scores is not None:
            try:
                found = self._scores.values()
            except NotScored as error:
                record.missing |= dict.fromkeys(self._metrics, str(error))
                return
            for name, values in found.items():
                where = comparison_key(name, self._metrics[name], self._pair)
                self._cache.save(where, {"values": values})
            self._values |= found
        for name, metric in self._metrics.items():
            if name in self._values:
                record.put(name, metric.finish(float(self._values[name].mean())))


def comparison_key(name: str, metric: FrameMetric, pair: Pair) -> str:
    """Cache key of one metric's values of a pair."""
    judge = judge_key(describe_judge(metric))
    return key("pair", name, metric.version, metric.every, *judge, *pair)


class Scorer:
    """Scores groups with one set of judges.

    Args:
        entries: the metrics, from :func:`evaluation.suite.choose`.
        device: where models run.
        cache: where features are kept.
        align: one of :data:`evaluation.protocol.ALIGNMENTS`, or None.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        device: torch.device,
        cache: FeatureCache,
        align: str | None = None,
    ) -> None:
        self._align, self._cache = align, cache
        blocked = unavailable(entries)
        self._entries = {name: entry for name, entry in entries.items() if name not in blocked}
        self._opened, self._judges = OpenJudges(device), Judges()
        self._frame_metrics = {n: e for n, e in self._entries.items() if isinstance(e, FrameMetric)}
        self._still_metrics = {n: e for n, e in self._frame_metrics.items() if e.still}
        wanted = extractors(self._entries)
        self._analyzer = ClipAnalyzer(wanted, self._opened, self._judges, cache, align)
        self._controls = ControlMaker(self._analyzer)
        views = {e.view for e in wanted.values() if isinstance(e, FrameExtractor)}
        self._views = tuple(views | {HEAD})

    def close(self) -> None:
        """Free the landmark network."""
        self._judges.close()

    def score(self, group: ClipGroup) -> Iterator[Record]:
        """One record a clip: the reference's own and its controls' first when the group reports
        them."""
        reference: ExtractedClip | None = None
        if group.reference is not None:
            record = record_of(group.reference)
            reference = _guarded(record, partial(self._score_reference, group))
            if group.scores_reference:
                yield record
            if reference is None:
                yield from _unusable(group, record)
                return
            for control in group.controls:
                record = record_of(group.reference, control)
                _guarded(record, partial(self._score_control, control, group, reference))
                yield record
        for item in group.items:
            record = record_of(item)
            _guarded(record, partial(self._score_item, item, reference))
            yield record

    def _compare(
        self, pair: Pair, reference: ExtractedClip, metrics: Mapping[str, FrameMetric]
    ) -> Comparison:
        crops = reference.protocol_crops()
        return Comparison(metrics, self._opened, self._cache, pair, crops)

    def _lacks(self, metrics: Mapping[str, FrameMetric], pair: Pair) -> bool:
        """Whether some metric of a comparison is not cached."""
        keys = (comparison_key(name, metric, pair) for name, metric in metrics.items())
        return not all(map(self._cache.has, keys))

    def _score_reference(self, group: ClipGroup, record: Record) -> ExtractedClip:
        item = group.reference
        record.facts["sha256"] = digest = _sha256(item.path)
        clip = self._analyzer.open(item, digest, None)
        box = box_key(clip.box)
        still = STILL in group.controls and (
            self._lacks(self._still_metrics, (digest, digest, box, STILL))
            or self._controls.lacks_still(digest, clip.box)
        )
        # An aligned clip's own square is not known before that clip is processed.
        compared = any(
            self._align or self._lacks(self._frame_metrics, (_sha256_or_none(i.path), digest, box))
            for i in group.items
        )
        crops = BoundedFrames()
        sinks = (crops.add,) if self._frame_metrics and (compared or still) else ()
        views = self._views if still else ()
        found = self._analyzer.extract(clip, sinks, views, previews(item))
        found.crops = crops
        record.facts |= _facts(found.clip.track)
        self._fill(record, found.clip, None)
        return found

    def _score_control(
        self, control: str, group: ClipGroup, reference: ExtractedClip, record: Record
    ) -> None:
        record.reference = reference.item.clip
        clip = self._controls.make(control, reference, group.other_audio)
        record.facts |= {"frames": len(clip.track)}
        if control == STILL:
            pair = reference.sha256, reference.sha256, box_key(reference.clip.track.box), STILL
            comparison = self._compare(pair, reference, self._still_metrics)
            for sink in comparison.sinks:
                for _ in range(len(clip.track)):
                    sink(reference.first[HEAD][0])
            comparison.write(record)
        self._fill(record, clip, reference.clip)

    def _score_item(self, item: Item, reference: ExtractedClip | None, record: Record) -> None:
        record.facts["sha256"] = digest = _sha256(item.path)
        beside = reference.clip.track if reference is not None else None
        clip = self._analyzer.open(item, digest, beside)
        comparison = None
        if reference is not None and clip.shared and self._frame_metrics:
            change = (self._align, *box_key(clip.box)) if self._align else ()
            pair = digest, reference.sha256, box_key(beside.box), *change
            comparison = self._compare(pair, reference, self._frame_metrics)
        sinks = comparison.sinks if comparison is not None else ()
        found = self._analyzer.extract(clip, sinks, also=previews(item))
        record.facts |= _facts(found.clip.track)
        if reference is not None:
            record.reference = reference.item.clip
            record.facts |= _match(found, reference, self._align)
            if comparison is not None:
                comparison.write(record)
            else:
                record.missing |= dict.fromkeys(self._frame_metrics, OTHER_FRAMING)
        self._fill(record, found.clip, reference.clip if reference else None)

    def _fill(self, record: Record, clip: ClipFeatures, reference: ClipFeatures | None) -> None:
        """Compute the clip metrics, and keep what metrics over sets need.

        A failing metric is recorded as missing and does not affect the others.
        """
        record.stored = dict(clip.stored)
        for name, entry in self._entries.items():
            if record.system.startswith(CONTROL) and not applies_to_control(entry, record.system):
                continue
            paired = isinstance(entry, FrameMetric) or (
                isinstance(entry, ClipMetric) and entry.needs_reference
            )
            if reference is None and paired:
                if record.system != REFERENCE:
                    record.missing |= {column.name: NO_REFERENCE for column in columns_of(entry)}
            elif not isinstance(entry, FrameMetric):
                _fill_metric(record, name, entry, clip, reference)


def _fill_metric(
    record: Record,
    name: str,
    entry: ClipMetric | SetMetric,
    clip: ClipFeatures,
    reference: ClipFeatures | None,
) -> None:
    try:
        if isinstance(entry, SetMetric):
            record.features |= entry.keep(clip) if entry.keep is not None else {}
            return
        found = entry.score(clip, reference)
        for column in entry.columns:
            if column.name in found.missing:
                record.missing[column.name] = found.missing[column.name]
            elif column.name in found.values:
                record.put(column.name, found.values[column.name])
        record.features |= {n: list(map(float, vector)) for n, vector in found.keep.items()}
        return
    except NotScored as error:
        reason = str(error)
    except Exception as error:
        # One metric's bug must not cost the clip its other scores; the traceback is printed.
        traceback.print_exc()
        reason = f"unexpected {type(error).__name__} in {name}: {error}"
    record.missing |= {column.name: reason for column in entry.columns}


def record_of(item: Item, control: str | None = None) -> Record:
    """An empty record of a clip, or of a control made of it."""
    system = control or item.system
    return Record(system, item.clip, item.emotion, item.level, dict(item.extra))


def _guarded(
    record: Record, score: Callable[[Record], ExtractedClip | None]
) -> ExtractedClip | None:
    """Score one clip; a failure is recorded and does not affect the others."""
    try:
        return score(record)
    except NotScored as error:
        record.failure = str(error)
    except Exception as error:
        # One clip must not cost the others their scores; the traceback of a bug is printed.
        traceback.print_exc()
        record.failure = f"unexpected {type(error).__name__}: {error}"
    record.values.clear()
    record.features.clear()
    return None


def _unusable(group: ClipGroup, reference: Record) -> Iterator[Record]:
    """The records of a group whose reference cannot be used."""
    records = [record_of(group.reference, control) for control in group.controls]
    for record in [*map(record_of, group.items), *records]:
        record.failure = f"its reference cannot be used: {reference.failure}"
        yield record


def _facts(track: Track) -> dict[str, Any]:
    width, height = track.size
    size = {"width": width, "height": height}
    return {"frames": len(track), "frames_without_face": int((~track.seen).sum()), **size}


def _match(found: ExtractedClip, reference: ExtractedClip, align: str | None) -> dict[str, Any]:
    """The time that both clips cover, and the crop of the first."""
    mine, theirs = len(found.clip.track), len(reference.clip.track)
    return {
        "reference_frames": theirs,
        "compared_frames": min(mine, theirs),
        "length_difference_s": round((mine - theirs) / FPS, 4),
        "framing": "own" if not found.shared else f"aligned by {align}" if align else "shared",
    }


@lru_cache(maxsize=1024)
def _hash(path: Path, size: int, modified: int) -> str:
    del size, modified
    return sha256_of(path)


def _sha256(path: Path) -> str:
    """Hash of a file, computed once as long as it stays the same; NotScored when it cannot be
    read."""
    try:
        stat = path.stat()
        return _hash(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise NotScored(f"{path.name} cannot be read ({error.strerror})") from None


def _sha256_or_none(path: Path) -> str | None:
    """The same; None for a file that cannot be read, which is reported when its own turn comes."""
    try:
        return _sha256(path)
    except NotScored:
        return None


def score_groups(
    groups: Sequence[ClipGroup],
    entries: Mapping[str, Entry],
    device: torch.device,
    cache: FeatureCache,
    skip: frozenset[tuple[str, str]],
    align: str | None = None,
) -> Iterator[Record]:
    """Score groups one after the other; clips ``(system, clip)`` in ``skip`` are known and
    skipped."""
    if not groups:
        return
    scorer = Scorer(entries, device, cache, align)
    try:
        for group in groups:
            wanted = without(group, skip)
            if wanted is not None:
                yield from scorer.score(wanted)
    finally:
        scorer.close()


def without(group: ClipGroup, skip: frozenset[tuple[str, str]]) -> ClipGroup | None:
    """The group with only what is not known yet; None when all is."""
    items = tuple(item for item in group.items if (item.system, item.clip) not in skip)
    if group.reference is None:
        return replace(group, items=items) if items else None
    clip = group.reference.clip
    controls = tuple(control for control in group.controls if (control, clip) not in skip)
    reports = group.scores_reference and (REFERENCE, clip) not in skip
    rest = replace(group, items=items, controls=controls, scores_reference=reports)
    return rest if items or controls or reports else None
