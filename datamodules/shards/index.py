"""The index of a shard set: ``index.json`` lists its shards with their hashes, and what they hold.

A folder holds two parallel sets, ``light-SPLIT-000000.tar`` (record, audio, coefficients, AUs,
landmarks) and ``video-SPLIT-000000.tar`` (record, coefficients, mp4), with the same samples in the
same order in shards of the same number. Two more sets hold clips that lack one half:
``audio-SPLIT-...`` (record, audio) and ``mute-SPLIT-...`` (everything but audio), which stage 3
reads after the video set. A shard holds one split only.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datamodules.shards.schema import PARTS
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Layout

INDEX = "index.json"
INDEX_FORMAT, INDEX_VERSION = "emo-lightning-shards", 1
LIGHT, VIDEO, AUDIO, MUTE = "light", "video", "audio", "mute"
PARTS_OF = {LIGHT: frozenset(PARTS), AUDIO: frozenset({"wave"}), MUTE: frozenset(PARTS) - {"wave"}}
"""Parts of a sample of each set; a light one is read together with its twin in the video set."""
_TWIN = {LIGHT: VIDEO, VIDEO: LIGHT}
_TABLES = ("splits", "speakers", "emotions", "failures", "notes", "provenance")
_ACCEPTED = f"a folder with {INDEX} and shards, as emo preprocess and emo corpus write it"


@dataclass(frozen=True)
class ShardInfo:
    """One shard: file name, set (light, video, audio or mute), split, samples, bytes, SHA-256."""

    name: str
    set: str
    split: str
    samples: int
    bytes: int
    sha256: str

    @property
    def twin(self) -> str | None:
        """Name of the shard with the other half of the same samples; None for audio and mute."""
        if self.set not in _TWIN:
            return None
        return self.name.replace(f"{self.set}-{self.split}", f"{_TWIN[self.set]}-{self.split}")

    @property
    def parts(self) -> frozenset[str]:
        """Parts of a sample that this shard alone holds."""
        if self.set == VIDEO:
            return frozenset({"coefficients", "video"})
        return PARTS_OF[self.set] - ({"video"} if self.set == LIGHT else set())


@dataclass
class ShardIndex:
    """Content of a folder of shards.

    Attributes:
        layout: of every sample's coefficients.
        shards: in reading order.
        splits: split -> samples, seconds and speakers.
        speakers: speaker -> samples, seconds and split.
        emotions: emotion (or ``unknown``) -> level, rounded (or ``unknown``) -> samples.
        failures: reason -> clips, or parts of clips, that did not become samples.
        notes: for readers of the data card, in sentences.
        provenance: how the set was made.
    """

    layout: Layout
    shards: list[ShardInfo] = field(default_factory=list)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    speakers: dict[str, dict[str, Any]] = field(default_factory=dict)
    emotions: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        return sum(split["samples"] for split in self.splits.values())

    @property
    def hours(self) -> float:
        return sum(split["seconds"] for split in self.splits.values()) / 3600.0

    def of(self, kind: str, split: str) -> list[ShardInfo]:
        """Shards of one set and split in reading order; ``video`` includes those of mute clips."""
        kinds = (VIDEO, MUTE) if kind == VIDEO else (kind,)
        return [shard for shard in self.shards if shard.set in kinds and shard.split == split]

    @property
    def without_video(self) -> list[ShardInfo]:
        """Every shard but those of the video set: each sample once."""
        return [shard for shard in self.shards if shard.set != VIDEO]

    def to_dict(self) -> dict[str, Any]:
        """Content of ``index.json``."""
        head = {"format": INDEX_FORMAT, "version": INDEX_VERSION}
        head |= {"samples": self.samples, "hours": round(self.hours, 6)}
        return head | asdict(self) | {"layout": self.layout.to_dict()}


def prepare_folder(out: Path, argument: str = "--out") -> None:
    """Make an output folder and its parents; UserError if unusable or a finished shard set."""
    problem = None
    if out.exists() and not out.is_dir():
        problem = "is a file"
    elif (out / INDEX).exists():
        problem = f"holds a finished shard set already ({INDEX})"
    else:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"cannot be made ({error.strerror})"
        if out.is_dir() and not os.access(out, os.W_OK):
            problem = "cannot be written to"
    if problem:
        accepted = "a new or empty folder that can be made and written to"
        raise UserError(argument, out, accepted, problem)


def read_index(folder: str | Path, argument: str = "data") -> ShardIndex:
    """Index of the shard set in a folder.

    Raises:
        UserError: no folder, no index, or not one that this version can read.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file():
        problem = f"holds no {INDEX}" if folder.is_dir() else "does not exist"
        raise UserError(argument, folder, _ACCEPTED, problem)
    return parse_index((folder / INDEX).read_bytes(), str(folder), argument)


def parse_index(content: bytes, where: str, argument: str = "data") -> ShardIndex:
    """Index from the bytes of ``index.json`` found at ``where``; UserError when it is not one."""
    try:
        record = json.loads(content)
        if record.get("format") != INDEX_FORMAT or record.get("version") != INDEX_VERSION:
            raise ValueError(f"format {record.get('format')!r} version {record.get('version')!r}")
        shards = [ShardInfo(**shard) for shard in record["shards"]]
        for shard in shards:
            if Path(shard.name).name != shard.name or shard.name.startswith("."):
                raise ValueError(f"shard name {shard.name!r}")
            if shard.set not in (*PARTS_OF, VIDEO):
                raise ValueError(f"shard set {shard.set!r}")
        tables = {name: record[name] for name in _TABLES}
        return ShardIndex(Layout.from_dict(record["layout"]), shards, **tables)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"has an {INDEX} that cannot be read ({error})"
        raise UserError(argument, where, _ACCEPTED, problem) from None
