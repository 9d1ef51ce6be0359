"""Scores one group of clips: the reference is looked at once, then its controls and every clip that is compared with it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from emo_lightning.core.constants import FPS
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.crop import CropBox
from evaluation.judges.landmark_track import Judges
from evaluation.protocol import REFERENCE, STILL, NotScored
from evaluation.records import Record
from evaluation.runner.cache import FeatureCache
from evaluation.runner.clip_metrics import fill
from evaluation.runner.clip_reader import Crops
from evaluation.runner.comparison import Comparer, Comparison, pair_of
from evaluation.runner.controls import ControlMaker
from evaluation.runner.feature_extraction import Watched, Watcher, box_numbers
from evaluation.runner.frame_pass import Sink
from evaluation.runner.judge_registry import Opened, unavailable
from evaluation.runner.pairs import Group, Item
from evaluation.runner.previews import previews
from evaluation.suite import extractors
from evaluation.suite.base import HEAD, Entry, FrameExtractor, FrameMetric, View

OTHER_FRAMING = (
    "the picture's aspect ratio differs from the reference's, so the two do not show the same view"
)


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
        self._align = align
        blocked = unavailable(entries)
        self._entries = {name: entry for name, entry in entries.items() if name not in blocked}
        opened, self._judges = Opened(device), Judges()
        frame_metrics = {name: e for name, e in self._entries.items() if isinstance(e, FrameMetric)}
        self._all = Comparer(frame_metrics, opened, cache)
        self._still = Comparer(
            {name: e for name, e in frame_metrics.items() if e.still}, opened, cache
        )
        wanted = extractors(self._entries)
        self._watcher = Watcher(wanted, opened, self._judges, cache, align)
        self._controls = ControlMaker(wanted, self._watcher)
        self._views = tuple(
            {e.view for e in wanted.values() if isinstance(e, FrameExtractor)} | {HEAD}
        )

    def close(self) -> None:
        self._judges.close()

    def score(self, group: Group) -> Iterator[Record]:
        """One record a clip: the reference's own and its controls' first when the group reports them, then the others in order."""
        reference: Watched | None = None
        if group.reference is not None:
            record, reference = self._guarded(
                group.reference, None, lambda record: self._watch_reference(group, record)
            )
            if group.scores_reference:
                yield record
            if reference is None:
                yield from _unusable(group, record)
                return
        for control in group.controls if reference is not None else ():
            yield self._guarded(
                reference.item,
                control,
                lambda record, c=control: self._score_control(c, group, reference, record),
            )[0]
        for item in group.items:
            yield self._guarded(
                item, None, lambda record, item=item: self._score_item(item, reference, record)
            )[0]

    def _guarded(
        self, item: Item, control: str | None, score: Callable[[Record], Watched | None]
    ) -> tuple[Record, Watched | None]:
        """Run one clip's scoring; whatever goes wrong stays with the clip."""
        record = Record(
            control or item.system, item.clip, item.emotion, item.level, dict(item.extra)
        )
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

    def _watch_reference(self, group: Group, record: Record) -> Watched:
        item = group.reference
        record.facts["sha256"] = digest = _sha256(item.path)
        crops = Crops()

        def prepare(box: CropBox, shared: bool) -> tuple[Sink | None, Sequence[View]]:
            del shared
            still = STILL in group.controls and (
                self._still.lacks(pair_of(digest, digest, box, STILL))
                or self._controls.lacks_still(digest, box)
            )
            # Where an aligned clip's square lies is not known before it is looked at.
            compared = any(
                self._align or self._all.lacks(pair_of(_quiet_sha256(i.path), digest, box))
                for i in group.items
            )
            wants_crops = self._all.metrics and (compared or still)
            return (crops.add if wants_crops else None), (self._views if still else ())

        found = self._watcher.watch(item, digest, None, prepare, previews(item))
        found.crops = crops
        record.facts |= _facts(found)
        fill(record, self._entries, found.clip, None)
        return found

    def _score_control(
        self, control: str, group: Group, reference: Watched, record: Record
    ) -> None:
        record.reference = reference.item.clip
        clip = self._controls.make(control, reference, group.other_sound)
        record.facts |= {"frames": len(clip.track)}
        if control == STILL:
            pair = pair_of(reference.sha256, reference.sha256, reference.box, STILL)
            comparison = self._still.begin(pair, reference.protocol_crops)
            if comparison.sink is not None:
                for _ in range(len(clip.track)):
                    comparison.sink(reference.look.first[HEAD][0])
            comparison.finish(record)
        fill(record, self._entries, clip, reference.clip)

    def _score_item(self, item: Item, reference: Watched | None, record: Record) -> None:
        record.facts["sha256"] = digest = _sha256(item.path)
        comparison: Comparison | None = None

        def prepare(box: CropBox, shared: bool) -> tuple[Sink | None, Sequence[View]]:
            nonlocal comparison
            if shared and self._all.metrics:
                change = (self._align, *box_numbers(box)) if self._align else ()
                comparison = self._all.begin(
                    pair_of(digest, reference.sha256, reference.box, *change),
                    reference.protocol_crops,
                )
            return (comparison.sink if comparison is not None else None), ()

        found = self._watcher.watch(
            item, digest, reference.clip.track if reference else None, prepare, previews(item)
        )
        record.facts |= _facts(found)
        if reference is not None:
            record.reference = reference.item.clip
            record.facts |= _match(found, reference, self._align)
            if comparison is not None:
                comparison.finish(record)
            else:
                record.missing |= dict.fromkeys(self._all.metrics, OTHER_FRAMING)
        fill(record, self._entries, found.clip, reference.clip if reference else None)


def _unusable(group: Group, reference: Record) -> Iterator[Record]:
    """The records of a group whose reference cannot be used."""
    why = f"its reference cannot be used: {reference.failure}"
    for item in group.items:
        yield Record(
            item.system, item.clip, item.emotion, item.level, dict(item.extra), failure=why
        )
    for control in group.controls:
        yield Record(
            control,
            reference.clip,
            reference.emotion,
            reference.level,
            dict(reference.extra),
            failure=why,
        )


def _facts(found: Watched) -> dict[str, Any]:
    track = found.clip.track
    faceless = int((~track.seen).sum())
    return {
        "frames": len(track),
        "frames_without_face": faceless,
        "width": track.size[0],
        "height": track.size[1],
    }


def _match(found: Watched, reference: Watched, align: str | None) -> dict[str, Any]:
    """How far the two clips cover the same time, and through which square the first was seen."""
    mine, theirs = len(found.clip.track), len(reference.clip.track)
    lengths = {
        "reference_frames": theirs,
        "compared_frames": min(mine, theirs),
        "length_difference_s": round((mine - theirs) / FPS, 4),
    }
    return {
        **lengths,
        "framing": "own" if not found.shared else f"aligned by {align}" if align else "shared",
    }


@lru_cache(maxsize=1024)
def _hash(path: Path, size: int, modified: int) -> str:
    del size, modified
    return sha256_of(path)


def _sha256(path: Path) -> str:
    """Hash of a file, taken once as long as it stays the same; NotScored when it cannot be read."""
    try:
        stat = path.stat()
        return _hash(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise NotScored(f"{path.name} cannot be read ({error.strerror})") from None


def _quiet_sha256(path: Path) -> str:
    """The same; empty for a file that cannot be read, which is said when its own turn comes."""
    try:
        return _sha256(path)
    except NotScored:
        return ""


def score_groups(
    groups: Sequence[Group],
    entries: Mapping[str, Entry],
    device: torch.device,
    cache: FeatureCache,
    skip: frozenset[tuple[str, str]],
    align: str | None = None,
) -> Iterator[Record]:
    """Score groups one after the other; clips ``(system, clip)`` in ``skip`` are known already and left out."""
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


def without(group: Group, skip: frozenset[tuple[str, str]]) -> Group | None:
    """The group with only what is not known yet; None when all is."""
    items = tuple(item for item in group.items if (item.system, item.clip) not in skip)
    if group.reference is None:
        return replace(group, items=items) if items else None
    controls = tuple(
        control for control in group.controls if (control, group.reference.clip) not in skip
    )
    reports = group.scores_reference and (REFERENCE, group.reference.clip) not in skip
    return (
        replace(group, items=items, controls=controls, scores_reference=reports)
        if items or controls or reports
        else None
    )
