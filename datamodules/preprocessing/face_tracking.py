"""Face tracking: one person followed through a clip, not across cuts; gaps are reported."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np

from datamodules.preprocessing.cropping import FrameBuffer
from emo_lightning.face.detection import TURNS, FaceConfirmer, is_upright
from emo_lightning.face.landmarks import Face, LandmarkBackend

MAX_GAP = 5
"""Frames without a face that are bridged by interpolation."""
MAX_MISSING = 0.2
RIVAL = 0.5
"""A second face of more than this share of the first one's area makes the clip ambiguous."""
SEARCH_MARGIN = 0.5
"""How far beyond the last frame's face, in its extents, the next one is searched first."""
DETAIL = 170
"""Pixels over the face that are enough for landmarks: the network's input has no more."""
THUMBNAIL = (32, 24)
CUT_CHANGE, CUT_COLOURS = 15.0, 0.8
"""A cut changes a thumbnail's values by at least this much of 255 on average, and keeps at most
this share of the colour histogram."""
GREY, DAMAGED = (127, 132), 0.1
"""A decoder without a reference picture starts from mid-grey; from this share of exactly such
pixels on, a frame is damaged."""
PROBED, PROBE_STEP = 50, 24
"""First frames by which the orientation of a clip is decided, and the step between them."""
COLOURS = 6
"""Bins of each channel in the colour histogram."""


class ClipError(Exception):
    """A clip, or a part of it, that cannot become a sample: a short code and a few words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class SceneCutReader:
    """Frames of a video; at a cut it holds the next one back until :meth:`continue_after_cut`."""

    def __init__(self, frames: Iterator[np.ndarray]) -> None:
        self._frames = frames
        self._held: np.ndarray | None = None
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def at_cut(self) -> bool:
        return self._held is not None

    def next(self) -> np.ndarray | None:
        """The next frame of the scene, or None at its end."""
        if self._held is not None:
            return None
        frame = next(self._frames, None)
        if frame is not None and self._is_cut(frame):
            self._held = frame
            return None
        return frame

    def continue_after_cut(self) -> None:
        """Begin the scene after the cut."""
        if self._held is not None:
            self._frames = itertools.chain([self._held], self._frames)
            self._held = self._before = None

    def _is_cut(self, frame: np.ndarray) -> bool:
        height, width = frame.shape[:2]
        step = max(1, min(height // (3 * THUMBNAIL[1]), width // (3 * THUMBNAIL[0])))
        sparse = np.ascontiguousarray(frame[::step, ::step])
        thumbnail = cv2.resize(sparse, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        counts = cv2.calcHist([sparse], [0, 1, 2], None, [COLOURS] * 3, [0, 256] * 3)
        colours = counts / (sparse.shape[0] * sparse.shape[1])
        before, self._before = self._before, (thumbnail, colours)
        if before is None:
            return False
        change = np.abs(thumbnail - before[0]).mean()
        return bool(change > CUT_CHANGE and np.minimum(colours, before[1]).sum() < CUT_COLOURS)


@dataclass
class TrackSegment:
    """Landmarks ``(N, 3)`` in pixels, or None, for each frame of a part of a clip.

    Attributes:
        found: the landmarks.
        shapes: blendshapes ``(52,)`` beside them where the back end has them.
        rivals: two faces of nearly one size, so that none can be chosen.
        damaged: frames that the decoder could not restore.
    """

    found: list[np.ndarray | None] = field(default_factory=list)
    shapes: list[np.ndarray | None] = field(default_factory=list)
    rivals: bool = False
    damaged: int = 0


class Seconds(Counter[str]):
    """Seconds by part of the work; ``time.process_time`` as the clock counts all threads."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self.clock = clock

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Add the block's time to a part."""
        begin = self.clock()
        try:
            yield
        finally:
            self[part] += self.clock() - begin  # type: ignore[assignment]


class FaceTracker:
    """Follows the largest confirmed face through the frames of a clip.

    Args:
        landmarker: the back end.
        confirmer: confirms faces that are not continued from the frame before.
        deadline: of ``time.monotonic()``, after which :meth:`track` raises.
    """

    def __init__(
        self, landmarker: LandmarkBackend, confirmer: FaceConfirmer, deadline: float
    ) -> None:
        self._landmarker, self._confirmer, self._deadline = landmarker, confirmer, deadline
        self._last_seen: np.ndarray | None = None

    def track(
        self, scenes: SceneCutReader, length: int, buffer: FrameBuffer | None, seconds: Seconds
    ) -> TrackSegment:
        """Landmarks of the next ``length`` frames or up to a cut; frames go to ``buffer``, if any.

        A lost face is searched where it was before any other is taken. Where a new choice must be
        made between two faces of nearly one size, the rest of the segment stays without a face.

        Raises:
            ClipError: ``timeout``.
        """
        out = TrackSegment()
        last, previous = None, None
        if scenes.at_cut:
            scenes.continue_after_cut()
            self._last_seen = None
        while len(out.found) < length:
            if time.monotonic() > self._deadline:
                detail = f"took longer than allowed, after {len(out.found)} frames of this part"
                raise ClipError("timeout", detail)
            with seconds.of("decode"):
                frame = scenes.next()
            if frame is None:
                break
            if is_damaged(frame):
                last, out.damaged = None, out.damaged + 1
            elif frame is not previous and not out.rivals:
                with seconds.of("landmarks"):
                    last, out.rivals = self._face(frame, last)
            previous = frame
            last = None if out.rivals else last
            out.found.append(None if last is None else last.points)
            out.shapes.append(None if last is None else last.blendshapes)
            if buffer is None:
                continue
            with seconds.of("crop"):
                buffer.add(frame, out.found[-1])
        return out

    def _face(self, frame: np.ndarray, last: Face | None) -> tuple[Face | None, bool]:
        """The face nearest to the last one, and whether no single face can be chosen."""
        if last is not None and (near := self._near(frame, last)) is not None:
            self._last_seen = near.points
            return near, False
        faces = self._confirmer.confirm(frame, self._landmarker.detect(frame))
        if self._last_seen is not None:
            faces = [face for face in faces if _distance(face.points, self._last_seen) < 1.0]
            faces.sort(key=lambda face: _distance(face.points, self._last_seen))
        elif len(faces) > 1 and _area(faces[1]) > RIVAL * _area(faces[0]):
            return None, True
        if not faces:
            return None, False
        self._last_seen = faces[0].points
        return faces[0], False

    def _near(self, frame: np.ndarray, last: Face) -> Face | None:
        """The face found in a window around the last one."""
        low, high = last.box[:2], last.box[2:]
        reach = SEARCH_MARGIN * float((high - low).max())
        left, top = np.maximum(np.floor(low - reach), 0).astype(int)
        right, bottom = np.minimum(np.ceil(high + reach), frame.shape[1::-1]).astype(int)
        window = np.ascontiguousarray(frame[top:bottom, left:right])
        shrink = max(1, int(float((high - low).max()) / DETAIL))
        if shrink > 1:
            size = (round(window.shape[1] / shrink), round(window.shape[0] / shrink))
            window = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
        found = self._landmarker.detect(window)
        moved = [face.moved(left, top, shrink) for face in found]
        return min(moved, key=lambda face: _distance(face.points, last.points), default=None)


def clip_turns(
    frames: Iterable[np.ndarray], landmarker: LandmarkBackend, confirmer: FaceConfirmer
) -> int:
    """Quarter turns counterclockwise that put a clip's faces upright.

    Decided by the first frame with a confirmed face in any orientation, of a few over the first two
    seconds; 0 where there is none.

    Args:
        frames: ``(H, W, 3)`` uint8 RGB; a few are taken.
        landmarker: the back end.
        confirmer: confirms faces.
    """
    for frame in itertools.islice(frames, 0, PROBED, PROBE_STEP):
        for turns in TURNS:
            turned = np.ascontiguousarray(np.rot90(frame, turns))
            faces = confirmer.confirm(turned, landmarker.detect(turned))
            if faces and is_upright(faces[0]):
                return turns
    return 0


def is_damaged(frame: np.ndarray) -> bool:
    """Whether much of the frame is the grey that a decoder shows where it has nothing."""
    step = max(4, min(frame.shape[:2]) // 64)
    pixels = frame[::step, ::step]
    return bool(((pixels >= GREY[0]) & (pixels <= GREY[1])).all(-1).mean() > DAMAGED)


def face_runs(found: list[np.ndarray | None]) -> list[tuple[int, int]]:
    """(first, end) of each run that begins and ends with a face and has gaps of 5 at most."""
    runs: list[tuple[int, int]] = []
    for t in (t for t, points in enumerate(found) if points is not None):
        if runs and t - runs[-1][1] <= MAX_GAP:
            runs[-1] = (runs[-1][0], t + 1)
        else:
            runs.append((t, t + 1))
    if len(runs) == 1 and len(found) - (runs[0][1] - runs[0][0]) <= MAX_GAP:
        return [(0, len(found))]
    return runs


def fill_gaps(found: list[np.ndarray | None]) -> tuple[np.ndarray, int]:
    """Landmarks ``(T, N, 3)`` with short gaps interpolated, and the number of frames filled.

    Raises:
        ClipError: ``no_face`` anywhere, or ``face_lost`` for over 5 frames in a row or a fifth.
    """
    there = np.array([points is not None for points in found])
    frames = len(found)
    if not there.any():
        raise ClipError("no_face", f"no face in any of {frames} frames")
    missing = int((~there).sum())
    at = np.flatnonzero(there)
    longest = int(max(np.diff(np.concatenate([[-1], at, [frames]])) - 1))
    if longest > MAX_GAP or missing > MAX_MISSING * frames:
        detail = f"no face in {missing} of {frames} frames, {longest} in a row"
        raise ClipError("face_lost", detail)
    known = np.stack([points for points in found if points is not None]).astype(np.float32)
    time_index = np.arange(frames)
    right = np.clip(np.searchsorted(at, time_index), 0, len(at) - 1)
    left = np.where(at[right] == time_index, right, np.clip(right - 1, 0, None))
    left = np.where(time_index > at[-1], len(at) - 1, left)
    span = np.maximum(at[right] - at[left], 1)
    share = np.clip((time_index - at[left]) / span, 0.0, 1.0)
    share = share[:, None, None].astype(np.float32)
    return known[left] * (1 - share) + known[right] * share, missing


def _distance(points: np.ndarray, other: np.ndarray) -> float:
    """Distance of two faces' centres, in extents of the second."""
    low, high = other[:, :2].min(0), other[:, :2].max(0)
    centre = (points[:, :2].min(0) + points[:, :2].max(0)) / 2
    return float(np.abs(centre - (low + high) / 2).max() / max(float((high - low).max()), 1e-6))


def _area(face: Face) -> float:
    return float((face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))
