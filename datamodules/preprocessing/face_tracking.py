"""Whose face a clip shows, frame by frame: one person followed through others, gaps told, never across a cut."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np

from datamodules.preprocessing.frame_buffer import FrameBuffer, level_for
from emo_lightning.face.landmarks import Face, LandmarkBackend
from emo_lightning.media.lazy_frame import Picture

MAX_GAP = 5
"""Frames without a face that are bridged by interpolation."""
MAX_MISSING = 0.2
RIVAL = 0.5
"""A second face of more than this share of the first one's area makes the clip ambiguous."""
LOOK_AROUND = 0.5
"""How far beyond the last frame's face, in its own extents, the next one is looked for first."""
DETAIL = 170
"""Pixels over the face that landmarks are looked for in at least, where the video has them: the network sees no more."""
THUMB = (32, 24)
CUT_CHANGE, CUT_COLOURS = 15.0, 0.8
"""A cut changes a thumbnail's values by at least so much of 255 on average, and leaves at most this share of the colours the
same. Movement within a scene, however fast, left 0.88 of them or more in real clips; other people in one studio share 0.7."""
GREY, DAMAGED = (127, 132), 0.1
"""A decoder without a picture to build on starts from mid-grey; from this share of exactly such pixels a frame is damaged.
In whole real clips there was at most 0.001 of them."""
COLOURS = 6
"""Steps of each channel in the count of colours."""


class ClipError(Exception):
    """A clip, or a part of it, that cannot become a sample: a short code and a few words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class SceneCutReader:
    """Pictures of a video; at a cut it holds the next one back until :meth:`go_on`."""

    def __init__(self, frames: Iterator[Picture]) -> None:
        self._frames, self._held = frames, None
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def at_cut(self) -> bool:
        return self._held is not None

    def next(self) -> Picture | None:
        """The next picture of the scene, or None at its end."""
        if self._held is not None:
            return None
        frame = next(self._frames, None)
        if frame is not None and self._cuts_to(frame):
            self._held = frame
            return None
        return frame

    def go_on(self) -> None:
        """Let the scene after the cut begin."""
        if self._held is not None:
            frame, self._held = self._held, None
            self._frames = _chained(frame, self._frames)
            self._before = None

    def _cuts_to(self, frame: Picture) -> bool:
        sparse = frame.sparse(
            max(1, min(frame.shape[0] // (3 * THUMB[1]), frame.shape[1] // (3 * THUMB[0])))
        )
        thumb = cv2.resize(sparse, THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
        colours = cv2.calcHist([sparse], [0, 1, 2], None, [COLOURS] * 3, [0, 256] * 3) / (
            sparse.shape[0] * sparse.shape[1]
        )
        before, self._before = self._before, (thumb, colours)
        if before is None:
            return False
        return bool(
            np.abs(thumb - before[0]).mean() > CUT_CHANGE
            and np.minimum(colours, before[1]).sum() < CUT_COLOURS
        )


@dataclass
class Look:
    """What was found in a run of frames: landmarks ``(N, 3)`` in pixels or None for each.

    ``shapes`` has the blendshapes ``(52,)`` beside them where the back-end gives them; ``rivals`` says that two faces vie,
    ``damaged`` how many frames the decoder could not restore.
    """

    found: list[np.ndarray | None] = field(default_factory=list)
    shapes: list[np.ndarray | None] = field(default_factory=list)
    rivals: bool = False
    damaged: int = 0


class Seconds(Counter[str]):
    """Seconds by part of the work, on a clock that may be another: ``time.process_time`` tells the work of all threads."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self.clock = clock

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Add the time that the block takes to a part."""
        begin = self.clock()
        try:
            yield
        finally:
            self[part] += self.clock() - begin  # type: ignore[assignment]


class FaceTracker:
    """Follows the largest face through the frames of a clip.

    Args:
        landmarker: the back-end.
        deadline: of ``time.monotonic()``, after which :meth:`look` gives up.
    """

    def __init__(self, landmarker: LandmarkBackend, deadline: float) -> None:
        self._landmarker, self._deadline = landmarker, deadline
        self._home: np.ndarray | None = None

    def look(
        self, scenes: SceneCutReader, length: int, held: FrameBuffer, seconds: Seconds
    ) -> Look:
        """Landmarks of the next frames, up to ``length`` and not past a cut; the frames go to ``held``.

        A face that was lost is looked for where it was before any other is taken. Where the choice begins anew and two
        faces are nearly of one size, nothing is chosen and the rest of the run is only read.

        Raises:
            ClipError: ``timeout``.
        """
        out = Look()
        last, same = None, None
        if scenes.at_cut:
            scenes.go_on()
            self._home = None
        while len(out.found) < length:
            if time.monotonic() > self._deadline:
                raise ClipError(
                    "timeout",
                    f"took longer than allowed, after {len(out.found)} frames of this part",
                )
            with seconds.of("decode"):
                frame = scenes.next()
            if frame is None:
                break
            if is_damaged(frame):
                last, out.damaged = None, out.damaged + 1
            elif frame is not same and not out.rivals:
                with seconds.of("decode"):
                    # Pictures are converted when they are looked at, which is part of decoding them.
                    frame.rgb(_level(frame, last))
                with seconds.of("landmarks"):
                    last, out.rivals = self._face(frame, last)
            same = frame
            last = None if out.rivals else last
            out.found.append(None if last is None else last.points)
            out.shapes.append(None if last is None else last.blendshapes)
            with seconds.of("crop"):
                held.add(frame, out.found[-1])
        return out

    def _face(self, frame: Picture, last: Face | None) -> tuple[Face | None, bool]:
        """The face, in pixels of the frame, near the last one first, and whether no one face can be chosen."""
        if last is not None:
            near = self._near(frame, last)
            if near is not None:
                self._home = near.points
                return near, False
        faces = self._landmarker.detect(frame.rgb())
        if self._home is not None:
            faces = [face for face in faces if _apart(face.points, self._home) < 1.0]
            faces.sort(key=lambda face: _apart(face.points, self._home))
        elif len(faces) > 1 and _area(faces[1]) > RIVAL * _area(faces[0]):
            return None, True
        if not faces:
            return None, False
        self._home = faces[0].points
        return faces[0], False

    def _near(self, frame: Picture, last: Face) -> Face | None:
        low, high, level = last.box[:2], last.box[2:], _level(frame, last)
        image, scale = frame.rgb(level), 2**level
        reach = LOOK_AROUND * float((high - low).max())
        left, top = np.maximum(np.floor((low - reach) / scale), 0).astype(int)
        right, bottom = np.minimum(
            np.ceil((high + reach) / scale), (image.shape[1], image.shape[0])
        ).astype(int)
        faces = self._landmarker.detect(np.ascontiguousarray(image[top:bottom, left:right]))
        corner = np.array([left, top, 0], np.float32)
        moved = [
            Face(
                (face.points + corner) * scale,
                face.blendshapes,
                (face.box + np.tile(corner[:2], 2)) * scale,
            )
            for face in faces
        ]
        return min(moved, key=lambda face: _apart(face.points, last.points), default=None)


def _level(frame: Picture, last: Face | None) -> int:
    """How often the sides of a picture are halved to look for a face that was last seen somewhere."""
    return (
        0
        if last is None
        else level_for(float((last.box[2:] - last.box[:2]).max()) / DETAIL, frame.shape)
    )


def is_damaged(frame: Picture) -> bool:
    """Whether a good part of the picture is the grey that a decoder puts where it has nothing."""
    pixels = frame.sparse(max(4, min(frame.shape) // 64))
    return bool(((pixels >= GREY[0]) & (pixels <= GREY[1])).all(-1).mean() > DAMAGED)


def stretches(found: list[np.ndarray | None]) -> list[tuple[int, int]]:
    """(first, end) of every run of frames that begins and ends with a face and lacks it for 5 frames on end at most."""
    there = [t for t, points in enumerate(found) if points is not None]
    runs: list[tuple[int, int]] = []
    for t in there:
        if runs and t - runs[-1][1] <= MAX_GAP:
            runs[-1] = (runs[-1][0], t + 1)
        else:
            runs.append((t, t + 1))
    if len(runs) == 1 and len(found) - (runs[0][1] - runs[0][0]) <= MAX_GAP:
        return [(0, len(found))]
    return runs


def bridge(found: list[np.ndarray | None]) -> tuple[np.ndarray, int]:
    """Landmarks ``(T, N, 3)`` with short gaps filled along a straight line, and how many frames were filled.

    Raises:
        ClipError: ``no_face`` anywhere, or ``face_lost`` for longer than 5 frames on end or a fifth of all.
    """
    there = np.array([points is not None for points in found])
    frames = len(found)
    if not there.any():
        raise ClipError("no_face", f"no face in any of {frames} frames")
    missing = int((~there).sum())
    at = np.flatnonzero(there)
    longest = int(max(np.diff(np.concatenate([[-1], at, [frames]])) - 1))
    if longest > MAX_GAP or missing > MAX_MISSING * frames:
        raise ClipError("face_lost", f"no face in {missing} of {frames} frames, {longest} on end")
    known = np.stack([points for points in found if points is not None]).astype(np.float32)
    right = np.clip(np.searchsorted(at, np.arange(frames)), 0, len(at) - 1)
    left = np.where(at[right] == np.arange(frames), right, np.clip(right - 1, 0, None))
    left = np.where(np.arange(frames) > at[-1], len(at) - 1, left)
    span = np.maximum(at[right] - at[left], 1)
    share = np.clip((np.arange(frames) - at[left]) / span, 0.0, 1.0)[:, None, None].astype(
        np.float32
    )
    return known[left] * (1 - share) + known[right] * share, missing


def _apart(points: np.ndarray, other: np.ndarray) -> float:
    """How far two faces' middles are apart, in extents of the second."""
    low, high = other[:, :2].min(0), other[:, :2].max(0)
    middle = (points[:, :2].min(0) + points[:, :2].max(0)) / 2
    return float(np.abs(middle - (low + high) / 2).max() / max(float((high - low).max()), 1e-6))


def _area(face: Face) -> float:
    return float((face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))


def _chained(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
