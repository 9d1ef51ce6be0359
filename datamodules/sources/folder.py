"""Ordinary videos in a folder, with or without a manifest.

Without ``manifest.csv`` every video below the root is a clip. Its speaker is the top folder it lies in, unless that
only says what it holds (``video``, ``clips`` ...), or else the file's name. A video without sound takes the recording
of the same name below the root, when there is just one or one beside it.

With ``manifest.csv`` its rows are the clips. Columns: ``path`` (below the root; must be there), ``speaker``,
``emotion`` (one of the eight), ``intensity`` (1..3), ``level`` (1..15), ``sentence``, ``split`` (train, val, test),
``audio`` (a recording below the root). An empty cell is an unknown. A path that is a recording gives a clip of sound alone. How
many videos the manifest leaves out is noted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from datamodules.shards.schema import SPLITS
from datamodules.sources.clip import Clip, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, walk
from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import EMOTIONS, check_level

MANIFEST = "manifest.csv"
COLUMNS = ("path", "speaker", "emotion", "intensity", "level", "sentence", "split", "audio")
_KINDS = frozenset("video videos clip clips mp4 media data train val test raw".split())


class FolderSource:
    """See the module."""

    name = "folder"

    def __init__(self, root: Path) -> None:
        self.root, self.notes = root, []
        self._rows = _read_manifest(root / MANIFEST) if (root / MANIFEST).is_file() else None

    def clips(self) -> Iterator[Clip | Rejected]:
        """Clips in the order of their names, or of the manifest's rows."""
        yield from self._found() if self._rows is None else self._listed(self._rows)

    def _found(self) -> Iterator[Clip | Rejected]:
        files = [
            path
            for path in walk(self.root)
            if path.suffix.lower() in VIDEO_SUFFIXES | AUDIO_SUFFIXES
        ]
        recordings: dict[str, list[Path]] = {}
        for path in files:
            if path.suffix.lower() in AUDIO_SUFFIXES:
                recordings.setdefault(path.stem, []).append(path)
        videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
        stems = {path.stem for path in videos}
        for path in files:
            name = path.relative_to(self.root).as_posix()
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield Clip(
                    name,
                    path,
                    _speaker(PurePosixPath(name)),
                    _companion(path, recordings.get(path.stem, [])),
                )
            elif path.stem not in stems:
                yield Rejected(name, "no_video", "sound without a video of the same name")

    def _listed(self, rows: Sequence[Mapping[str, str]]) -> Iterator[Clip | Rejected]:
        seen: set[Path] = set()
        for number, row in enumerate(rows, start=2):
            name = row["path"]
            try:
                clip = self._clip(row)
            except UserError as error:
                yield Rejected(
                    name or f"{MANIFEST} line {number}", "bad_manifest", f"line {number}: {error}"
                )
                continue
            place = self.root / clip.name
            if place.resolve() in seen:
                yield Rejected(
                    name, "duplicate", f"line {number} names a file that was listed before"
                )
                continue
            seen.add(place.resolve())
            yield clip
        videos = {
            path.resolve() for path in walk(self.root) if path.suffix.lower() in VIDEO_SUFFIXES
        }
        if videos - seen:
            self.notes.append(f"{len(videos - seen)} videos below the root are not in {MANIFEST}")

    def _clip(self, row: Mapping[str, str]) -> Clip:
        emotion, intensity, split = row["emotion"] or None, row["intensity"], row["split"] or None
        if emotion is not None and emotion not in EMOTIONS:
            raise UserError("emotion", emotion, ", ".join(EMOTIONS))
        if intensity not in ("", "1", "2", "3"):
            raise UserError("intensity", intensity, "1, 2 or 3")
        if split is not None and split not in SPLITS:
            raise UserError("split", split, ", ".join(SPLITS))
        path: Path | None = self._below(row["path"], "path")
        audio = self._below(row["audio"], "audio") if row["audio"] else None
        name = path.relative_to(self.root.resolve()).as_posix()
        if path.suffix.lower() in AUDIO_SUFFIXES:
            if audio is not None:
                raise UserError(
                    "audio",
                    row["audio"],
                    "nothing beside a path that is a recording itself",
                    "is one recording too many",
                )
            path, audio = None, path
        return Clip(
            name,
            path,
            row["speaker"] or _speaker(PurePosixPath(name)),
            audio,
            row["sentence"] or None,
            emotion,
            int(intensity) if intensity else None,
            check_level(row["level"], "level") if row["level"] else None,  # type: ignore[arg-type]
            split,
        )

    def _below(self, text: str, column: str) -> Path:
        path = (self.root / text).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise UserError(column, text, "a path below the root", "leads out of the root")
        if not path.is_file():
            raise UserError(column, text, "a path below the root", "does not exist")
        return path


def _read_manifest(path: Path) -> list[dict[str, str]]:
    accepted = f"a CSV table with a column path and any of {', '.join(COLUMNS[1:])}"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            names = [(name or "").strip() for name in table.fieldnames or ()]
            if "path" not in names or not set(names) <= set(COLUMNS):
                raise UserError(MANIFEST, path, accepted, f"has the columns {names}")
            table.fieldnames = names
            return [{name: (row.get(name) or "").strip() for name in COLUMNS} for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(MANIFEST, path, accepted, f"cannot be read ({error})") from None


def _speaker(name: PurePosixPath) -> str:
    for part in name.parts[:-1]:
        if part.lower() not in _KINDS:
            return part
    return name.stem


def _companion(video: Path, recordings: Sequence[Path]) -> Path | None:
    beside = [path for path in recordings if path.parent == video.parent]
    found = beside or recordings
    return found[0] if len(found) == 1 else None
