"""Whether a shard set is what its index says: every archive hashed, every sample read and held to the schema, every frame decoded.

Beyond the reasons of :data:`datamodules.shards.schema.REASONS` a finding can be one of :data:`SET_REASONS`.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from datamodules.shards.schema import EXTRAS, SampleError, SampleMeta, decode
from datamodules.shards.tar_io import (
    INDEX,
    LIGHT,
    PARTS_OF,
    VIDEO,
    ShardIndex,
    ShardInfo,
    file_sha256,
    read_index,
    read_tar,
)
from emo_lightning.face.coefficients import Layout
from emo_lightning.media.video_reader import decode_mp4_bytes

SET_REASONS = (
    "missing_shard",
    "wrong_size",
    "wrong_hash",
    "wrong_count",
    "wrong_split",
    "duplicate_key",
    "no_twin",
    "another_record",
    "unlisted_shard",
    "wrong_index",
)
"""An archive that is not there, has another size or hash or number of samples than listed; a sample of another split, twice in
the set, in only one of the light and video sets, or with different records there; an archive not listed; a total or table that
does not follow from the samples, or from the list of failures."""
FAILURES = "failures.jsonl"
_PARTS = {
    **PARTS_OF,
    LIGHT: PARTS_OF[LIGHT] - {"video"},
    VIDEO: frozenset({"coefficients", "video"}),
}


@dataclass(frozen=True)
class Finding:
    """Something wrong: where, with which sample (empty: the archive or index as a whole), why, and in a few words how."""

    shard: str
    key: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.shard}{f' {self.key}' if self.key else ''}: {self.reason}: {self.detail}"


@dataclass
class Verdict:
    """Archives and samples looked at (a clip of both sets is one sample), and what is wrong."""

    shards: int
    samples: int
    findings: list[Finding]


@dataclass
class _Look:
    """What one archive turned out to hold."""

    info: ShardInfo
    metas: dict[str, SampleMeta] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def verify(
    folder: str | Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    argument: str = "DIR",
) -> Verdict:
    """Look at everything in a shard set.

    Args:
        folder: the set.
        workers: processes that share the archives.
        progress: called with (archives done, archives in all).
        argument: what the user knows the folder by.

    Raises:
        UserError: there is no index that can be read, so nothing to hold the set to.
    """
    folder, index = Path(folder), read_index(folder, argument)
    looks = []
    for look in _looks(folder, index, workers):
        looks.append(look)
        if progress is not None:
            progress(len(looks), len(index.shards))
    findings = [finding for look in looks for finding in look.findings]
    findings += _unlisted(folder, index) + _across(looks)
    if not findings:
        # The tables are worth a word only where the samples are sound: otherwise they differ because of what was said above.
        findings = _tables(folder, index, looks)
    return Verdict(
        len(looks), sum(len(look.metas) for look in looks if look.info.set != VIDEO), findings
    )


def _looks(folder: Path, index: ShardIndex, workers: int) -> Iterator[_Look]:
    look = partial(_look, folder, index.layout)
    if workers == 1:
        yield from map(look, index.shards)
        return
    with multiprocessing.get_context("spawn").Pool(workers, cv2.setNumThreads, (1,)) as pool:
        yield from pool.imap(look, index.shards)


def _look(folder: Path, layout: Layout, info: ShardInfo) -> _Look:
    """Hash an archive and read every sample in it."""
    look, path = _Look(info), folder / info.name

    def wrong(key: str, reason: str, detail: str) -> None:
        look.findings.append(Finding(info.name, key, reason, detail))

    if not path.is_file():
        wrong("", "missing_shard", "listed and not there")
        return look
    if path.stat().st_size != info.bytes:
        wrong("", "wrong_size", f"{path.stat().st_size} bytes, {info.bytes} listed")
    elif file_sha256(path) != info.sha256:
        wrong("", "wrong_hash", "the content changed after the index was written")
    met = 0
    with open(path, "rb") as stream:
        for key, members in read_tar(stream):
            met += bool(key)
            try:
                if isinstance(members, SampleError):
                    raise members
                meta = _sound(key, members, info, layout)
            except SampleError as error:
                wrong(key[:80], error.reason, error.detail)
                continue
            if meta.split != info.split:
                wrong(key, "wrong_split", f"{meta.split} in an archive of {info.split}")
            if key in look.metas:
                wrong(key, "duplicate_key", "twice in the archive")
            look.metas[key] = meta
    if met != info.samples:
        wrong("", "wrong_count", f"{met} samples, {info.samples} listed")
    return look


def _sound(key: str, members: dict[str, bytes], info: ShardInfo, layout: Layout) -> SampleMeta:
    """A sample's record, once all of its members were read; SampleError where one does not keep to the schema."""
    sample = decode(key, members, _PARTS[info.set] | set(EXTRAS), layout)
    if sample.video is not None:
        try:
            frames = decode_mp4_bytes(sample.video)
        except ValueError as error:
            raise SampleError("bad_video", str(error)) from None
        if len(frames) != sample.meta.frames:
            raise SampleError(
                "length_mismatch", f"{len(frames)} pictures for {sample.meta.frames} frames"
            )
        if frames.shape[1] != frames.shape[2]:
            raise SampleError(
                "bad_video", f"pictures of {frames.shape[2]} x {frames.shape[1]} are not square"
            )
    return sample.meta


def _unlisted(folder: Path, index: ShardIndex) -> list[Finding]:
    listed = {shard.name for shard in index.shards}
    found = sorted(path.name for path in folder.glob("*.tar") if path.name not in listed)
    return [Finding(name, "", "unlisted_shard", f"not in {INDEX}") for name in found]


def _across(looks: list[_Look]) -> list[Finding]:
    """What only shows when archives are held against each other."""
    homes: dict[tuple[bool, str], _Look] = {}
    findings = []
    for look in looks:
        for key in look.metas:
            slot = (look.info.set == VIDEO, key)
            if slot in homes:
                findings.append(
                    Finding(
                        look.info.name, key, "duplicate_key", f"in {homes[slot].info.name} as well"
                    )
                )
            homes.setdefault(slot, look)
    with_video = {info.split for info in (look.info for look in looks) if info.set == VIDEO}
    bad = {(finding.shard, finding.key) for look in looks for finding in look.findings}
    for (video, key), look in homes.items():
        if look.info.split not in with_video or look.info.set not in (LIGHT, VIDEO):
            continue
        twin, twins_name = homes.get((not video, key)), _twin(look.info)
        if twin is None and (twins_name, key) not in bad:
            findings.append(Finding(look.info.name, key, "no_twin", f"not in {twins_name}"))
        elif twin is not None and not video and twin.metas[key] != look.metas[key]:
            findings.append(
                Finding(twin.info.name, key, "another_record", f"than in {look.info.name}")
            )
    return findings


def _twin(info: ShardInfo) -> str:
    kinds = (LIGHT, VIDEO) if info.set == LIGHT else (VIDEO, LIGHT)
    return info.name.replace(f"{kinds[0]}-{info.split}", f"{kinds[1]}-{info.split}")


def _tables(folder: Path, index: ShardIndex, looks: list[_Look]) -> list[Finding]:
    """The index's totals and tables against the samples' records, and its failures against their list where there is one."""
    metas = [meta for look in looks if look.info.set != VIDEO for meta in look.metas.values()]
    emotions = Counter(
        (meta.emotion or "unknown", "unknown" if meta.level is None else str(round(meta.level)))
        for meta in metas
    )
    record = json.loads((folder / INDEX).read_bytes())
    pairs: list[tuple[str, object, object]] = [
        ("samples in all", len(metas), record.get("samples")),
        (
            "hours in all",
            round(sum(meta.frames / meta.fps for meta in metas)),
            _seconds(record.get("hours")),
        ),
        ("samples and seconds of the splits", _counted(metas, "split"), _stated(index.splits)),
        (
            "samples and seconds of the speakers",
            _counted(metas, "speaker"),
            _stated(index.speakers),
        ),
        (
            "speakers of the splits",
            _homes(metas),
            {name: sorted(split["speakers"]) for name, split in index.splits.items()},
        ),
        (
            "emotions and levels",
            dict(emotions),
            {(e, level): n for e, row in index.emotions.items() for level, n in row.items()},
        ),
    ]
    if (folder / FAILURES).is_file():
        pairs.append((f"failures in {FAILURES}", _reasons(folder / FAILURES), dict(index.failures)))
    return [
        Finding(INDEX, "", "wrong_index", f"{what} are not those stated")
        for what, mine, theirs in pairs
        if mine != theirs
    ]


def _counted(metas: list[SampleMeta], field_name: str) -> dict[str, tuple[int, int]]:
    """Samples and seconds by a field of the record."""
    samples, seconds = Counter[str](), Counter[str]()
    for meta in metas:
        name = getattr(meta, field_name)
        samples[name] += 1
        seconds[name] += meta.frames / meta.fps  # type: ignore[assignment]
    return {name: (samples[name], round(seconds[name])) for name in samples}


def _stated(table: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    return {name: (row["samples"], round(row["seconds"])) for name, row in table.items()}


def _homes(metas: list[SampleMeta]) -> dict[str, list[str]]:
    """Split -> its speakers."""
    return {
        split: sorted({meta.speaker for meta in metas if meta.split == split})
        for split in {meta.split for meta in metas}
    }


def _reasons(path: Path) -> dict[str, int] | None:
    """Reason -> lines of the list; None where it cannot be read."""
    try:
        return dict(
            Counter(
                json.loads(line)["reason"] for line in path.read_text(encoding="utf-8").splitlines()
            )
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _seconds(hours: object) -> int | None:
    return round(3600 * hours) if isinstance(hours, (int, float)) else None
