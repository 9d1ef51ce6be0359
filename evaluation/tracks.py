"""What the judges saw of one clip: points in every frame, from which all track metrics are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from emo_lightning.face.crop import CropBox, crop_box, to_crop
from emo_lightning.face.landmarks import to_68
from emo_lightning.media import MediaError
from emo_lightning.video import iter_frames
from evaluation.judges import action_units, geometry, landmarks
from evaluation.judges.action_units import ActionUnitJudge
from evaluation.judges.base import JudgeInfo
from evaluation.judges.geometry import GeometryJudge, interocular
from evaluation.judges.landmarks import LandmarkJudge
from evaluation.protocol import FPS, MIN_FACE_SHARE, NotScored

FrameHook = Callable[[np.ndarray], None]


def judge_infos() -> list[JudgeInfo]:
    """Every judge of this protocol, without opening any."""
    tracker = landmarks.describe()
    return [tracker, geometry.describe(tracker), action_units.describe(tracker)]


class Judges:
    """The judges of this protocol, opened once a process."""

    def __init__(self) -> None:
        self.landmarks = LandmarkJudge()
        self.geometry = GeometryJudge(self.landmarks.info)
        self.units = ActionUnitJudge(self.landmarks.info)

    def close(self) -> None:
        self.landmarks.close()


@dataclass
class Track:
    """One clip at 25 frames/s.

    Attributes:
        points: ``(T, 478, 3)`` float32 pixels, nan where no face was found.
        size: width and height of its frames.
        box: the crop that applies to it.
        judges: who reads more from the points when it is asked for.
    """

    points: np.ndarray
    size: tuple[int, int]
    box: CropBox
    judges: Judges

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
        return self.judges.geometry.measure(self.points)

    @cached_property
    def expression(self) -> np.ndarray:
        """``(T, 28)``, nan where no face was found."""
        fitted = self.judges.units.expression(self.in_crop[self.seen])
        out = np.full((len(self), fitted.shape[1]), np.nan, np.float32)
        out[self.seen] = fitted
        return out

    @cached_property
    def units(self) -> np.ndarray:
        """``(T, 17)``, nan where no face was found."""
        return self.judges.units.units(self.expression)


def observe(
    path: Path, judges: Judges, box: Callable[[np.ndarray, tuple[int, int]], CropBox] | None = None, on_frame: FrameHook | None = None
) -> Track:
    """Decode a video once and track its face.

    Args:
        path: the video.
        judges: who looks.
        box: crop from points and frame size; the clip's own crop by default.
        on_frame: called with each frame, for what needs pixels.

    Raises:
        NotScored: unreadable, without pictures, without a face in at least half of its frames.
    """
    rows, size = [], (0, 0)
    judges.landmarks.start()
    try:
        for frame in iter_frames(path, fps=FPS, threads=1):
            size = frame.shape[1], frame.shape[0]
            rows.append(judges.landmarks.place(frame))
            if on_frame is not None:
                on_frame(frame)
    except MediaError as error:
        raise NotScored(f"{path.name} {error.problem}") from None
    if not rows:
        raise NotScored(f"{path.name} has no frames")
    points = np.stack(rows)
    seen = np.isfinite(points[:, 0, 0])
    if seen.mean() < MIN_FACE_SHARE or not seen.any():
        raise NotScored(f"a face was found in {int(seen.sum())} of the {len(seen)} frames of {path.name}; at least half are needed")
    return Track(points, size, box(points[seen], size) if box else crop_box(points[seen]), judges)
