"""Clips as the metrics see them: one with all that was found in it, and a system's clips with what lies in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evaluation.judges.landmark_track import Track
from evaluation.protocol import REFERENCE, NotScored
from evaluation.records import Record
from evaluation.runner.cache import FeatureCache
from evaluation.suite.base import Features


@dataclass
class SeenClip:
    """One clip after it was looked at.

    Attributes:
        name, emotion, level, extra: as in the pairing.
        track: its landmarks.
        found: extractor -> its features, or why it has none.
        stored: extractor -> their key in the cache.
    """

    name: str
    emotion: str | None
    level: float | None
    extra: Mapping[str, str]
    track: Track
    found: dict[str, Features | str] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)

    def features(self, extractor: str) -> Features:
        """Its features; NotScored with the reason why there are none."""
        found = self.found.get(extractor, f"{extractor} was not asked")
        if isinstance(found, str):
            raise NotScored(found)
        return found

    def with_features(
        self,
        found: Mapping[str, Features | str],
        stored: Mapping[str, str],
        track: Track | None = None,
    ) -> SeenClip:
        """The same clip with some other features and perhaps another track."""
        kept = {name: key for name, key in self.stored.items() if name not in found}
        return replace(
            self,
            track=track or self.track,
            found={**self.found, **found},
            stored={**kept, **stored},
        )


class StoredSet:
    """A system's scored clips, sorted by clip; features are read from the cache one clip at a time.

    Args:
        records: all records of one system that were scored.
        references: scored reference records by clip, or None for the references themselves.
        cache: where features lie.
    """

    def __init__(
        self,
        records: Sequence[Record],
        references: Mapping[str, Record] | None,
        cache: FeatureCache | None,
    ) -> None:
        self.records = sorted(records, key=lambda record: record.clip)
        self._references, self._cache = references, cache
        names = sorted({r.reference for r in self.records if r.reference is not None})
        found = (
            [references[name] for name in names if name in references]
            if references is not None
            else []
        )
        self.reference = StoredSet(found, None, cache) if found else None

    def paired(self) -> StoredSet:
        """Only the clips that have a reference."""
        return StoredSet(
            [r for r in self.records if r.reference is not None], self._references, self._cache
        )

    def features(self, extractor: str) -> Iterator[tuple[Record, Features]]:
        """Each clip that has features of this extractor, with them."""
        if self._cache is None:
            return
        for record in self.records:
            name = record.stored.get(extractor)
            found = self._cache.load(name) if name is not None else None
            if found is not None:
                yield record, found


def scored_sets(
    records: Sequence[Record], systems: Sequence[str], cache: FeatureCache | None
) -> dict[str, StoredSet]:
    """Each system's scored clips beside the references that belong to them."""
    scored = [record for record in records if record.failure is None]
    references = {record.clip: record for record in scored if record.system == REFERENCE}
    return {
        system: StoredSet(
            [r for r in scored if r.system == system],
            None if system == REFERENCE else references,
            cache,
        )
        for system in systems
    }
