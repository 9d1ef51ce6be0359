"""Import of Deep3D coefficients (``.mat``) and OpenFace action units (``.csv``).

Both are resampled to 25 rows a second by time. A file belongs to the clip with its stem.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from datamodules.preprocessing.face_tracking import ClipError
from datamodules.sources import Clip, Rejected, Source
from datamodules.sources.files import walk
from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.face.bfm import read_deep3d_mat
from emo_lightning.face.coefficients import AU_NAMES, Coefficients
from emo_lightning.media.video_reader import VideoInfo

OPENFACE_MAX = 5.0
"""OpenFace's intensities run from 0 to 5 (FACS grade E); ours from 0 to 1."""
OPENFACE_COLUMNS = tuple(f"AU{int(name.removeprefix('AU')):02d}_r" for name in AU_NAMES)
TOLERANCE = 0.02
"""Share of a clip's length that imported rows may differ by, at least two rows."""
MAX_ROWS = 1_000_000


class ImportingSource:
    """A source whose clips come with coefficients or action units from disk.

    Args:
        source: the corpus.
        coefficients: folder of Deep3D ``.mat`` files, or None.
        aus: folder of OpenFace ``.csv`` files, or None.

    Raises:
        UserError: no such folder, or two files of one stem in it.
    """

    def __init__(
        self, source: Source, coefficients: Path | None = None, aus: Path | None = None
    ) -> None:
        self._source, self.name, self.notes = source, source.name, source.notes
        self._coefficients = (
            None if coefficients is None else _by_stem(coefficients, ".mat", "--coefficients")
        )
        self._aus = None if aus is None else _by_stem(aus, ".csv", "--aus")
        if coefficients is not None:
            self.notes.append("coefficients were imported from Deep3D files, not fitted here")
        if aus is not None:
            self.notes.append("action units were imported from OpenFace tables, not fitted here")

    def clips(self) -> Iterator[Clip | Rejected]:
        """The source's clips with their imports; either without the other is rejected."""
        used: set[Path] = set()
        for item in self._source.clips():
            if isinstance(item, Rejected) or item.path is None:
                yield item
                continue
            stem = PurePosixPath(item.name).stem
            found = [
                None if table is None else table.get(stem)
                for table in (self._coefficients, self._aus)
            ]
            wanted = [table is not None for table in (self._coefficients, self._aus)]
            if any(want and path is None for want, path in zip(wanted, found, strict=True)):
                yield Rejected(
                    item.name,
                    "no_import",
                    f"there is no {stem}.mat or {stem}.csv to import, as was asked",
                )
                continue
            used |= {path for path in found if path is not None}
            yield replace(item, coefficients=found[0], aus=found[1])
        for table in (self._coefficients or {}, self._aus or {}):
            for path in table.values():
                if path not in used:
                    yield Rejected(path.name, "no_video", "an import without a clip of its name")


def read_coefficients(path: Path, info: VideoInfo, frames: int) -> Coefficients:
    """Deep3D's coefficients, one row a video frame of the file's own rate, at 25 a second.

    Raises:
        ClipError: ``bad_import`` for an unreadable file, ``import_differs`` for another length.
    """
    try:
        rows = read_deep3d_mat(path)
    except UserError as error:
        raise ClipError("bad_import", str(error)) from None
    if abs(len(rows) - info.frames) > max(2, TOLERANCE * info.frames):
        raise ClipError(
            "import_differs",
            f"{len(rows)} rows of coefficients for a video of {info.frames} frames",
        )
    at = np.round(np.arange(frames) * info.fps / FPS).astype(int)
    return Coefficients.from_joined(rows.layout, rows.joined()[np.minimum(at, len(rows) - 1)])


def read_openface(path: Path, frames: int) -> np.ndarray:
    """OpenFace's AU intensities, ``(frames, 17)`` in 0..1; rows without a face are bridged.

    Raises:
        ClipError: ``bad_import`` for another table, ``import_differs`` for another length.
    """
    times, values = _openface_rows(path)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / FPS
    length = times[-1] - times[0] + step
    if abs(length - frames / FPS) > max(2 / FPS, TOLERANCE * frames / FPS):
        raise ClipError(
            "import_differs", f"{path.name} covers {length:.2f} s of {frames / FPS:.2f} s"
        )
    wanted = times[0] + np.arange(frames) / FPS
    units = np.stack([np.interp(wanted, times, column) for column in values.T], 1)
    return np.clip(units / OPENFACE_MAX, 0.0, 1.0).astype(np.float32)


def _openface_rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds ``(n,)`` and intensities ``(n, 17)`` of the rows where OpenFace found a face."""
    rows: list[list[float]] = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, skipinitialspace=True)
            table.fieldnames = [(name or "").strip() for name in table.fieldnames or ()]
            missing = {"timestamp", *OPENFACE_COLUMNS} - set(table.fieldnames)
            if missing:
                raise ClipError(
                    "bad_import", f"{path.name} lacks the columns {', '.join(sorted(missing)[:4])}"
                )
            for row in table:
                if float(row.get("success") or 1) > 0:
                    rows.append(
                        [float(row["timestamp"]), *(float(row[name]) for name in OPENFACE_COLUMNS)]
                    )
                if len(rows) > MAX_ROWS:
                    raise ClipError("bad_import", f"{path.name} has more than {MAX_ROWS} rows")
    except (OSError, UnicodeDecodeError, ValueError, TypeError, csv.Error) as error:
        raise ClipError("bad_import", f"{path.name} cannot be read ({error})") from None
    array = np.array(rows, np.float64)
    if not len(array) or not np.isfinite(array).all() or (np.diff(array[:, 0]) <= 0).any():
        raise ClipError(
            "bad_import",
            f"{path.name} has no rows with a face, values not finite, or times that do not rise",
        )
    return array[:, 0], array[:, 1:]


def _by_stem(folder: Path, suffix: str, argument: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(
            argument, folder, f"a folder of {suffix} files named as the clips", "is no folder"
        )
    table: dict[str, Path] = {}
    for path in walk(folder):
        if path.suffix.lower() == suffix:
            if path.stem in table:
                raise UserError(
                    argument,
                    path,
                    f"one {suffix} file a clip",
                    f"has the name of {table[path.stem]}",
                )
            table[path.stem] = path
    return table
