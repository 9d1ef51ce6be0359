"""Ordinary videos in a folder, with or without a manifest.

Without ``manifest.csv`` every video below the root is a clip. Its speaker is the top folder it is
in, unless that only names the content (``video``, ``clips`` ...), or else the file's name. A video
without audio takes the recording of the same name below the root, when there is just one, or one
beside it.

With ``manifest.csv`` its rows are the clips. Columns: ``path`` (below the root; required),
``speaker``, ``emotion`` (one of the eight, or a common synonym), ``intensity`` (1..3), ``level``
(1..15), ``sentence``, ``split`` (train, val, test), ``audio`` (a recording below the root). An
empty cell is an unknown; other columns are ignored, with a note. Commas, semicolons or tabs
separate cells; UTF-8 or UTF-16. A path that is a recording makes a clip of audio alone. Videos
that the manifest does not list are counted in a note.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from datamodules.shards.schema import SPLITS
from datamodules.sources.clip import Clip, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, read_text, walk
from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import check_emotion, check_level

MANIFEST = "manifest.csv"
COLUMNS = ("path", "speaker", "emotion", "intensity", "level", "sentence", "split", "audio")
_CONTENT_NAMES = frozenset("video videos clip clips mp4 media data train val test raw".split())
Row = tuple[int, Mapping[str, str] | None]
"""Line number and cells; None for a row with more cells than the header."""


class FolderSource:
    """See the module.

    Raises:
        UserError: a manifest that cannot be read.
    """

    name = "folder"

    def __init__(self, root: Path) -> None:
        self.root, self.notes = root, []
        self._rows: list[Row] | None = None
        if (root / MANIFEST).is_file():
            self._rows, ignored = _read_manifest(root / MANIFEST)
            if ignored:
                self.notes.append(f"columns of {MANIFEST} that are ignored: {', '.join(ignored)}")

    def clips(self) -> Iterator[Clip | Rejected]:
        """Clips in the order of their names, or of the manifest's rows."""
        yield from self._found() if self._rows is None else self._listed(self._rows)

    def _found(self) -> Iterator[Clip | Rejected]:
        suffixes = VIDEO_SUFFIXES | AUDIO_SUFFIXES
        files = [path for path in walk(self.root) if path.suffix.lower() in suffixes]
        videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
        recordings: dict[str, list[Path]] = {}
        for path in files:
            if path.suffix.lower() in AUDIO_SUFFIXES:
                recordings.setdefault(path.stem, []).append(path)
        stems = {path.stem for path in videos}
        for path in files:
            name = path.relative_to(self.root).as_posix()
            if path.suffix.lower() in VIDEO_SUFFIXES:
                audio = _companion(path, recordings.get(path.stem, []))
                yield Clip(name, path, _speaker(PurePosixPath(name)), audio)
            elif path.stem not in stems:
                yield Rejected(name, "no_video", "audio without a video of the same name")

    def _listed(self, rows: Sequence[Row]) -> Iterator[Clip | Rejected]:
        seen: set[Path] = set()
        for line, row in rows:
            try:
                clip = self._clip(row)
            except UserError as error:
                name = (row or {}).get("path") or f"{MANIFEST} line {line}"
                yield Rejected(name, "bad_manifest", f"line {line}: {error}")
                continue
            place = (self.root / clip.name).resolve()
            if place in seen:
                problem = f"line {line} names a file that was listed before"
                yield Rejected(clip.name, "duplicate", problem)
                continue
            seen.add(place)
            yield clip
        files = walk(self.root)
        videos = {path.resolve() for path in files if path.suffix.lower() in VIDEO_SUFFIXES}
        if videos - seen:
            self.notes.append(f"{len(videos - seen)} videos below the root are not in {MANIFEST}")

    def _clip(self, row: Mapping[str, str] | None) -> Clip:
        if row is None:
            raise UserError("row", "", "as many cells as the header", "has more cells")
        intensity, split = row["intensity"], row["split"] or None
        if intensity not in ("", "1", "2", "3"):
            raise UserError("intensity", intensity, "1, 2 or 3")
        if split is not None and split not in SPLITS:
            raise UserError("split", split, ", ".join(SPLITS))
        path: Path | None = self._below(row["path"], "path")
        audio = self._below(row["audio"], "audio") if row["audio"] else None
        name = path.relative_to(self.root.resolve()).as_posix()
        if path.suffix.lower() in AUDIO_SUFFIXES:
            if audio is not None:
                accepted = "nothing beside a path that is a recording itself"
                raise UserError("audio", row["audio"], accepted, "is a second recording")
            path, audio = None, path
        return Clip(
            name,
            path,
            row["speaker"] or _speaker(PurePosixPath(name)),
            audio,
            row["sentence"] or None,
            check_emotion(row["emotion"], "emotion") if row["emotion"] else None,
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


def _read_manifest(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of a manifest, and the names of columns that are not used."""
    accepted = f"a CSV table with a column path and any of {', '.join(COLUMNS[1:])}"
    text = read_text(path, MANIFEST, accepted)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[Row] = []
    try:
        names = [(name or "").strip().lower() for name in table.fieldnames or ()]
        if "path" not in names or len(set(names)) < len(names):
            problem = f"has on line 1 the columns {', '.join(names)}"
            raise UserError(MANIFEST, path, accepted, problem)
        table.fieldnames = names
        for row in table:
            cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
            rows.append((table.line_num, None if None in row else cells))
    except csv.Error as error:
        problem = f"cannot be read: line {table.line_num}: {error}"
        raise UserError(MANIFEST, path, accepted, problem) from None
    return rows, [name for name in names if name not in COLUMNS]


def _speaker(name: PurePosixPath) -> str:
    for part in name.parts[:-1]:
        if part.lower() not in _CONTENT_NAMES:
            return part
    return name.stem


def _companion(video: Path, recordings: Sequence[Path]) -> Path | None:
    beside = [path for path in recordings if path.parent == video.parent]
    found = beside or recordings
    return found[0] if len(found) == 1 else None
