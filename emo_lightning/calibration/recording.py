"""A talking video to numbers: expression and lips 25 times a second, and the sound; the pictures are forgotten at once.

Tracking is that of preprocessing (:mod:`datamodules.preprocessing.face_tracking`): one person followed, cuts seen, short gaps bridged. One identity is
fitted to all videos together, so that what differs between frames is expression.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datamodules.preprocessing.extraction import MIN_FRAMES
from datamodules.preprocessing.face_tracking import (
    ClipError,
    FaceTracker,
    SceneCutReader,
    Seconds,
    fill_gaps,
    TrackSegment,
    face_runs,
)
from emo_lightning.calibration.lips import lips_of_points, lips_of_shape
from emo_lightning.core.constants import FPS, SAMPLES_PER_FRAME
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import Progress
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.crop import crop_box, to_crop
from emo_lightning.face.fit import IDENTITY_FRAMES
from emo_lightning.face.landmarks import LandmarkBackend, open_landmarker
from emo_lightning.media.audio_reader import SILENCE_PEAK, iter_audio
from emo_lightning.media.container import MediaError
from emo_lightning.media.loudness import SpeechLevel, levelled
from emo_lightning.media.video_reader import iter_frames, probe

PART = 250
"""Frames looked at in one go."""
SPEECH_RANGE_DB = 25.0
"""A frame this far below the speech's own level is not speech."""
HANGOVER = 6
"""Frames around heard speech that count as speech: between words the mouth still speaks."""
ARGUMENT = "--video"
SPEAKER = "a video of a person who speaks, with its sound"


@dataclass(frozen=True)
class Recording:
    """One file: its sound, and what the tracker saw of the face while there was one.

    Attributes:
        name: the file's name, without its folder.
        sha256: of the file.
        wave: ``(640 T,)`` at one level of speech.
        spoken: ``(T,)`` bool, speech is heard.
        run: ``(T,)`` int, number of the unbroken stretch that a frame is in, -1 without a face.
        coefficients: T frames; what stands in frames without a face means nothing.
        lips: ``(T, 2)`` tracked opening and width, see :func:`emo_lightning.calibration.lips.lips_of_points`.
        notes: what was left out and why.
    """

    name: str
    sha256: str
    wave: np.ndarray
    spoken: np.ndarray
    run: np.ndarray
    coefficients: Coefficients
    lips: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def useful(self) -> np.ndarray:
        """``(T,)`` bool: a face that speaks."""
        return self.spoken & (self.run >= 0)


@dataclass
class _Seen:
    """Landmarks of one file, ``(n, 478, 3)`` for each stretch, and where the stretches begin."""

    path: Path
    frames: int
    wave: np.ndarray
    runs: list[tuple[int, np.ndarray]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def watch(
    videos: Sequence[Path], sounds: Mapping[Path, Path] | None = None, landmarks: str = "mediapipe"
) -> list[Recording]:
    """Track every video; prints how far it is.

    Args:
        videos: of one person.
        sounds: recordings to hear instead of a video's own sound, by video.
        landmarks: landmark back-end.

    Raises:
        UserError: a file that cannot be read, without sound, or without a face.
    """
    sounds = sounds or {}
    for path in videos:
        if not probe(path, ARGUMENT).has_audio and path not in sounds:
            raise UserError(ARGUMENT, path, SPEAKER, "has no sound")
    landmarker = open_landmarker(landmarks)
    try:
        seen = [_look(path, sounds.get(path), landmarker) for path in videos]
    finally:
        landmarker.close()
    model = BuiltinFaceModel.load()
    identity = _identity(model, [points for film in seen for _, points in film.runs])
    return [_measured(model, film, identity) for film in seen]


def speech_frames(wave: np.ndarray, frames: int) -> np.ndarray:
    """``(frames,)`` bool: speech is heard there or up to :data:`HANGOVER` frames away, in sound ``(640 frames,)``."""
    level = SpeechLevel()
    level.push(wave)
    power = (
        np.square(wave[: frames * SAMPLES_PER_FRAME], dtype=np.float64).reshape(frames, -1).mean(1)
    )
    heard = 10 * np.log10(power + 1e-12) > level.level() - SPEECH_RANGE_DB
    return np.convolve(heard, np.ones(2 * HANGOVER + 1), "same")[:frames] > 0.5


def _look(path: Path, sound: Path | None, landmarker: LandmarkBackend) -> _Seen:
    info = probe(path, ARGUMENT)
    scenes = SceneCutReader(
        _counted(
            iter_frames(path, argument=ARGUMENT, threads=1), path.name, round(info.seconds * FPS)
        )
    )
    tracker, out, start = (
        FaceTracker(landmarker, math.inf),
        _Seen(path, 0, np.zeros(0, np.float32)),
        0,
    )
    while True:
        cut = scenes.at_cut
        look = tracker.track(scenes, PART, None, Seconds(time.perf_counter))
        if not look.found:
            break
        _keep(out, start, look, cut)
        start += len(look.found)
    out.frames = start
    if not out.runs:
        problem = f"shows no face that can be followed in {start / FPS:.1f} s" + (
            f" ({'; '.join(out.notes)})" if out.notes else ""
        )
        raise UserError(ARGUMENT, path, "a video of one person's face", problem)
    out.wave = _sound(path, info.start, start) if sound is None else _sound(sound, None, start)
    return out


def _keep(out: _Seen, start: int, look: TrackSegment, cut: bool) -> None:
    """Add a part's stretches; one that goes on from the part before is joined to it."""
    if look.damaged:
        out.notes.append(f"{look.damaged} frames from {start / FPS:.1f} s on could not be restored")
    if look.rivals:
        out.notes.append(f"two faces of nearly one size at {start / FPS:.1f} s")
        return
    for first, end in face_runs(look.found):
        try:
            points, _ = fill_gaps(look.found[first:end])
        except ClipError as error:
            out.notes.append(f"{error.detail} at {start / FPS:.1f} s")
            continue
        if out.runs and first == 0 and not cut and out.runs[-1][0] + len(out.runs[-1][1]) == start:
            begin, before = out.runs.pop()
            out.runs.append((begin, np.concatenate([before, points])))
        elif len(points) >= MIN_FRAMES:
            out.runs.append((start + first, points))


def _measured(model: BuiltinFaceModel, film: _Seen, identity: np.ndarray) -> Recording:
    values = {
        name: np.zeros((film.frames, model.layout.width(name)), np.float32)
        for name in model.layout.blocks
    }
    lips, run = np.zeros((film.frames, 2)), np.full(film.frames, -1)
    box = crop_box(np.concatenate([points for _, points in film.runs]))
    for number, (start, points) in enumerate(film.runs):
        part, points = slice(start, start + len(points)), to_crop(points, box)
        fit = model.fit(points, identity).coefficients
        for name, block in fit.items():
            values[name][part] = block
        lips[part], run[part] = lips_of_points(points, fit), number
    sound = levelled(film.wave)
    coefficients = Coefficients(model.layout, values)
    return Recording(
        film.path.name,
        sha256_of(film.path),
        sound,
        speech_frames(sound, film.frames),
        run,
        coefficients,
        lips,
        tuple(film.notes),
    )


def _identity(model: BuiltinFaceModel, runs: list[np.ndarray]) -> np.ndarray:
    """``(40,)`` of the person: fitted to all frames, then once more to those in which the mouth rests most."""
    points = np.concatenate(runs)
    spread = np.unique(
        np.linspace(0, len(points) - 1, min(len(points), 2 * IDENTITY_FRAMES)).round().astype(int)
    )
    fit = model.fit(points[spread]).coefficients
    resting = np.argsort(lips_of_shape(fit)[:, 0], kind="stable")[: max(len(spread) // 4, 1)]
    return model.fit(points[spread[np.sort(resting)]]).coefficients["id"][0]


def _sound(path: Path, start: float | None, frames: int) -> np.ndarray:
    """``(640 frames,)``: the sound from the first picture on."""
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
        raise UserError(ARGUMENT, path, SPEAKER, "is silent (no sound above -70 dBFS)")
    return wave


def _counted(frames: Iterator[np.ndarray], name: str, total: int) -> Iterator[np.ndarray]:
    with Progress(f"track {name}", total) as progress:
        for frame in frames:
            yield frame
            progress.update()
