"""Fine levels 1..15 from action units: a second pass over a set annotated in three intensities.

Inside each (emotion, annotated intensity) bucket, clips are ranked by how far their action units
move along the emotion's direction, and five quantiles give levels 1-5, 6-10 and 11-15. A clip's
score is the projection of (its mean units minus its speaker's mean units when neutral) on the
emotion's prototype, as a unit vector. The quantiles are those of the train split. The new index
records them under ``provenance.levels``, and each clip's record keeps its score and former level
under ``extra.level``. Measured accuracy: docs/howto/prepare-data.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.shards.derive import Progress, derive_set
from datamodules.shards.index import AUDIO, ShardIndex, prepare_folder, read_index
from datamodules.shards.reader import Members, decode_shard
from datamodules.shards.schema import Sample, SampleMeta
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import AU_NAMES, EXP_NAMES, read_aus
from emo_lightning.motion.emotions import ANNOTATED_LEVELS, EMOTIONS, NEUTRAL, prototype_exp

QUANTILES = (0.2, 0.4, 0.6, 0.8)
LEVELS_PER_INTENSITY = len(QUANTILES) + 1
MIN_CLIPS = 5
"""Clips of a bucket below which nothing is ranked, and all get the level in the middle."""
Bucket = tuple[str, int]
"""An emotion and an annotated intensity."""


@dataclass(frozen=True)
class RankedClip:
    """Labels and mean action units ``(17,)`` of a clip."""

    key: str
    meta: SampleMeta
    units: np.ndarray

    @staticmethod
    def of(sample: Sample) -> RankedClip:
        """From a decoded sample with action units."""
        assert sample.au is not None
        return RankedClip(sample.key, sample.meta, sample.au.mean(0).astype(np.float64))

    @property
    def bucket(self) -> Bucket | None:
        """Where it is ranked; None for neutral clips and those without a label."""
        emotion, intensity = self.meta.emotion, self.meta.intensity
        if emotion in (None, EMOTIONS[NEUTRAL]) or intensity is None:
            return None
        return emotion, intensity


@dataclass(frozen=True)
class Levels:
    """Levels found.

    Attributes:
        levels: key -> level; clips outside every bucket are absent.
        scores: key -> how far its units move along the emotion's direction.
        statistics: quantiles, directions and baselines behind them, as JSON.
    """

    levels: Mapping[str, float]
    scores: Mapping[str, float]
    statistics: dict[str, Any]


def add_levels(data: str | Path, out: str | Path, progress: Progress | None = None) -> ShardIndex:
    """Write a copy of a shard set with fine levels.

    Args:
        data: a finished set.
        out: a new or empty folder.
        progress: called with (shards done, shards in all), over both passes.

    Returns:
        The new index, with the statistics in ``provenance["levels"]``.

    Raises:
        UserError: a folder that cannot be used, or no clip with an emotion, an annotated intensity
            and action units.
    """
    data, index = Path(data), read_index(data, "DIR")
    prepare_folder(Path(out))
    shards, bad = index.without_video, Counter[str]()
    report = progress or (lambda done, total: None)
    clips: list[RankedClip] = []
    for number, shard in enumerate(shards):
        if shard.set != AUDIO:
            parts = shard.parts - {"video"}
            clips += map(RankedClip.of, decode_shard(data, shard, index, parts, bad))
        report(number + 1, 2 * len(shards))
    found = find_levels(clips)
    if not found.levels:
        accepted = "clips with an emotion, an annotated intensity (1 to 3) and action units"
        raise UserError("DIR", data, accepted, "has nothing to rank")

    def with_level(key: str, meta: SampleMeta, members: Members) -> tuple[SampleMeta, Members]:
        if key not in found.levels:
            return meta, members
        level = {"score": round(found.scores[key], 6), "before": meta.level}
        return replace(meta, level=found.levels[key], extra={**meta.extra, "level": level}), members

    note = "Fine levels were found from action units; provenance.levels describes the method."
    return derive_set(
        data,
        Path(out),
        with_level,
        {"levels": found.statistics},
        note,
        lambda done, total: report(total + done, 2 * total),
    )


def find_levels(clips: list[RankedClip]) -> Levels:
    """Rank clips and give them levels."""
    baselines, common = _baselines(clips)
    directions = {name: _direction(name) for name in EMOTIONS if name != EMOTIONS[NEUTRAL]}
    buckets: dict[Bucket, list[RankedClip]] = defaultdict(list)
    scores = {}
    for clip in clips:
        if clip.bucket is not None:
            buckets[clip.bucket].append(clip)
            moved = clip.units - baselines.get(clip.meta.speaker, common)
            scores[clip.key] = float(moved @ directions[clip.bucket[0]])
    levels, table = {}, {}
    for emotion, intensity in sorted(buckets, key=lambda b: (EMOTIONS.index(b[0]), b[1])):
        given, record = _bucket_levels(buckets[emotion, intensity], scores, intensity)
        levels |= given
        table.setdefault(emotion, {})[str(intensity)] = record

    def rounded(vector: np.ndarray) -> list[float]:
        return [round(float(x), 4) for x in vector]

    statistics = {
        "method": "mean action units minus the speaker's neutral ones, projected on the emotion's "
        "direction; quantiles of each bucket",
        "quantiles": list(QUANTILES),
        "units": list(AU_NAMES),
        "directions": {emotion: rounded(directions[emotion]) for emotion in table},
        "baseline": {
            "speakers_with_neutral_clips": sorted(baselines),
            "of_the_others": rounded(common),
        },
        "buckets": table,
        "without_level": sum(clip.bucket is None for clip in clips),
    }
    return Levels(levels, scores, statistics)


def _bucket_levels(
    members: list[RankedClip], scores: Mapping[str, float], intensity: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Levels of a bucket's clips, and its record."""
    basis = [scores[clip.key] for clip in members if clip.meta.split == "train"]
    source = "train"
    if len(basis) < MIN_CLIPS:
        source, basis = "all splits", [scores[clip.key] for clip in members]
    record: dict[str, Any] = {
        "clips": len(members),
        "quantiles_of": source,
        "mean": round(float(np.mean(basis)), 5),
        "sd": round(float(np.std(basis)), 5),
        "edges": None,
    }
    if len(basis) < MIN_CLIPS:
        return {clip.key: ANNOTATED_LEVELS[intensity] for clip in members}, record
    edges = np.quantile(basis, QUANTILES)
    first = 1 + LEVELS_PER_INTENSITY * (intensity - 1)
    places = {clip.key: np.searchsorted(edges, scores[clip.key], side="right") for clip in members}
    levels = {key: float(first + place) for key, place in places.items()}
    counts = Counter(round(level) for level in levels.values())
    record["edges"] = [round(float(edge), 5) for edge in edges]
    record["levels"] = {str(n): counts[n] for n in range(first, first + LEVELS_PER_INTENSITY)}
    return levels, record


def _baselines(clips: list[RankedClip]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each speaker's mean units when neutral, and the mean over those speakers for the others.

    The latter is zero where no clip is neutral.
    """
    neutral: dict[str, list[np.ndarray]] = defaultdict(list)
    for clip in clips:
        if clip.meta.emotion == EMOTIONS[NEUTRAL]:
            neutral[clip.meta.speaker].append(clip.units)
    own = {speaker: np.mean(rows, axis=0) for speaker, rows in neutral.items()}
    return own, np.mean(list(own.values()), axis=0) if own else np.zeros(len(AU_NAMES))


def _direction(emotion: str) -> np.ndarray:
    """The emotion's prototype among the action units, ``(17,)`` of length 1."""
    units = read_aus(prototype_exp(emotion, EXP_NAMES)).astype(np.float64)
    return units / np.linalg.norm(units)
