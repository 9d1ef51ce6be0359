"""Which clip is compared with which: by relative file stem, or by a ``manifest.csv`` in a system's folder.

A manifest has a column ``generated`` (path relative to its folder) and may have ``reference`` (relative to the reference
folder; empty means by stem, ``none`` that there is none to compare with), ``emotion``, ``level`` and any further columns,
which are carried into ``per_clip.csv``. Without a manifest, emotion and level come from the JSON file that ``emo generate``
writes beside each video.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import check_level, emotion_index
from evaluation.protocol import CONTROL, REFERENCE

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"})
MANIFEST = "manifest.csv"
ALONE = "none"
WITH_REFERENCE = "those with a reference"
"""Stands for every metric that compares with a reference, in a failure."""


@dataclass(frozen=True)
class Item:
    """One clip of one system."""

    system: str
    clip: str
    path: Path
    emotion: str | None = None
    level: float | None = None
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Clips that share one reference, which is then looked at once.

    ``scores_reference``: this group also reports it and its ``controls``, for which ``other_sound`` may be needed.
    """

    reference: Item | None
    items: tuple[Item, ...]
    scores_reference: bool = False
    controls: tuple[str, ...] = ()
    other_sound: Item | None = None


@dataclass(frozen=True)
class Failure:
    """Something that was not scored. ``metric`` is None when it is the whole clip."""

    system: str
    clip: str
    reason: str
    metric: str | None = None

    def to_json(self) -> dict[str, str | None]:
        return {
            "system": self.system,
            "clip": self.clip,
            "metric": self.metric,
            "reason": self.reason,
        }


def list_videos(folder: Path, argument: str) -> dict[str, list[Path]]:
    """Videos under a folder by relative stem (POSIX style), sorted; several files of one stem stay together.

    Raises:
        UserError: the folder does not exist or holds no video.
    """
    if not folder.is_dir():
        raise UserError(
            argument,
            folder,
            "a folder with videos",
            "is not a folder" if folder.exists() else "does not exist",
        )
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    if not found:
        raise UserError(
            argument,
            folder,
            f"a folder with {', '.join(sorted(VIDEO_SUFFIXES))} files",
            "holds no videos",
        )
    return found


def label_from_sidecar(video: Path) -> tuple[str | None, float | None]:
    """Emotion and level from ``O.json`` beside ``O.mp4``; nothing when there is none or when the feeling changes within it."""
    try:
        data = json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))
        track = data["emotion_track"]
        (key,) = track["keys"] if isinstance(track, dict) else track
        emotion, level = key["emotion"], key.get("level")
        emotion_index(emotion)
        return emotion, None if level is None else check_level(level)
    except (
        OSError,
        UnicodeDecodeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        UserError,
    ):
        return None, None


def _label_from_row(row: Mapping[str, str], where: str) -> tuple[str | None, float | None]:
    emotion, level = (row.get("emotion") or "").strip(), (row.get("level") or "").strip()
    if emotion:
        emotion_index(emotion, f"{where} emotion")
    return emotion or None, check_level(level, f"{where} level") if level else None


def read_manifest(path: Path, system: str, argument: str) -> list[tuple[Item, str]]:
    """Rows of a manifest as clips, each with the reference that it names (empty: by stem).

    Raises:
        UserError: an unreadable file, no ``generated`` column, an empty cell there, a label that does not exist, a repeated clip.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            argument, path, "a CSV file with a column 'generated'", f"cannot be read ({error})"
        ) from None
    if not rows or "generated" not in rows[0]:
        raise UserError(argument, path, "a CSV file with a column 'generated' and at least one row")
    items: dict[str, tuple[Item, str]] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{argument} {path.name} line {number}"
        if not row["generated"]:
            raise UserError(where, row["generated"], "the path of a video", "names no video")
        emotion, level = _label_from_row(row, where)
        extra = {
            k: v or ""
            for k, v in row.items()
            if k and k not in ("generated", "reference", "emotion", "level")
        }
        clip = _clip_name(path.parent / row["generated"], path.parent)
        if clip in items:
            raise UserError(where, row["generated"], "one row a clip", "is listed twice")
        items[clip] = (
            Item(system, clip, path.parent / row["generated"], emotion, level, extra),
            (row.get("reference") or "").strip(),
        )
    return list(items.values())


def _clip_name(video: Path, folder: Path) -> str:
    """The stem relative to the folder; outside of it the last two parts of the path, which say enough and no more."""
    inside = video.relative_to(folder) if video.is_relative_to(folder) else Path(*video.parts[-2:])
    return inside.with_suffix("").as_posix()


def _find_reference(
    clip: str, named: str, folder: Path, videos: Mapping[str, list[Path]]
) -> Path | str | None:
    """The reference's path, None where there is to be none, or the reason why it is absent."""
    if named == ALONE:
        return None
    if named:
        path = folder / named
        return (
            path
            if path.is_file()
            else f"the manifest names the reference {named}, which does not exist"
        )
    paths = videos.get(clip, [])
    if len(paths) > 1:
        return f"several references have this name: {', '.join(p.name for p in paths)}"
    return paths[0] if paths else "no reference has this name"


def _system_items(
    system: str, folder: Path, argument: str, failures: list[Failure]
) -> list[tuple[Item, str]]:
    manifest = folder / MANIFEST
    if folder.is_dir() and manifest.is_file():
        return read_manifest(manifest, system, argument)
    items = []
    for clip, paths in list_videos(folder, argument).items():
        if len(paths) > 1:
            failures.append(
                Failure(
                    system,
                    clip,
                    f"several files have this name: {', '.join(p.name for p in paths)}",
                )
            )
        else:
            items.append((Item(system, clip, paths[0], *label_from_sidecar(paths[0])), ""))
    return items


def _reference_item(path: Path, folder: Path, items: list[Item]) -> Item:
    """The reference as a row of its own, with a label when all of its clips agree on one."""
    labels = {(item.emotion, item.level) for item in items}
    emotion, level = labels.pop() if len(labels) == 1 else (None, None)
    speakers = {item.extra.get("speaker") for item in items} - {None, ""}
    extra = {"speaker": speakers.pop()} if len(speakers) == 1 else {}
    return Item(REFERENCE, _clip_name(path, folder), path, emotion, level, extra)


def pair(
    systems: Mapping[str, Path], reference: Path | None, group_size: int = 32
) -> tuple[list[Group], list[Failure]]:
    """Pair every clip of every system with its reference.

    Args:
        systems: name -> folder of generated videos.
        reference: folder of reference videos; None scores only what needs none.
        group_size: most clips a group; a reference with more appears in several groups.

    Returns:
        Groups sorted by reference and clip, and what could not be paired. A generated clip without a reference is listed
        and still scored by the metrics that need none.

    Raises:
        UserError: a folder that is missing or without videos, a manifest that cannot be read, a system called "reference".
    """
    failures: list[Failure] = []
    videos = list_videos(reference, "--reference") if reference is not None else {}
    by_reference: dict[Path | None, list[Item]] = {}
    for system, folder in systems.items():
        if system == REFERENCE or system.startswith(CONTROL):
            raise UserError(
                "--systems", system, "any other name", "is the name of a row of the references' own"
            )
        for item, named in _system_items(
            system, folder, f"--systems {system}" if len(systems) > 1 else "--generated", failures
        ):
            found = (
                _find_reference(item.clip, named, reference, videos)
                if reference is not None
                else None
            )
            if isinstance(found, str):
                failures.append(Failure(system, item.clip, found, WITH_REFERENCE))
                found = None
            by_reference.setdefault(found, []).append(item)
    for paths in videos.values():
        for path in paths:
            if path not in by_reference:
                failures.append(
                    Failure(
                        REFERENCE,
                        _clip_name(path, reference or path.parent),
                        "no generated clip has this name",
                    )
                )
    return _groups(by_reference, reference, group_size), failures


def _groups(
    by_reference: Mapping[Path | None, list[Item]], folder: Path | None, size: int
) -> list[Group]:
    groups: list[Group] = []
    for path in sorted(by_reference, key=lambda p: (p is None, str(p))):
        items = sorted(by_reference[path], key=lambda item: (item.clip, item.system))
        if path is None or folder is None:
            groups += [Group(None, (item,)) for item in items]
            continue
        reference = _reference_item(path, folder, items)
        groups += [
            Group(reference, tuple(items[i : i + size]), i == 0) for i in range(0, len(items), size)
        ]
    return groups
