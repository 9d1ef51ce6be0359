"""Pairs clips with references by relative file stem, or by a ``manifest.csv`` in a system's folder.

A manifest has a column ``generated`` (path relative to its folder) and may have ``reference``
(relative to the reference folder; empty means by stem, ``none`` that there is none), ``emotion``,
``level`` and any further columns, which are carried into ``per_clip.csv``. Without a manifest,
emotion and level come from the JSON file that ``emo generate`` writes beside each video. Endings
that all files of a folder share (``_out``) are ignored where only that makes the names pair.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path

from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import EMOTIONS, check_level, emotion_index
from evaluation.protocol import CONTROL, REFERENCE

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"})
MANIFEST = "manifest.csv"
ALONE = "none"
WITH_REFERENCE = "those with a reference"
"""Stands for every metric that compares with a reference, in a failure."""
SEPARATORS = "_-. "
LABELS = ("generated", "reference", "emotion", "level")


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
class ClipGroup:
    """Clips that share one reference, which is then processed once.

    ``scores_reference``: this group also reports it and its ``controls``, for which ``other_audio``
    may be needed.
    """

    reference: Item | None
    items: tuple[Item, ...]
    scores_reference: bool = False
    controls: tuple[str, ...] = ()
    other_audio: Item | None = None


@dataclass(frozen=True)
class Unscored:
    """Something that was not scored. ``metric`` is None when it is the whole clip."""

    system: str
    clip: str
    reason: str
    metric: str | None = None

    def to_json(self) -> dict[str, str | None]:
        return asdict(self)


@dataclass(frozen=True)
class Pairing:
    """Groups sorted by reference and clip, what could not be paired, and notes for the reader."""

    groups: list[ClipGroup]
    failures: list[Unscored]
    notes: list[str]


def list_videos(folder: Path, argument: str) -> dict[str, list[Path]]:
    """Videos under a folder by relative stem (POSIX style), sorted; several files of one stem stay
    together.

    Raises:
        UserError: the folder does not exist or holds no video.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(argument, folder, "a folder with videos", problem)
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    if not found:
        accepted = f"a folder with {', '.join(sorted(VIDEO_SUFFIXES))} files"
        raise UserError(argument, folder, accepted, "holds no videos")
    return found


def label_from_sidecar(video: Path) -> tuple[str | None, float | None]:
    """Emotion and level from ``O.json`` beside ``O.mp4``; None without it or when the emotion
    changes."""
    try:
        data = json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))
        track = data["emotion_track"]
        (key,) = track["keys"] if isinstance(track, dict) else track
        emotion, level = key["emotion"], key.get("level")
        return EMOTIONS[emotion_index(emotion)], None if level is None else check_level(level)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return None, None


def read_manifest(path: Path, system: str, argument: str) -> list[tuple[Item, str]]:
    """Rows of a manifest as clips, each with the reference that it names (empty: by stem).

    Raises:
        UserError: an unreadable file, no ``generated`` column, an empty cell there, an unknown
            label, a repeated clip.
    """
    accepted = "a CSV file with a column 'generated' and at least one row"
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(argument, path, accepted, f"cannot be read ({error})") from None
    if not rows or "generated" not in rows[0]:
        raise UserError(argument, path, accepted)
    items: dict[str, tuple[Item, str]] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{argument} {path.name} line {number}"
        name, reference, emotion, level = ((row.get(key) or "").strip() for key in LABELS)
        if not name:
            raise UserError(where, name, "the path of a video", "names no video")
        if emotion:
            emotion = EMOTIONS[emotion_index(emotion, f"{where} emotion")]
        degree = check_level(level, f"{where} level") if level else None
        extra = {k: v or "" for k, v in row.items() if k and k not in LABELS}
        video = path.parent / name
        clip = _clip_name(video, path.parent)
        if clip in items:
            raise UserError(where, name, "one row a clip", "is listed twice")
        items[clip] = Item(system, clip, video, emotion or None, degree, extra), reference
    return list(items.values())


def _clip_name(video: Path, folder: Path) -> str:
    """The stem relative to the folder; outside of it the last two parts of the path."""
    inside = video.relative_to(folder) if video.is_relative_to(folder) else Path(*video.parts[-2:])
    return inside.with_suffix("").as_posix()


def common_endings(stems: Sequence[str]) -> list[str]:
    """Endings that all names share and that begin with a separator, longest first."""
    letters = zip(*(reversed(stem) for stem in stems), strict=False)
    same = takewhile(lambda column: len(set(column)) == 1, letters)
    shared = "".join(column[0] for column in same)[::-1]
    ends = [shared[at:] for at, letter in enumerate(shared) if letter in SEPARATORS]
    return [end for end in ends if all(len(stem) > len(end) for stem in stems)]


def ignored_endings(stems: Sequence[str], targets: Sequence[str]) -> tuple[str, str]:
    """Endings of names and of targets without which most agree, the shortest such; empty where some
    agree."""
    pairs = [(a, b) for a in ("", *common_endings(stems)) for b in ("", *common_endings(targets))]
    best, most = ("", ""), len(set(stems) & set(targets))
    if most:
        return best
    for own, other in sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1])):
        names = {stem.removesuffix(own) for stem in stems}
        count = len(names & {target.removesuffix(other) for target in targets})
        if count > most:
            best, most = (own, other), count
    return best


class _Pairer:
    """Collects the clips of the systems by their reference."""

    def __init__(self, reference: Path | None) -> None:
        self.folder = reference
        self.videos = list_videos(reference, "--reference") if reference is not None else {}
        self.failures: list[Unscored] = []
        self.notes: list[str] = []
        self.by_reference: dict[Path | None, list[Item]] = {}

    def add(
        self,
        system: str,
        where: tuple[str, Path],
        items: list[tuple[Item, str]],
        others: Sequence[str],
    ) -> None:
        """Pair a system's clips; UserError when none pairs.

        Args:
            system: its name.
            where: its argument and folder.
            items: from :meth:`items`.
            others: names of another system, which count where there is no reference.
        """
        names = [item.clip for item, named in items if not named]
        targets = list(self.videos) or others
        own, other = ignored_endings(names, targets) if names and targets else ("", "")
        self._note(system, own, other)
        by_name = {stem.removesuffix(other): paths for stem, paths in self.videos.items()}
        paired = 0
        for item, named in items:
            clip = item.clip if named else item.clip.removesuffix(own)
            item = Item(system, clip, item.path, item.emotion, item.level, item.extra)
            found = self._find(clip, named, by_name) if self.folder is not None else None
            if isinstance(found, str):
                self.failures.append(Unscored(system, clip, found, WITH_REFERENCE))
                found = None
            paired += found is not None or named == ALONE or clip in by_name
            self.by_reference.setdefault(found, []).append(item)
        if self.folder is not None and items and not paired:
            example = f"{items[0][0].clip!r} here, {next(iter(self.videos))!r} in {self.folder}"
            accepted = f"videos named like their references, or a {MANIFEST}"
            problem = f"has no name of a reference: {example}"
            raise UserError(*where, accepted, problem)

    def _note(self, system: str, own: str, other: str) -> None:
        for name, ending in ((system, own), (REFERENCE, other)):
            note = f"{name}: names are compared without their common ending {ending!r}"
            if ending and note not in self.notes and (name == system or self.videos):
                self.notes.append(note)

    def items(self, system: str, folder: Path, argument: str) -> list[tuple[Item, str]]:
        """A system's clips with the references that a manifest names; UserError when there are
        none."""
        if folder.is_dir() and (folder / MANIFEST).is_file():
            return read_manifest(folder / MANIFEST, system, argument)
        items = []
        for clip, paths in list_videos(folder, argument).items():
            if len(paths) > 1:
                reason = f"several files have this name: {', '.join(p.name for p in paths)}"
                self.failures.append(Unscored(system, clip, reason))
            else:
                items.append((Item(system, clip, paths[0], *label_from_sidecar(paths[0])), ""))
        return items

    def _find(self, clip: str, named: str, by_name: Mapping[str, list[Path]]) -> Path | str | None:
        """The reference's path, None where there is to be none, or the reason why it is absent."""
        if named == ALONE:
            return None
        if named:
            path = self.folder / named
            missing = f"the manifest names the reference {named}, which does not exist"
            return path if path.is_file() else missing
        paths = by_name.get(clip, [])
        if len(paths) > 1:
            return f"several references have this name: {', '.join(p.name for p in paths)}"
        return paths[0] if paths else "no reference has this name"

    def groups(self, size: int) -> list[ClipGroup]:
        """Groups of at most ``size`` clips, sorted by reference and clip."""
        groups: list[ClipGroup] = []
        for path in sorted(self.by_reference, key=lambda p: (p is None, str(p))):
            items = sorted(self.by_reference[path], key=lambda item: (item.clip, item.system))
            if path is None:
                groups += [ClipGroup(None, (item,)) for item in items]
                continue
            reference = _reference_item(path, self.folder, items)
            parts = [tuple(items[i : i + size]) for i in range(0, len(items), size)]
            groups += [ClipGroup(reference, part, i == 0) for i, part in enumerate(parts)]
        return groups


def _reference_item(path: Path, folder: Path, items: list[Item]) -> Item:
    """The reference as a row of its own, with a label when all of its clips agree on one."""
    labels = {(item.emotion, item.level) for item in items}
    emotion, level = labels.pop() if len(labels) == 1 else (None, None)
    speakers = {item.extra.get("speaker") for item in items} - {None, ""}
    extra = {"speaker": speakers.pop()} if len(speakers) == 1 else {}
    return Item(REFERENCE, _clip_name(path, folder), path, emotion, level, extra)


def pair(systems: Mapping[str, Path], reference: Path | None, group_size: int = 32) -> Pairing:
    """Pair every clip of every system with its reference.

    A generated clip without a reference is listed and still scored by the metrics that need none.

    Args:
        systems: name -> folder of generated videos.
        reference: folder of reference videos; None scores only what needs none.
        group_size: most clips a group; a reference with more appears in several groups.

    Raises:
        UserError: a folder that is missing or without videos, a manifest that cannot be read, a
            system called "reference" or of which no name pairs, two clips of one name.
    """
    pairer = _Pairer(reference)
    items: dict[str, list[tuple[Item, str]]] = {}
    arguments = {s: f"--systems {s}" if len(systems) > 1 else "--generated" for s in systems}
    for system, folder in systems.items():
        if system == REFERENCE or system.startswith(CONTROL):
            problem = "is the name of a row of the references' own"
            raise UserError("--systems", system, "any other name", problem)
        items[system] = pairer.items(system, folder, arguments[system])
    first, second = (*items, *items)[:2]
    for system, folder in systems.items():
        others = [item.clip for item, _ in items[second if system == first else first]]
        pairer.add(system, (arguments[system], folder), items[system], others)
    for paths in pairer.videos.values():
        for path in paths:
            if path not in pairer.by_reference:
                clip = _clip_name(path, reference or path.parent)
                pairer.failures.append(Unscored(REFERENCE, clip, "no generated clip has this name"))
    clips = Counter((i.system, i.clip) for items in pairer.by_reference.values() for i in items)
    for (system, clip), count in clips.items():
        if count > 1:
            raise UserError(f"--systems {system}", clip, "one clip a name", "names several clips")
    return Pairing(pairer.groups(group_size), pairer.failures, pairer.notes)
