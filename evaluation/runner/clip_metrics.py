"""Clip metrics into a clip's record: whatever one metric cannot do stays with that metric."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from evaluation.protocol import CONTROL, REFERENCE, NotScored
from evaluation.records import Record
from evaluation.runner.clip_features import SeenClip
from evaluation.runner.controls import scored
from evaluation.suite.base import ClipMetric, Entry, FrameMetric, SetMetric, columns_of

NO_REFERENCE = "no reference"


def fill(
    record: Record, entries: Mapping[str, Entry], clip: SeenClip, reference: SeenClip | None
) -> None:
    """Score a clip by every clip metric that speaks to its row, and keep what metrics over sets will want."""
    record.stored = dict(clip.stored)
    for name, entry in entries.items():
        if record.system.startswith(CONTROL) and not scored(entry, record.system):
            continue
        if (
            reference is None
            and not isinstance(entry, SetMetric)
            and (isinstance(entry, FrameMetric) or entry.needs_reference)
        ):
            if record.system != REFERENCE:
                record.missing |= {column.name: NO_REFERENCE for column in columns_of(entry)}
        elif not isinstance(entry, FrameMetric):
            _guarded(record, name, entry, clip, reference)


def _guarded(
    record: Record,
    name: str,
    entry: ClipMetric | SetMetric,
    clip: SeenClip,
    reference: SeenClip | None,
) -> None:
    try:
        _score(record, entry, clip, reference)
        return
    except NotScored as error:
        reason = str(error)
    except Exception as error:
        # One metric's mistake must not cost the clip its other scores; it is shown in full as well.
        traceback.print_exc()
        reason = f"unexpected {type(error).__name__} in {name}: {error}"
    record.missing |= {column.name: reason for column in entry.columns}


def _score(
    record: Record, entry: ClipMetric | SetMetric, clip: SeenClip, reference: SeenClip | None
) -> None:
    if isinstance(entry, SetMetric):
        record.features |= entry.keep(clip) if entry.keep is not None else {}
        return
    found = entry.score(clip, reference)
    for column in entry.columns:
        if column.name in found.missing:
            record.missing[column.name] = found.missing[column.name]
        elif column.name in found.values:
            record.put(column.name, found.values[column.name])
    record.features |= {name: list(map(float, vector)) for name, vector in found.keep.items()}
