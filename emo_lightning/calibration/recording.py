"""Track a talking video: expression and lips 25 times a second, and the audio; no picture is kept.

Tracking is that of preprocessing (:mod:`datamodules.preprocessing.face_tracking`): one person,
scene cuts found, short gaps bridged. One identity is fitted to all videos together, so that what
differs between frames is expression.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datamodules.preprocessing.extraction import MIN_FRAMES
from datamodules.preprocessing.face_tracking import (
    ClipError,
    FaceTracker,
    SceneCutReader,
    Seconds,
    TrackSegment,
    clip_turns,
    face_runs,
    fill_gaps,
)
from emo_lightning.calibration.lips import lips_of_points, lips_of_shape
from emo_lightning.core.constants import FPS, SAMPLES_PER_FRAME
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import track
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.crop import crop_box, to_crop
from emo_lightning.face.detection import FaceConfirmer
from emo_lightning.face.fit import IDENTITY_FRAMES
from emo_lightning.face.landmarks import LandmarkBackend, open_landmarker
from emo_lightning.media.audio_reader import SILENCE_PEAK, iter_audio
from emo_lightning.media.container import MediaError
from emo_lightning.media.loudness import SpeechLevel, levelled
from emo_lightning.media.video_reader import iter_frames, probe

FRAMES_AT_ONCE = 250
SPEECH_RANGE_DB = 25.0
"""A frame this far below the level of speech is not speech."""
HANGOVER = 6
"""Frames around speech that count as speech: between words the mouth still moves."""
ARGUMENT = "--video"
ACCEPTED = "a video of a person who speaks, with its audio"


@dataclass(frozen=True)
class Recording:
    """One tracked file of T frames.

    Attributes:
        name: the file's name, without its folder.
        sha256: of the file.
        wave: ``(640 T,)`` at one level of speech.
        speaking: ``(T,)`` bool, voice activity.
        segment: ``(T,)`` int, number of the unbroken segment with a face, -1 without a face.
        coefficients: T frames; undefined in frames without a face.
        lips: ``(T, 2)``, see :func:`emo_lightning.calibration.lips.lips_of_points`.
        notes: what was skipped and why.
    """

    name: str
    sha256: str
    wave: np.ndarray
    speaking: np.ndarray
    segment: np.ndarray
    coefficients: Coefficients
    lips: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> np.ndarray:
        """``(T,)`` bool: a speaking face."""
        return self.speaking & (self.segment >= 0)


@dataclass
class _TrackedVideo:
    """Landmarks of one file: ``(n, 478, 3)`` and the first frame of each segment."""

    path: Path
    frames: int = 0
    wave: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    segments: list[tuple[int, np.ndarray]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def track_videos(
    videos: Sequence[Path], audio: Mapping[Path, Path] | None = None, landmarks: str = "mediapipe"
) -> list[Recording]:
    """Track every video; prints its progress.

    Args:
        videos: of one person.
        audio: recordings to use instead of a video's own audio, by video.
        landmarks: landmark back-end.

    Raises:
        UserError: a file that cannot be read, without audio, or without a face.
    """
    audio = audio or {}
    for path in videos:
        if not probe(path, ARGUMENT).has_audio and path not in audio:
            raise UserError(ARGUMENT, path, ACCEPTED, "has no sound")
    landmarker = open_landmarker(landmarks)
    try:
        tracked = [_track_video(path, audio.get(path), landmarker) for path in videos]
    finally:
        landmarker.close()
    model = BuiltinFaceModel.load()
    identity = _fit_identity(model, [p for video in tracked for _, p in video.segments])
    return [_fit_recording(model, video, identity) for video in tracked]


def speech_frames(wave: np.ndarray, frames: int) -> np.ndarray:
    """Voice activity ``(frames,)`` of ``(640 frames,)``, with :data:`HANGOVER` frames around it."""
    level = SpeechLevel()
    level.add(wave)
    blocks = np.square(wave[: frames * SAMPLES_PER_FRAME], dtype=np.float64).reshape(frames, -1)
    active = 10 * np.log10(blocks.mean(1) + 1e-12) > level.level() - SPEECH_RANGE_DB
    return np.convolve(active, np.ones(2 * HANGOVER + 1), "same")[:frames] > 0.5


def _track_video(path: Path, audio: Path | None, landmarker: LandmarkBackend) -> _TrackedVideo:
    info = probe(path, ARGUMENT)
    confirmer = FaceConfirmer(landmarker)
    turns = clip_turns(iter_frames(path, argument=ARGUMENT, threads=1), landmarker, confirmer)
    pictures = iter_frames(path, argument=ARGUMENT, threads=1)
    pictures = (np.ascontiguousarray(np.rot90(picture, turns)) for picture in pictures)
    pictures = track(pictures, f"track {path.name}", round(info.seconds * FPS), "frames")
    scenes, tracker = SceneCutReader(pictures), FaceTracker(landmarker, confirmer, math.inf)
    video, start = _TrackedVideo(path), 0
    if turns:
        video.notes.append(f"turned by {90 * (4 - turns)} degrees")
    while True:
        cut = scenes.at_cut
        part = tracker.track(scenes, FRAMES_AT_ONCE, None, Seconds(time.perf_counter))
        if not part.found:
            break
        _add_segments(video, start, part, cut)
        start += len(part.found)
    video.frames = start
    if not video.segments:
        notes = f" ({'; '.join(video.notes)})" if video.notes else ""
        problem = f"shows no face that can be followed in {start / FPS:.1f} s{notes}"
        raise UserError(ARGUMENT, path, "a video of one person's face", problem)
    source, first = (path, info.start) if audio is None else (audio, None)
    video.wave = _load_wave(source, first, start)
    return video


def _add_segments(video: _TrackedVideo, start: int, part: TrackSegment, cut: bool) -> None:
    """Add a part's segments; one that continues the last one is joined to it."""
    at = f"at {start / FPS:.1f} s"
    if part.damaged:
        video.notes.append(f"{part.damaged} damaged frames from {start / FPS:.1f} s on")
    if part.rivals:
        video.notes.append(f"two faces of nearly one size {at}")
        return
    for first, end in face_runs(part.found):
        try:
            points, _ = fill_gaps(part.found[first:end])
        except ClipError as error:
            video.notes.append(f"{error.detail} {at}")
            continue
        last = video.segments[-1] if video.segments else None
        if last and first == 0 and not cut and last[0] + len(last[1]) == start:
            video.segments[-1] = (last[0], np.concatenate([last[1], points]))
        elif len(points) >= MIN_FRAMES:
            video.segments.append((start + first, points))


def _fit_recording(
    model: BuiltinFaceModel, video: _TrackedVideo, identity: np.ndarray
) -> Recording:
    count, layout = video.frames, model.layout
    values = {name: np.zeros((count, layout.width(name)), np.float32) for name in layout.blocks}
    lips, segment = np.zeros((count, 2)), np.full(count, -1)
    box = crop_box(np.concatenate([points for _, points in video.segments]))
    for number, (start, points) in enumerate(video.segments):
        part, points = slice(start, start + len(points)), to_crop(points, box)
        fit = model.fit(points, identity).coefficients
        for name, block in fit.items():
            values[name][part] = block
        lips[part], segment[part] = lips_of_points(points, fit), number
    wave = levelled(video.wave)
    return Recording(
        name=video.path.name,
        sha256=sha256_of(video.path),
        wave=wave,
        speaking=speech_frames(wave, count),
        segment=segment,
        coefficients=Coefficients(layout, values),
        lips=lips,
        notes=tuple(video.notes),
    )


def _fit_identity(model: BuiltinFaceModel, segments: list[np.ndarray]) -> np.ndarray:
    """``(40,)``: fitted to all frames, then again to those in which the mouth is most closed."""
    points = np.concatenate(segments)
    count = min(len(points), 2 * IDENTITY_FRAMES)
    spread = np.unique(np.linspace(0, len(points) - 1, count).round().astype(int))
    opening = lips_of_shape(model.fit(points[spread]).coefficients)[:, 0]
    closed = np.argsort(opening, kind="stable")[: max(len(spread) // 4, 1)]
    return model.fit(points[spread[np.sort(closed)]]).coefficients["id"][0]


def _load_wave(path: Path, start: float | None, frames: int) -> np.ndarray:
    """``(640 frames,)``: the audio from the first picture on."""
    blocks, missing = [], frames * SAMPLES_PER_FRAME
    try:
        for block in iter_audio(path, argument=ARGUMENT, start=start):
            blocks.append(block[:missing])
            missing -= len(blocks[-1])
            if missing <= 0:
                break
    except MediaError as error:
        if not blocks:
            raise UserError(ARGUMENT, path, error.accepted, error.problem) from None
    wave = np.concatenate([*blocks, np.zeros(missing, np.float32)])
    if np.abs(wave).max(initial=0.0) < SILENCE_PEAK:
        raise UserError(ARGUMENT, path, ACCEPTED, "is silent (nothing above -70 dBFS)")
    return wave
