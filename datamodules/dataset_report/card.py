"""The data card of a shard set as text, and the clip statistics behind page and contact sheet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datamodules.shards.index import ShardIndex, ShardInfo
from datamodules.shards.reader import decode_shard
from datamodules.shards.schema import Sample
from emo_lightning.media.loudness import SpeechLevel
from emo_lightning.motion.emotions import EMOTIONS

UNKNOWN = "unknown"
MAX_SPEAKERS = 12


def data_card(index: ShardIndex, name: str) -> str:
    """The card: size, splits, speakers, emotion x level table, failures by reason, notes.

    Args:
        index: of the set.
        name: of the set, for the title.
    """
    shards, size = len(index.shards), sum(shard.bytes for shard in index.shards)
    head = f"{name}: {index.samples} clips, {duration(index.hours)}, {len(index.speakers)} speakers"
    lines = [
        f"{head}, {shards} shards, {size / 1e6:.1f} MB",
        f"coefficients: {index.layout.describe()}",
        "",
        f"{'split':<10}{'clips':>8}{'minutes':>10}{'speakers':>10}",
    ]
    for split, row in index.splits.items():
        minutes, speakers = row["seconds"] / 60, len(row["speakers"])
        lines.append(f"{split:<10}{row['samples']:>8}{minutes:>10.1f}{speakers:>10}")
    lines += ["", f"sets: {set_sizes(index)}", "", *_emotion_table(index), ""]
    ordered = sorted(index.speakers.items(), key=lambda item: (-item[1]["seconds"], item[0]))
    lines.append(f"{'speaker':<24}{'clips':>8}{'minutes':>10}  split")
    for speaker, row in ordered[:MAX_SPEAKERS]:
        minutes = row["seconds"] / 60
        lines.append(f"{speaker[:23]:<24}{row['samples']:>8}{minutes:>10.1f}  {row['split']}")
    if len(ordered) > MAX_SPEAKERS:
        lines.append(f"... and {len(ordered) - MAX_SPEAKERS} more")
    lines += ["", f"failures: {sum(index.failures.values()) or 'none'}"]
    reasons = sorted(index.failures.items(), key=lambda item: (-item[1], item[0]))
    lines += [f"  {count:>6}  {reason}" for reason, count in reasons]
    return "\n".join([*lines, *(f"note: {note}" for note in index.notes)])


def duration(hours: float) -> str:
    """A length in hours, or in minutes where hours would be all zeros."""
    return f"{hours:.2f} h" if hours >= 0.1 else f"{60 * hours:.1f} min"


def set_sizes(index: ShardIndex) -> str:
    """Clips of each set, such as ``light 12 clips, audio 3 clips``."""
    sizes: Counter[str] = Counter()
    for shard in index.shards:
        sizes[shard.set] += shard.samples
    return ", ".join(f"{kind} {count} clips" for kind, count in sizes.items())


def _emotion_table(index: ShardIndex) -> list[str]:
    """Clips by emotion (rows) and rounded level (columns with any clip)."""
    known = {level for row in index.emotions.values() for level in row}
    widths = {str(n): 5 for n in range(1, 16) if str(n) in known}
    widths |= {UNKNOWN: 9} if UNKNOWN in known else {}
    titles = [f"{'no level' if n == UNKNOWN else n:>{width}}" for n, width in widths.items()]
    lines = [f"{'emotion':<11}{''.join(titles)}{'all':>7}"]
    for emotion in (*EMOTIONS, UNKNOWN):
        if row := index.emotions.get(emotion):
            cells = "".join(f"{row.get(n) or '.':>{width}}" for n, width in widths.items())
            lines.append(f"{emotion:<11}{cells}{sum(row.values()):>7}")
    return lines


@dataclass(frozen=True)
class ClipEntry:
    """A clip that can be shown: its place and labels."""

    shard: ShardInfo
    key: str
    emotion: str
    speaker: str
    level: float | None
    intensity: int | None = None


@dataclass
class ClipStatistics:
    """Numbers of the clips read, by name; a clip that lacks a part is not in its lists.

    Attributes:
        clips: those read.
        values: name -> one number a clip.
        aus: emotion -> mean action units ``(17,)`` of each clip.
        flags: quality flag -> clips that bear it.
        bad: reason -> clips that could not be read.
    """

    clips: list[ClipEntry] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    aus: dict[str, list[np.ndarray]] = field(default_factory=dict)
    flags: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)

    def add(self, shard: ShardInfo, sample: Sample) -> None:
        """Add one clip's numbers."""
        meta = sample.meta
        emotion = meta.emotion or UNKNOWN
        labels = (meta.speaker, meta.level, meta.intensity)
        self.clips.append(ClipEntry(shard, sample.key, emotion, *labels))
        quality = meta.extra.get("quality")
        quality = quality if isinstance(quality, dict) else {}
        numbers = {"length, s": meta.frames / meta.fps, "annotated intensity": meta.intensity}
        numbers |= {"level": meta.level, **_numbers(sample)}
        for name in ("sharpness", "speech_share", "face_pixels"):
            numbers[name.replace("_", " ")] = quality.get(name)
        for name, value in numbers.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                self.values.setdefault(name, []).append(float(value))
        if sample.au is not None:
            self.aus.setdefault(emotion, []).append(sample.au.mean(0))
        flags = meta.extra.get("flags")
        self.flags.update(str(flag) for flag in (flags if isinstance(flags, list) else ()))


def _numbers(sample: Sample) -> dict[str, float]:
    """One number a clip of each part."""
    numbers = {}
    if sample.wave is not None:
        meter = SpeechLevel()
        meter.add(sample.wave)
        numbers["speech, dB below full scale"] = meter.level()
    if sample.coefficients is not None:
        angles = np.degrees(sample.coefficients["angle"]).mean(0).tolist()
        names = ("pitch", "yaw", "roll")
        numbers |= {f"{n}, degrees": angle for n, angle in zip(names, angles, strict=True)}
    if sample.landmarks is not None:
        height = np.ptp(sample.landmarks[..., 1], axis=1)
        numbers["face height, share of the crop"] = float(height.mean() / 2)
    return numbers


def collect_statistics(
    folder: str | Path,
    index: ShardIndex,
    clips: int = 2000,
    progress: Callable[[int, int], None] | None = None,
) -> ClipStatistics:
    """Statistics of a set; of evenly spaced shards where it has more than about ``clips`` clips.

    Args:
        folder: the set.
        index: of the set.
        clips: how many are enough.
        progress: called with (shards done, shards in all).
    """
    statistics = ClipStatistics()
    shards = index.without_video[:: max(1, index.samples // clips)]
    for number, shard in enumerate(shards):
        parts = shard.parts - {"video"}
        for sample in decode_shard(Path(folder), shard, index, parts, statistics.bad):
            statistics.add(shard, sample)
        if progress is not None:
            progress(number + 1, len(shards))
    return statistics
