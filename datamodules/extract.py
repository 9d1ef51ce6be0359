"""One video to samples: frames at 25 a second, landmarks, one crop for the clip, coefficients, AUs, sound.

Memory is bounded by one sample (10 s), whatever the video's length and size.
"""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datamodules.held import HeldFrames
from datamodules.schema import MAX_FRAMES, Sample, SampleMeta, safe_key
from datamodules.shards import file_sha256
from datamodules.sources.clip import Clip
from emo_lightning.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, SILENCE_PEAK, iter_audio
from emo_lightning.coefficients import read_aus
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.crop import CropBox, crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import open_landmarker
from emo_lightning.face.texture import read_texture
from emo_lightning.media import MediaError
from emo_lightning.video import FPS, VideoInfo, encode_mp4_bytes, iter_frames, probe

MIN_FRAMES = 10
"""Shorter clips (0.4 s) teach nothing."""
MAX_GAP = 5
"""Frames without a face that are bridged by interpolation."""
MAX_MISSING = 0.2
RIVAL = 0.5
"""A second face of more than this share of the first one's area makes the clip ambiguous."""
LOOK_AROUND = 0.5
"""How far beyond the last frame's face, in its own extents, the next one is looked for first."""


class ClipError(Exception):
    """A clip, or a part of it, that cannot become a sample: a short code and a few words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Failure:
    """One line of ``failures.jsonl``."""

    clip: str
    reason: str
    detail: str


@dataclass(frozen=True)
class _Opened:
    """A clip of which picture and sound are known to be there."""

    clip: Clip
    info: VideoInfo
    digest: str
    wave: np.ndarray


@dataclass
class Extraction:
    """What a clip gave: samples and failures, frames looked at, and seconds by part of the work."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    frames: int = 0
    seconds: Counter[str] = field(default_factory=Counter)


class Extractor:
    """Holds a landmark back-end and a face model; makes samples of clips, one after another.

    Args:
        source: name of the corpus, for the records.
        size: side of the stored crop in pixels, even.
        landmarks: landmark back-end.
    """

    def __init__(self, source: str, size: int = 256, landmarks: str = "mediapipe") -> None:
        cv2.setNumThreads(1)
        self.source, self.size = source, size
        self.landmarker = open_landmarker(landmarks)
        self.model = BuiltinFaceModel.load()
        packages = ("mediapipe", "av", "numpy", "opencv-contrib-python")
        self.tools = {"landmarks": landmarks} | {name: importlib.metadata.version(name) for name in packages}

    def extract(self, clip: Clip) -> Extraction:
        """All samples of a clip; whatever goes wrong is in the failures and nothing is raised but by a bug of ours."""
        out = Extraction()
        try:
            self._extract(clip, out)
        except (MediaError, ClipError) as error:
            detail = error.problem if isinstance(error, MediaError) else error.detail
            out.failures.append(Failure(clip.name, error.reason, detail))
        return out

    def _extract(self, clip: Clip, out: Extraction) -> None:
        with _timed(out.seconds, "probe"):
            info = probe(clip.path, clip.name)
            digest = file_sha256(clip.path)
        with _timed(out.seconds, "sound"):
            wave = _sound(clip, info)
        opened = _Opened(clip, info, digest, wave)
        expected = max(1, round(info.seconds * FPS))
        parts = math.ceil(expected / MAX_FRAMES)
        length = math.ceil(expected / parts)
        frames = iter_frames(clip.path, argument=clip.name, threads=1)
        start = 0
        while True:
            held = HeldFrames((info.height, info.width), length, self.size)
            found = self._look(frames, length, held, out)
            if not found:
                break
            out.frames += len(found)
            name = clip.name if parts == 1 else f"{clip.name} at {start / FPS:.2f} s"
            try:
                if start == 0 or len(found) >= MIN_FRAMES:
                    out.samples.append(self._sample(opened, start, found, held, out.seconds))
            except ClipError as error:
                out.failures.append(Failure(name, error.reason, error.detail))
            start += len(found)

    def _look(self, frames: Iterator[np.ndarray], length: int, held: HeldFrames, out: Extraction) -> list[np.ndarray | None]:
        """Landmarks of the next frames, None where there is no face; the frames go to ``held``."""
        found: list[np.ndarray | None] = []
        last, same = None, None
        while len(found) < length:
            with _timed(out.seconds, "decode"):
                frame = next(frames, None)
            if frame is None:
                break
            with _timed(out.seconds, "landmarks"):
                if frame is not same:
                    last = self._face(frame, last)
                    same = frame
            found.append(last)
            with _timed(out.seconds, "crop"):
                held.add(frame, last)
        return found

    def _face(self, frame: np.ndarray, last: np.ndarray | None) -> np.ndarray | None:
        """Landmarks in pixels of the frame: near the last ones first, else the largest face of the whole picture."""
        if last is not None:
            low, high = last[:, :2].min(0), last[:, :2].max(0)
            reach = LOOK_AROUND * float((high - low).max())
            left, top = np.maximum(np.floor(low - reach), 0).astype(int)
            right, bottom = np.minimum(np.ceil(high + reach), (frame.shape[1], frame.shape[0])).astype(int)
            faces = self.landmarker.detect(np.ascontiguousarray(frame[top:bottom, left:right]))
            if faces:
                centre = (low + high) / 2 - (left, top)
                nearest = min(faces, key=lambda face: float(np.abs((face.box[:2] + face.box[2:]) / 2 - centre).max()))
                return nearest.points + np.array([left, top, 0], np.float32)
        faces = self.landmarker.detect(frame)
        if last is None and len(faces) > 1 and _area(faces[1].box) > RIVAL * _area(faces[0].box):
            raise ClipError("several_faces", "two faces of nearly one size, and no saying whose clip it is")
        return faces[0].points if faces else None

    def _meta(self, opened: _Opened, frames: int, facts: dict[str, Any]) -> SampleMeta:
        clip, info = opened.clip, opened.info
        return SampleMeta(
            source=self.source,
            speaker=clip.speaker,
            frames=frames,
            layout=self.model.layout.to_dict(),
            split=clip.split or "train",
            sentence=clip.sentence,
            emotion=clip.emotion,
            intensity=clip.intensity,
            level=clip.level,
            tools=self.tools,
            origin_sha256=opened.digest,
            extra={**clip.extra, "path": clip.name, "split": clip.split, "picture": [info.width, info.height], **facts},
        )

    def _sample(self, opened: _Opened, start: int, found: list[np.ndarray | None], held: HeldFrames, seconds: Counter[str]) -> Sample:
        frames = len(found)
        if frames < MIN_FRAMES:
            raise ClipError("too_short", f"{frames} frames, {MIN_FRAMES} are the least")
        sound = opened.wave[start * SAMPLES_PER_FRAME : (start + frames) * SAMPLES_PER_FRAME]
        sound = np.pad(sound, (0, frames * SAMPLES_PER_FRAME - len(sound)))
        if np.abs(sound).max() < SILENCE_PEAK:
            raise ClipError("silent", "no sound above -70 dBFS in this part")
        points, missing = bridge(found)
        box = crop_box(points)
        with _timed(seconds, "crop"):
            crops = held.crops(box) or self._decoded_again(opened.clip, start, frames, box)
        placed = to_crop(points, box)
        with _timed(seconds, "fit"):
            fit = self.model.fit(placed)
        with _timed(seconds, "texture"):
            texture = np.stack([read_texture(crop, place) for crop, place in zip(crops, placed, strict=True)])
        coefficients = fit.coefficients.replace(tex=texture)
        with _timed(seconds, "encode"):
            video = encode_mp4_bytes(crops)
        residual = round(float(np.median(fit.residual)), 5)
        facts = {"start": start / FPS, "box": _rounded(box), "bridged": missing, "residual": residual}
        meta = self._meta(opened, frames, facts)
        key = f"{safe_key(opened.clip.name)}_{start:06d}"
        return Sample(key, meta, sound, coefficients, read_aus(coefficients["exp"]), placed, video)

    def _decoded_again(self, clip: Clip, start: int, count: int, box: CropBox) -> list[np.ndarray]:
        """Crops from the file itself, for a head that left the part that was kept."""
        frames = islice(iter_frames(clip.path, argument=clip.name, threads=1), start, start + count)
        return [crop_image(frame, box, self.size) for frame in frames]


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
    share = np.clip((np.arange(frames) - at[left]) / span, 0.0, 1.0)[:, None, None].astype(np.float32)
    return known[left] * (1 - share) + known[right] * share, missing


def _sound(clip: Clip, info: VideoInfo) -> np.ndarray:
    """The clip's sound from its first picture on; MediaError or ClipError when there is none to speak of."""
    path, start = (clip.path, info.start) if info.has_audio else (clip.audio, None)
    if path is None:
        raise ClipError("no_audio", "the video has no sound, and no recording of its name was found")
    wave = np.concatenate(list(iter_audio(Path(path), argument=clip.name, start=start)) or [np.zeros(0, np.float32)])
    if np.abs(wave).max(initial=0.0) < SILENCE_PEAK:
        raise ClipError("silent", "the sound never rises above -70 dBFS")
    if not info.has_audio and abs(len(wave) / SAMPLE_RATE - info.seconds) > max(0.5, 0.1 * info.seconds):
        raise ClipError("sound_differs", f"the recording has {len(wave) / SAMPLE_RATE:.2f} s, the video {info.seconds:.2f} s")
    return wave


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _rounded(box: CropBox) -> list[float]:
    return [round(value, 2) for value in (box.cx, box.cy, box.half)]


@contextmanager
def _timed(seconds: Counter[str], part: str) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] += time.perf_counter() - begin  # type: ignore[assignment]
