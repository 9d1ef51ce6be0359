"""Landmarks of one clip, and what is derived from them: crop, geometry, expression, action
units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emo_lightning.face.builtin import RIGID
from emo_lightning.face.crop import CropBox, crop_box, to_crop
from emo_lightning.face.landmarks import to_68
from evaluation.judges import action_units, geometry, landmarks
from evaluation.judges.action_units import ActionUnitJudge
from evaluation.judges.base import JudgeInfo
from evaluation.judges.geometry import interocular
from evaluation.judges.landmarks import LandmarkJudge
from evaluation.protocol import MIN_FACE_SHARE, NotScored, same_framing


def judge_infos() -> list[JudgeInfo]:
    """Every judge on which the protocol itself rests, without opening any."""
    tracker = landmarks.describe()
    return [tracker, geometry.describe(tracker), action_units.describe(tracker)]


class Judges:
    """The judges of this protocol, each opened once a process when it is first asked."""

    @cached_property
    def landmarks(self) -> LandmarkJudge:
        return LandmarkJudge()

    @cached_property
    def units(self) -> ActionUnitJudge:
        return ActionUnitJudge(landmarks.describe())

    def close(self) -> None:
        if "landmarks" in self.__dict__:
            self.landmarks.close()


@dataclass
class Track:
    """One clip at 25 frames/s.

    Attributes:
        points: ``(T, 478, 3)`` float32 pixels, nan where no face was found.
        size: width and height of its frames.
        box: the crop that applies to it.
        judges: the protocol's own judges.
        recall: name and computation -> its result, kept from an earlier run where there was one.
    """

    points: np.ndarray
    size: tuple[int, int]
    box: CropBox
    judges: Judges
    recall: Callable[[str, Callable[[], np.ndarray]], np.ndarray] = lambda name, compute: compute()

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def seen(self) -> np.ndarray:
        """``(T,)`` bool: frames with a face."""
        return np.isfinite(self.points[:, 0, 0])

    @cached_property
    def in_crop(self) -> np.ndarray:
        """``(T, 478, 3)`` in crop units."""
        return to_crop(self.points, self.box)

    @cached_property
    def points_68(self) -> np.ndarray:
        """``(T, 68, 2)`` in crop units."""
        return to_68(self.in_crop)[..., :2]

    @cached_property
    def interocular(self) -> float:
        """The clip's median outer eye-corner distance in crop units."""
        return float(np.median(interocular(self.in_crop[self.seen])))

    @cached_property
    def geometry(self) -> np.ndarray:
        """``(T, 9)``, nan where no face was found."""
        return geometry.measure(self.points)

    @cached_property
    def expression(self) -> np.ndarray:
        """``(T, 28)``, nan where no face was found."""
        return self.recall("expression", self._fit)

    def _fit(self) -> np.ndarray:
        fitted = self.judges.units.expression(self.in_crop[self.seen])
        out = np.full((len(self), fitted.shape[1]), np.nan, np.float32)
        out[self.seen] = fitted
        return out

    @cached_property
    def units(self) -> np.ndarray:
        """``(T, 17)``, nan where no face was found."""
        return self.judges.units.units(self.expression)


class HeldTrack(Track):
    """A picture that stays: the points of one frame, ``length`` times."""

    def __init__(self, track: Track, frame: int, length: int) -> None:
        points = track.points[frame : frame + 1]
        super().__init__(np.repeat(points, length, axis=0), track.size, track.box, track.judges)
        self._one = Track(points, track.size, track.box, track.judges)

    @cached_property
    def expression(self) -> np.ndarray:
        return np.repeat(self._one.expression, len(self), axis=0)


def scaled_box(box: CropBox, factor: float) -> CropBox:
    """The same view in a picture of another resolution."""
    return CropBox(box.cx * factor, box.cy * factor, box.half * factor)


def shared_box(size: tuple[int, int], reference: Track) -> CropBox | None:
    """The reference's crop in a picture of this size, or None where the two do not show the same
    view."""
    return (
        scaled_box(reference.box, size[0] / reference.size[0])
        if same_framing(size, reference.size)
        else None
    )


@dataclass(frozen=True)
class Placement:
    """Where a face lies beside another: ``theirs = scale * mine + shift``, in pixels, at one
    moment."""

    scale: float
    shift: np.ndarray

    def box(self, theirs: CropBox) -> CropBox:
        """The square that shows in mine what ``theirs`` shows there."""
        cx, cy = (np.array([theirs.cx, theirs.cy]) - self.shift) / self.scale
        return CropBox(float(cx), float(cy), theirs.half / self.scale)


def place_beside(points: np.ndarray, reference: Track) -> Placement:
    """Scale and shift of points ``(T, 478, 3)`` onto the reference's, by least squares over those
    on bone, at the first frame in which both show a face.

    Raises:
        NotScored: there is no such frame.
    """
    shared = min(len(points), len(reference))
    both = np.flatnonzero(np.isfinite(points[:shared, 0, 0]) & reference.seen[:shared])
    if not len(both):
        raise NotScored("no moment shows a face in both clips")
    mine, theirs = (
        p[both[0], list(RIGID), :2].astype(np.float64) for p in (points, reference.points)
    )
    a, b = mine - mine.mean(axis=0), theirs - theirs.mean(axis=0)
    scale = float((a * b).sum() / (a * a).sum())
    if not scale > 0:
        raise NotScored("the two faces stand upside down to each other")
    return Placement(scale, theirs.mean(axis=0) - scale * mine.mean(axis=0))


def check_faces(points: np.ndarray, name: str) -> None:
    """NotScored unless at least half of the frames, and one, show a face."""
    seen = np.isfinite(points[:, 0, 0])
    if seen.mean() < MIN_FACE_SHARE or not seen.any():
        found = f"a face was found in {int(seen.sum())} of the {len(seen)} frames of {name}"
        raise NotScored(f"{found}; at least half are needed")


def own_box(points: np.ndarray) -> CropBox:
    """A clip's own crop, from the frames that show a face."""
    return crop_box(points[np.isfinite(points[:, 0, 0])])
