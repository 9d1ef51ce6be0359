"""A shard set at a glance: the data card as text, and what a page of histograms and a picture need to know of its clips."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datamodules.shards.schema import Sample, SampleError, decode
from datamodules.shards.tar_io import PARTS_OF, VIDEO, ShardIndex, ShardInfo, members_for, read_tar
from emo_lightning.media.loudness import SpeechLevel
from emo_lightning.motion.emotions import EMOTIONS

UNKNOWN = "unknown"


def data_card(index: ShardIndex, name: str) -> str:
    """The card: size, splits, speakers, emotion x level table, failures by reason, notes.

    Args:
        index: of the set.
        name: what to call it.
    """
    shards, size = len(index.shards), sum(shard.bytes for shard in index.shards)
    lines = [
        f"{name}: {index.samples} clips, {duration(index.hours)}, {len(index.speakers)} speakers, {shards} shards, {size / 1e6:.1f} MB",
        f"coefficients: {index.layout.describe()}",
        "",
        f"{'split':<10}{'clips':>8}{'minutes':>10}{'speakers':>10}",
    ]
    for split, row in index.splits.items():
        lines.append(
            f"{split:<10}{row['samples']:>8}{row['seconds'] / 60:>10.1f}{len(row['speakers']):>10}"
        )
    kinds: Counter[str] = Counter()
    for shard in index.shards:
        kinds[shard.set] += shard.samples
    lines += [
        "",
        "sets: " + ", ".join(f"{kind} {count} clips" for kind, count in kinds.items()),
        "",
    ]
    lines += [*_emotion_table(index), "", *_people(index), ""]
    total = sum(index.failures.values())
    lines.append(f"failures: {total or 'none'}")
    lines += [
        f"  {count:>6}  {reason}"
        for reason, count in sorted(index.failures.items(), key=lambda item: (-item[1], item[0]))
    ]
    lines += [f"note: {note}" for note in index.notes]
    return "\n".join(lines)


def duration(hours: float) -> str:
    """A length in hours, or in minutes where hours would be all zeros."""
    return f"{hours:.2f} h" if hours >= 0.1 else f"{60 * hours:.1f} min"


def _emotion_table(index: ShardIndex) -> list[str]:
    """Clips by emotion (rows) and rounded level (columns); columns that no clip is in are left out."""
    met = {level for row in index.emotions.values() for level in row}
    levels = [str(n) for n in range(1, 16) if str(n) in met] + [UNKNOWN] * (UNKNOWN in met)
    lines = [
        f"{'emotion':<11}"
        + "".join(
            f"{'no level' if level == UNKNOWN else level:>{9 if level == UNKNOWN else 5}}"
            for level in levels
        )
    ]
    lines[0] += f"{'all':>7}"
    for emotion in (*EMOTIONS, UNKNOWN):
        if row := index.emotions.get(emotion):
            cells = "".join(
                f"{row.get(level) or '.':>{9 if level == UNKNOWN else 5}}" for level in levels
            )
            lines.append(f"{emotion:<11}{cells}{sum(row.values()):>7}")
    return lines


def _people(index: ShardIndex, most: int = 12) -> list[str]:
    """The speakers with the most speech."""
    ordered = sorted(index.speakers.items(), key=lambda item: (-item[1]["seconds"], item[0]))
    lines = [f"{'speaker':<24}{'clips':>8}{'minutes':>10}  split"]
    lines += [
        f"{name[:23]:<24}{row['samples']:>8}{row['seconds'] / 60:>10.1f}  {row['split']}"
        for name, row in ordered[:most]
    ]
    return lines + ([f"... and {len(ordered) - most} more"] if len(ordered) > most else [])


@dataclass(frozen=True)
class Seen:
    """A clip that could be shown: where it is and what it is labelled."""

    shard: ShardInfo
    key: str
    emotion: str
    speaker: str
    level: float | None
    intensity: int | None = None


@dataclass
class Measures:
    """Numbers of the clips looked at, by name; a clip that lacks a part is not in its lists.

    Attributes:
        seen: the clips.
        values: name -> one number a clip.
        aus: emotion -> mean action units ``(17,)`` of each clip.
        flags: quality flag -> clips that bear it.
        bad: reason -> clips that could not be read.
    """

    seen: list[Seen] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    aus: dict[str, list[np.ndarray]] = field(default_factory=dict)
    flags: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)

    def add(self, shard: ShardInfo, sample: Sample) -> None:
        """Take in one clip."""
        meta = sample.meta
        self.seen.append(
            Seen(
                shard, sample.key, meta.emotion or UNKNOWN, meta.speaker, meta.level, meta.intensity
            )
        )
        quality = meta.extra.get("quality")
        quality = quality if isinstance(quality, dict) else {}
        numbers = {
            "length, s": meta.frames / meta.fps,
            "annotated intensity": meta.intensity,
            "level": meta.level,
            **_numbers(sample),
        }
        numbers |= {
            name.replace("_", " "): quality.get(name)
            for name in ("sharpness", "speech_share", "face_pixels")
        }
        for name, value in numbers.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                self.values.setdefault(name, []).append(float(value))
        if sample.au is not None:
            self.aus.setdefault(meta.emotion or UNKNOWN, []).append(sample.au.mean(0))
        flags = meta.extra.get("flags")
        self.flags.update(str(flag) for flag in (flags if isinstance(flags, list) else ()))


def _numbers(sample: Sample) -> dict[str, float]:
    """One number a clip of each part."""
    numbers = {}
    if sample.wave is not None:
        meter = SpeechLevel()
        meter.push(sample.wave)
        numbers["speech, dB below full scale"] = meter.level()
    if sample.coefficients is not None:
        angles = np.degrees(sample.coefficients["angle"]).mean(0).tolist()
        numbers |= {
            f"{name}, degrees": angle
            for name, angle in zip(("pitch", "yaw", "roll"), angles, strict=True)
        }
    if sample.landmarks is not None:
        height = np.ptp(sample.landmarks[..., 1], axis=1)
        numbers["face height, share of the crop"] = float(height.mean() / 2)
    return numbers


def measure(
    folder: str | Path,
    index: ShardIndex,
    clips: int = 2000,
    progress: Callable[[int, int], None] | None = None,
) -> Measures:
    """Measure a set, or where it is larger than about ``clips`` clips, archives evenly spaced over it.

    Args:
        folder: the set.
        index: of the set.
        clips: how many are enough.
        progress: called with (archives done, archives in all).
    """
    measures = Measures()
    shards = [shard for shard in index.shards if shard.set != VIDEO]
    shards = shards[:: max(1, index.samples // clips)]
    for number, shard in enumerate(shards):
        for sample in read_shard(Path(folder) / shard.name, shard, index, measures.bad):
            measures.add(shard, sample)
        if progress is not None:
            progress(number + 1, len(shards))
    return measures


def read_shard(
    path: Path, shard: ShardInfo, index: ShardIndex, bad: Counter[str], key: str | None = None
) -> Iterator[Sample]:
    """An archive's good samples with every part that its set has in it; bad ones are counted by reason.

    Args:
        path: where it lies; one that is missing counts as ``bad_archive``.
        shard: what the index says of it.
        index: of the set.
        bad: counts.
        key: only this sample.
    """
    parts = (
        {"coefficients", "video"}
        if shard.set == VIDEO
        else PARTS_OF[shard.set] - ({"video"} if shard.set == "light" else set())
    )
    try:
        stream = open(path, "rb")
    except OSError:
        bad["bad_archive"] += 1
        return
    with stream:
        for name, members in read_tar(stream, members_for(parts)):
            try:
                if isinstance(members, SampleError):
                    raise members
                if key in (None, name):
                    yield decode(name, members, parts, index.layout)
            except SampleError as error:
                bad[error.reason] += 1
