"""The comparison as text, markdown, JSON and contact sheets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._compare_rows import MESH, Row
from benchmarks._compare_scores import CROSS, SELF, Column, Judging, Scores, TrackedVideo
from benchmarks._shared import RESAMPLES
from emo_lightning.core.atomic_files import publish, staging
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import provenance, sha256_of
from emo_lightning.face.builtin import LIPS
from emo_lightning.face.crop import CropBox, crop_image
from evaluation.judges.geometry import FEATURES
from evaluation.report.contact_sheet import captioned
from evaluation.suite.motion import head_angles

MOUTH = 0.55
"""Half of the enlarged square's side in distances between the eyes; its middle half is shown."""


@dataclass
class Strip:
    """One moment: pictures by caption, in order, each with the place of its mouth."""

    cells: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, caption: str, frame: np.ndarray, mouth: CropBox) -> None:
        """A frame ``(S, S, 3)`` and where to look closer."""
        size = frame.shape[0]
        near = crop_image(frame, mouth, size)[size // 4 : size - size // 4]
        self.cells[caption] = np.vstack([frame, near])


def mouth_of(video: TrackedVideo, frame: int) -> CropBox:
    """Where the mouth is in a frame; where it was last seen, if no face is."""
    seen = np.flatnonzero(video.seen)
    if not len(seen):
        half = video.frames.shape[1] / 2
        return CropBox(half, 1.4 * half, 0.4 * half)
    nearest = seen[np.abs(seen - frame).argmin()]
    unit = video.track.interocular * video.frames.shape[1] / 2
    x, y = video.track.points[nearest, list(LIPS), :2].mean(axis=0)
    return CropBox(float(x), float(y), MOUTH * unit)


def moments(video: TrackedVideo) -> list[int]:
    """Two frames worth a look: the mouth at its widest, and the head farthest from where it was at
    first.
    """
    seen = np.flatnonzero(video.seen)
    if len(seen) < 3:
        return [0, len(video.frames) - 1]
    opening = video.track.geometry[seen, list(FEATURES).index("lip_open")]
    angles = head_angles(video.track)
    return [int(seen[opening.argmax()]), int(seen[np.abs(angles - angles[0]).max(axis=1).argmax()])]


def write_contact_sheet(path: Path, strips: Sequence[Strip]) -> None:
    """One row a moment, one column a caption; a cell that is missing stays empty."""
    captions = list(dict.fromkeys(name for strip in strips for name in strip.cells))
    empty = np.full(next(iter(strips[0].cells.values())).shape, 245, np.uint8)
    rows = [
        np.hstack([captioned(strip.cells.get(name, empty), name) for name in captions])
        for strip in strips
    ]
    cv2.imwrite(str(path), np.vstack(rows)[:, :, ::-1])


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its 95 % interval, and how many clips and people are behind it."""

    mean: float
    low: float
    high: float
    clips: int
    people: int

    def cell(self, places: int, sign: str = "") -> str:
        """As a table says it."""
        shown = [f"{value:{sign}.{places}f}" for value in (self.mean, self.low, self.high)]
        return f"{shown[0]} [{shown[1]}, {shown[2]}]" if self.clips > 1 else shown[0]


Estimates = dict[str, dict[str, dict[str, Estimate | None]]]
"""Row -> score -> ``mean``, and ``minus``: the paired difference to another row."""


@dataclass
class Drawn:
    """One row's scores per clip; None, with a reason, where it could not render."""

    scores: list[Scores | None]
    reason: str = ""

    @property
    def failed(self) -> int:
        """How many it could not draw."""
        return sum(scores is None for scores in self.scores)


def estimate(values: np.ndarray, people: Sequence[str]) -> Estimate | None:
    """Mean of the clips that have a value; the interval is a bootstrap over people, over clips
    where there is one person.

    None without any value.
    """
    there = np.isfinite(values)
    if not there.any():
        return None
    names = np.asarray(people)[there]
    drawn = names if len(set(names)) > 1 else np.arange(there.sum()).astype(str)
    rows = np.array(
        [(values[there][drawn == name].sum(), (drawn == name).sum()) for name in sorted(set(drawn))]
    )
    totals = rows[np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))].sum(
        axis=1
    )
    low, high = np.quantile(totals[:, 0] / totals[:, 1], (0.025, 0.975))
    return Estimate(
        float(values[there].mean()), float(low), float(high), int(there.sum()), len(set(names))
    )


def values_of(drawn: Drawn, score: str) -> np.ndarray:
    """One score of every clip, nan where there is none."""
    return np.array(
        [np.nan if scores is None else scores.get(score, np.nan) for scores in drawn.scores]
    )


def estimates(
    rows: Mapping[str, Drawn], columns: Mapping[str, Column], people: Sequence[str], beside: str
) -> Estimates:
    """Every row's scores, and their differences to the row ``beside`` (none where there is no such
    row).
    """
    found: Estimates = {}
    for name, drawn in rows.items():
        found[name] = {}
        for score in columns:
            values = values_of(drawn, score)
            mean = estimate(values, people)
            compared = name != beside and beside in rows
            minus = estimate(values - values_of(rows[beside], score), people) if compared else None
            found[name][score] = {"mean": mean, "minus": minus}
    return found


def to_json(found: Estimates) -> dict:
    """The same as plain values."""
    return {
        row: {
            score: {kind: asdict(value) if value else None for kind, value in both.items()}
            for score, both in scores.items()
        }
        for row, scores in found.items()
    }


def table(found: Estimates, columns: Mapping[str, Column], kind: str) -> list[str]:
    """Markdown: a line for each score that anyone has, a column for each row of the comparison."""
    names = list(found)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for score, column in columns.items():
        values = [found[name][score][kind] for name in names]
        if any(values):
            arrow = {True: " ↑", False: " ↓", None: ""}[column.better]
            cells = [
                value.cell(column.places, "+" if kind == "minus" else "") if value else "–"
                for value in values
            ]
            unit = f", {column.unit}" if column.unit else ""
            lines.append(f"| {column.label}{unit}{arrow} | " + " | ".join(cells) + " |")
    return lines


PROTOCOL = "emo-compare-1"
STEADY = ("jitter", "flicker")
FACTS = (
    "Same portrait (frame 0, which is not scored), same coefficients, same square and size for "
    "every row; no row sees a pixel of what it"
    " is to draw. The ceiling alone sees the driver's landmarks.",
    "Cells: mean over clips and 95 % interval, by a bootstrap over people (over clips, if there is "
    "one person). IOD: the outer eye"
    " corners' distance. ↑ more is better, ↓ less; jitter is to be near the true clips'.",
    "r: Pearson's correlation over a clip's frames, of openings in eye-corner distances, of 17 "
    "action units each about its own mean; what"
    " stands still has none. CSIM is with the true frame of the same moment, across identities "
    "with the portrait.",
    "PSNR is that of a clip's pooled squared error; face: the box of the face's oval, lips: that "
    "of the lips, both where they truly are.",
)


@dataclass
class Part:
    """One protocol's results.

    Attributes:
        drawn: row -> scores of each clip or pair.
        what: which of the two.
        names, people: of each, and whom the intervals draw anew.
        strips: moments to be shown.
        truth: steadiness of the true, or driving, clips.
    """

    drawn: dict[str, Drawn]
    what: str = "clips"
    names: list[str] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    truth: list[Scores] = field(default_factory=list)
    _estimates: Estimates | None = None

    @property
    def count(self) -> str:
        """How many clips, or pairs, of how many people."""
        people = len(set(self.people))
        return f"{len(self.names)} {self.what}, {people} {'people' if people != 1 else 'person'}"

    def estimates(self, columns: Mapping[str, Column]) -> Estimates:
        """Means and paired differences to the mesh, found once."""
        if self._estimates is None:
            self._estimates = estimates(self.drawn, columns, self.people, MESH)
        return self._estimates


@dataclass
class Report:
    """Results of a comparison, as Markdown, JSON and contact sheets."""

    own: Part
    cross: Part
    rows: Sequence[Row]
    judging: Judging
    notes: Sequence[str]
    size: int
    settings: Mapping[str, Any]

    def lines(self) -> list[str]:
        """Markdown."""
        own = self._part(
            self.own,
            SELF,
            "Self-reenactment",
            "each clip's frame 0 moved by the clip's own coefficients",
        )
        about = (
            "portraits moved by another person's clip: the driver's expression, and the head's "
            "motion since frame 0"
        )
        cross = self._part(self.cross, CROSS, "Cross-identity", about) if self.cross.names else []
        return [
            f"# Renderers compared ({PROTOCOL}, {self.size} x {self.size})",
            "",
            *own,
            *cross,
            *self._notes(),
        ]

    def _part(self, part: Part, columns: Mapping[str, Column], title: str, about: str) -> list[str]:
        found = part.estimates(columns)
        lines = [
            f"## {title}: {part.count}",
            "",
            f"{about[0].upper()}{about[1:]}.",
            "",
            *table(found, columns, "mean"),
            "",
        ]
        steady = {
            name: estimate(np.array([scores[name] for scores in part.truth]), part.people)
            for name in STEADY
        }
        said = (
            f"{columns[name].label} {value.cell(columns[name].places)}"
            for name, value in steady.items()
            if value
        )
        lines += [f"The real clips themselves: {', '.join(said)}.", ""]
        lines += [
            f"- {name}, {drawn.failed} of {len(drawn.scores)} without numbers: {drawn.reason}"
            for name, drawn in part.drawn.items()
            if drawn.reason
        ]
        return [
            *lines,
            "",
            f"### {title}: difference to the {MESH} on the same clips",
            "",
            *table(found, columns, "minus"),
            "",
        ]

    def _notes(self) -> list[str]:
        rows = [f"- {row.name}: {row.about}" for row in self.rows]
        absent = [f"- {score} is absent: {why}" for score, why in self.judging.missing.items()]
        judges = ", ".join(dict.fromkeys(info.name for info in self.judging.infos))
        return [
            "## Rows and judges",
            "",
            *rows,
            *(f"- {note}" for note in (*self.notes, *FACTS)),
            f"- judges: {judges}",
            *absent,
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "protocol": PROTOCOL,
            "size": self.size,
            "self": _values(self.own, SELF),
            "cross": _values(self.cross, CROSS),
            "rows": {row.name: _described(row) for row in self.rows},
            "notes": [*self.notes, *FACTS],
            "judges": [info.to_json() for info in self.judging.infos],
            "missing": self.judging.missing,
            "provenance": provenance(
                {name: _named(value) for name, value in self.settings.items()}
            ),
        }

    def write(self, out: Path) -> None:
        """Tables and contact sheets into a folder, which is made."""
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                "--out", out, "a folder that can be written", f"cannot be made ({error.strerror})"
            ) from None
        with staging(out, "--out") as stage:
            for name, part in (("self.png", self.own), ("cross.png", self.cross)):
                if part.strips:
                    write_contact_sheet(stage / name, part.strips)
            (stage / "compare.md").write_text("\n".join(self.lines()) + "\n", encoding="utf-8")
            (stage / "compare.json").write_text(
                json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            publish(stage, out, [path.name for path in sorted(stage.iterdir(), reverse=True)])


def _values(part: Part, columns: Mapping[str, Column]) -> dict[str, Any]:
    """Estimates and every clip's own scores; nan becomes null."""
    clips = [
        {
            "clip": name,
            "person": part.people[i],
            "truth": _plain(part.truth[i]),
            "rows": {k: _plain(d.scores[i]) for k, d in part.drawn.items()},
        }
        for i, name in enumerate(part.names)
    ]
    reasons = {row: drawn.reason for row, drawn in part.drawn.items() if drawn.reason}
    return {
        "rows": to_json(part.estimates(columns)) if clips else {},
        "reasons": reasons,
        "clips": clips,
    }


def _plain(scores: Scores | None) -> dict[str, float | None] | None:
    return (
        None
        if scores is None
        else {name: float(v) if np.isfinite(v) else None for name, v in scores.items()}
    )


def _described(row: Row) -> dict[str, Any]:
    """A row without its numbers."""
    return {
        "about": row.about,
        "reason": row.reason or None,
        "weights": {file.name: sha256_of(file) for file in row.files},
    }


def _named(value: object) -> object:
    """Paths by their last part, in lists too."""
    return (
        [_named(one) for one in value]
        if isinstance(value, list)
        else Path(value).name
        if isinstance(value, Path)
        else value
    )
