"""Controls of the generated motion: strengths, pose, single action units, frame rate."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.models.motion.motion_model import EXP_CEILING
from emo_lightning.motion.emotions import check_number, unit_indices
from emo_lightning.motion.transitions import minimum_jerk

MAX_STRENGTH = 2.0
BROWS = ("AU1", "AU2", "AU4")
GAZES, POSES = ("natural", "camera"), ("keep", "natural")
UPRIGHT = math.radians(10.0)
"""How far the pose "natural" turns the head towards the camera, at most, about each axis."""
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class UnitCurve:
    """Values of one action unit over time, interpolated linearly and constant outside.

    Attributes:
        unit: name, ``AU12`` for both sides, ``AU12_L`` for one.
        times: ``(K,)`` seconds, rising.
        values: ``(K,)`` intensities.
    """

    unit: str
    times: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class MotionControls:
    """Strengths of the motion: 0 is off, 1 the default, 2 the most.

    Attributes:
        head_motion: of the head's movement about its pose.
        blinks: of the blink rate.
        brows: of the brows' movement away from the portrait's expression.
        mouth: of the articulation.
        gaze_at: "natural" glances aside as the head moves, "camera" stays on the camera.
        pose: "keep" moves about the portrait's pose; "natural" turns the head towards the camera.
        curves: action units with values of their own.

    Raises:
        UserError: a strength outside 0 to 2, or an unknown gaze or pose.
    """

    head_motion: float = 1.0
    blinks: float = 1.0
    brows: float = 1.0
    mouth: float = 1.0
    gaze_at: str = "natural"
    pose: str = "keep"
    curves: tuple[UnitCurve, ...] = ()

    def __post_init__(self) -> None:
        accepted = f"a number from 0 (off) to {MAX_STRENGTH:g}"
        for name in ("head_motion", "blinks", "brows", "mouth"):
            argument = f"--{name.replace('_', '-')}"
            value = check_number(getattr(self, name), argument, (0.0, MAX_STRENGTH), accepted)
            object.__setattr__(self, name, value)
        for name, choices in (("gaze_at", GAZES), ("pose", POSES)):
            if getattr(self, name) not in choices:
                argument = f"--{name.replace('_', '-')}"
                raise UserError(argument, getattr(self, name), " or ".join(choices))

    def apply(self, chunks: Iterable[Coefficients], source: Coefficients) -> Iterator[Coefficients]:
        """Coefficients with these controls.

        ``mouth`` and ``blinks`` are not applied here but where the coefficients are generated.

        Args:
            chunks: consecutive frames at 25 frames/s from the start of the video.
            source: of the portrait, one frame.

        Raises:
            UserError: a curve for a unit that the layout lacks.
        """
        names = source.layout.exp_names
        curves = [(_units(curve.unit, names), curve) for curve in self.curves]
        brows = [k for unit in BROWS for k in unit_indices(unit, names)] if names else []
        turn = (
            np.clip(source["angle"], -UPRIGHT, UPRIGHT) if self.pose == "natural" else np.zeros(3)
        )
        start = 0
        for chunk in chunks:
            seconds = (start + np.arange(len(chunk))) / FPS
            start += len(chunk)
            yield self._applied(chunk, source, seconds, brows, turn, curves)

    def _applied(
        self,
        chunk: Coefficients,
        source: Coefficients,
        seconds: np.ndarray,
        brows: list[int],
        turn: np.ndarray,
        curves: list[tuple[list[int], UnitCurve]],
    ) -> Coefficients:
        changed = {}
        if self.head_motion != 1.0:
            for name in ("angle", "trans"):
                changed[name] = source[name] + self.head_motion * (chunk[name] - source[name])
        if self.pose == "natural":
            settled = minimum_jerk(seconds / SETTLE_SECONDS)[:, None]
            changed["angle"] = changed.get("angle", chunk["angle"]) - settled * turn
        if self.brows != 1.0 or curves:
            exp = chunk["exp"].copy()
            portrait = source["exp"][:, brows]
            exp[:, brows] = portrait + self.brows * (exp[:, brows] - portrait)
            for units, curve in curves:
                exp[:, units] = np.interp(seconds, curve.times, curve.values)[:, None]
            changed["exp"] = exp.clip(0.0, EXP_CEILING)
        if not changed:
            return chunk
        return chunk.replace(**{name: v.astype(np.float32) for name, v in changed.items()})

    def to_dict(self) -> dict[str, object]:
        """Plain values, for a record."""
        values = {name: value for name, value in vars(self).items() if name != "curves"}
        units = {
            curve.unit: [list(pair) for pair in zip(curve.times, curve.values, strict=True)]
            for curve in self.curves
        }
        return {**values, "set": units}


DEFAULT_CONTROLS = MotionControls()


def parse_curves(items: Sequence[str], argument: str = "--set") -> tuple[UnitCurve, ...]:
    """Curves from ``AU12=0.3``, or from a CSV with a column ``time`` (seconds) and one a unit.

    Raises:
        UserError: neither, a file that cannot be read, or a value outside 0 to 1.2.
    """
    curves: list[UnitCurve] = []
    for item in items:
        unit, separator, value = item.partition("=")
        if separator and not Path(item).exists():
            curves.append(UnitCurve(unit.strip(), (0.0,), (_intensity(value, argument),)))
        else:
            curves += _load_curves(Path(item), argument)
    return tuple(curves)


def _load_curves(path: Path, argument: str) -> list[UnitCurve]:
    accepted = "UNIT=VALUE, or a CSV file with a column time and one for each unit"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(argument, path, accepted, f"cannot be read ({error})") from None
    names = [name.strip() for name in header]
    if names[0].lower() != "time" or len(names) < 2 or not rows:
        raise UserError(argument, path, accepted, "has no column time, no unit, or no rows")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise UserError(argument, path, accepted, f"line {number} has {len(row)} columns")
    limits, what = (0.0, math.inf), "seconds, rising from row to row"
    where = f"{argument} {path} time"
    times = [check_number(row[0], where, limits, what) for row in rows]
    if any(b <= a for a, b in itertools.pairwise(times)):
        raise UserError(argument, path, "times that rise from row to row", "has times that do not")
    return [
        UnitCurve(
            name,
            tuple(times),
            tuple(_intensity(row[k], f"{argument} {path} {name}") for row in rows),
        )
        for k, name in enumerate(names)
        if k
    ]


def interpolate(chunks: Iterable[Coefficients], fps: int) -> Iterator[Coefficients]:
    """Coefficients at 25 frames/s as those at another rate, linearly interpolated in time.

    Args:
        chunks: consecutive frames.
        fps: at least 25; ``n`` frames become ``round(n * fps / 25)``.
    """
    if fps == FPS:
        yield from chunks
        return
    last, start, made, layout = np.zeros((0, 0), np.float32), 0, 0, None
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        rows, layout = chunk.joined(), chunk.layout
        rows = np.concatenate([last, rows]) if len(last) else rows
        end = start + len(rows) - 1
        count = math.floor(end * fps / FPS) + 1
        places = np.arange(made, count) * FPS / fps - start
        yield Coefficients.from_joined(layout, _between(rows, places))
        last, start, made = rows[-1:], end, count
    total = round((start + len(last)) * fps / FPS)
    if layout is not None and total > made:
        yield Coefficients.from_joined(layout, np.repeat(last, total - made, axis=0))


def _between(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    low = np.clip(np.floor(places).astype(int), 0, len(rows) - 1)
    high, share = np.minimum(low + 1, len(rows) - 1), (places - low)[:, None]
    return (rows[low] + share * (rows[high] - rows[low])).astype(np.float32)


def _intensity(value: str, argument: str) -> float:
    accepted = f"a number from 0 to {EXP_CEILING:g}"
    return check_number(value, argument, (0.0, EXP_CEILING), accepted)


def _units(unit: str, names: Sequence[str]) -> list[int]:
    try:
        return unit_indices(unit, names)
    except KeyError:
        raise UserError("--set", unit, ", ".join(names), "is not an action unit") from None
