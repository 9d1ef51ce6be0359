"""Verification of a shard set: hashes every shard, decodes every sample and every video frame.

Beyond the reasons of :data:`datamodules.shards.schema.REASONS` a finding can be one of
:data:`SET_REASONS`.
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

from datamodules.shards.index import INDEX, VIDEO, ShardIndex, ShardInfo, read_index
from datamodules.shards.reader import Members, read_samples
from datamodules.shards.schema import EXTRAS, SampleError, SampleMeta, decode
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.coefficients import Layout
from emo_lightning.media.video_reader import decode_mp4_bytes

SET_REASONS = (
    "missing_shard",  # listed and not there
    "wrong_size",
    "wrong_hash",
    "wrong_count",  # another number of samples than listed
    "wrong_split",  # a sample of another split than its shard's
    "duplicate_key",  # twice in the set
    "no_twin",  # in only one of the light and video sets
    "another_record",  # different records in the light and video sets
    "unlisted_shard",
    "wrong_index",  # a total or table that does not follow from the samples or the failures
)
FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Finding:
    """One defect: shard, sample key (empty: the whole shard or index), reason and detail."""

    shard: str
    key: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.shard}{f' {self.key}' if self.key else ''}: {self.reason}: {self.detail}"


@dataclass
class VerificationResult:
    """Numbers of shards and samples checked (a clip of both sets is one sample), and findings."""

    shards: int
    samples: int
    findings: list[Finding]


@dataclass
class ShardContent:
    """Records and findings of one shard."""

    info: ShardInfo
    metas: dict[str, SampleMeta] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, key: str, reason: str, detail: str) -> None:
        """Append a finding."""
        self.findings.append(Finding(self.info.name, key, reason, detail))


def verify(
    folder: str | Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    argument: str = "DIR",
) -> VerificationResult:
    """Check everything in a shard set.

    Args:
        folder: the set.
        workers: processes that share the shards.
        progress: called with (shards done, shards in all).
        argument: what the user knows the folder by.

    Raises:
        UserError: there is no index that can be read.
    """
    folder, index = Path(folder), read_index(folder, argument)
    contents = []
    for content in _contents(folder, index, workers):
        contents.append(content)
        if progress is not None:
            progress(len(contents), len(index.shards))
    findings = [finding for content in contents for finding in content.findings]
    listed = {shard.name for shard in index.shards}
    for path in sorted(folder.glob("*.tar")):
        if path.name not in listed:
            findings.append(Finding(path.name, "", "unlisted_shard", f"not in {INDEX}"))
    findings += _compare_shards(contents)
    if not findings:
        # Bad samples change the tables as well, which needs no second finding.
        findings = _compare_tables(folder, index, contents)
    samples = sum(len(content.metas) for content in contents if content.info.set != VIDEO)
    return VerificationResult(len(contents), samples, findings)


def _contents(folder: Path, index: ShardIndex, workers: int) -> Iterator[ShardContent]:
    check = partial(_check_shard, folder, index.layout)
    if workers == 1:
        yield from map(check, index.shards)
        return
    with multiprocessing.get_context("spawn").Pool(workers, cv2.setNumThreads, (1,)) as pool:
        yield from pool.imap(check, index.shards)


def _check_shard(folder: Path, layout: Layout, info: ShardInfo) -> ShardContent:
    """Hash a shard and decode every sample in it."""
    content, path = ShardContent(info), folder / info.name
    if not path.is_file():
        content.add("", "missing_shard", "listed and not there")
        return content
    if path.stat().st_size != info.bytes:
        content.add("", "wrong_size", f"{path.stat().st_size} bytes, {info.bytes} listed")
    elif sha256_of(path) != info.sha256:
        content.add("", "wrong_hash", "the content changed after the index was written")
    found = 0
    with open(path, "rb") as stream:
        for key, members in read_samples(stream):
            found += bool(key)
            try:
                meta = _checked_record(key, members, info, layout)
            except SampleError as error:
                content.add(key[:80], error.reason, error.detail)
                continue
            if meta.split != info.split:
                content.add(key, "wrong_split", f"{meta.split} in a shard of {info.split}")
            if key in content.metas:
                content.add(key, "duplicate_key", "twice in the shard")
            content.metas[key] = meta
    if found != info.samples:
        content.add("", "wrong_count", f"{found} samples, {info.samples} listed")
    return content


def _checked_record(
    key: str, members: Members | SampleError, info: ShardInfo, layout: Layout
) -> SampleMeta:
    """A sample's record once all of its members were decoded; SampleError where one is bad."""
    if isinstance(members, SampleError):
        raise members
    sample = decode(key, members, info.parts | set(EXTRAS), layout)
    if sample.video is not None:
        try:
            frames = decode_mp4_bytes(sample.video)
        except ValueError as error:
            raise SampleError("bad_video", str(error)) from None
        count, height, width = frames.shape[:3]
        if count != sample.meta.frames:
            problem = f"{count} frames in the video, {sample.meta.frames} stated"
            raise SampleError("length_mismatch", problem)
        if height != width:
            raise SampleError("bad_video", f"frames of {width} x {height} are not square")
    return sample.meta


def _compare_shards(contents: list[ShardContent]) -> list[Finding]:
    """Findings that take several shards: keys in two of them, samples without their twin."""
    homes: dict[tuple[bool, str], ShardContent] = {}
    findings = []
    for content in contents:
        for key in content.metas:
            slot = (content.info.set == VIDEO, key)
            if slot in homes:
                detail = f"in {homes[slot].info.name} as well"
                findings.append(Finding(content.info.name, key, "duplicate_key", detail))
            homes.setdefault(slot, content)
    with_video = {content.info.split for content in contents if content.info.set == VIDEO}
    bad = {(finding.shard, finding.key) for content in contents for finding in content.findings}
    for (video, key), content in homes.items():
        info = content.info
        if info.split not in with_video or info.twin is None:
            continue
        twin = homes.get((not video, key))
        if twin is None and (info.twin, key) not in bad:
            findings.append(Finding(info.name, key, "no_twin", f"not in {info.twin}"))
        elif twin is not None and not video and twin.metas[key] != content.metas[key]:
            detail = f"than in {info.name}"
            findings.append(Finding(twin.info.name, key, "another_record", detail))
    return findings


def _compare_tables(folder: Path, index: ShardIndex, contents: list[ShardContent]) -> list[Finding]:
    """Totals and tables of the index against the records, its failures against their list."""
    metas = [m for content in contents if content.info.set != VIDEO for m in content.metas.values()]

    def level(meta: SampleMeta) -> str:
        return "unknown" if meta.level is None else str(round(meta.level))

    record = json.loads((folder / INDEX).read_bytes())
    emotions = Counter((meta.emotion or "unknown", level(meta)) for meta in metas)
    stated = {(e, name): n for e, row in index.emotions.items() for name, n in row.items()}
    speakers = {
        split: sorted({meta.speaker for meta in metas if meta.split == split})
        for split in {meta.split for meta in metas}
    }
    hours, seconds = record.get("hours"), round(sum(meta.frames / meta.fps for meta in metas))
    stated_seconds = round(3600 * hours) if isinstance(hours, (int, float)) else None
    pairs: list[tuple[str, object, object]] = [
        ("samples in all", len(metas), record.get("samples")),
        ("hours in all", seconds, stated_seconds),
        ("samples and seconds of the splits", _counted(metas, "split"), _stated(index.splits)),
        (
            "samples and seconds of the speakers",
            _counted(metas, "speaker"),
            _stated(index.speakers),
        ),
        (
            "speakers of the splits",
            speakers,
            {name: sorted(split["speakers"]) for name, split in index.splits.items()},
        ),
        ("emotions and levels", dict(emotions), stated),
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


def _reasons(path: Path) -> dict[str, int] | None:
    """Reason -> lines of the list; None where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return dict(Counter(json.loads(line)["reason"] for line in lines))
    except (OSError, ValueError, KeyError, TypeError):
        return None
