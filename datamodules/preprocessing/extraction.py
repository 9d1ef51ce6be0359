"""Extraction of one clip: frames at 25 frames/s, landmarks, crops, coefficients, AUs and audio.

Memory is bounded by one sample (10 s), whatever the video's length and size. A sample never spans
a cut or a longer time without a face; what is skipped for that is among the failures.
"""

from __future__ import annotations

import importlib.metadata
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from datamodules.preprocessing.clip_audio import clip_audio, cut_audio, decode_audio
from datamodules.preprocessing.cropping import FrameBuffer, clip_square
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
from datamodules.preprocessing.imported_features import read_coefficients, read_openface
from datamodules.preprocessing.quality import audio_quality, sync_quality, video_quality
from datamodules.shards.schema import MAX_FRAMES, Sample, SampleMeta, safe_key
from datamodules.sources.clip import Clip, Place, Stored
from emo_lightning.core.constants import FPS, SAMPLE_RATE, frames_for
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients, read_aus
from emo_lightning.face.crop import CropBox, crop_image, to_crop
from emo_lightning.face.detection import FaceConfirmer
from emo_lightning.face.landmarks import LandmarkBackend, open_landmarker
from emo_lightning.face.texture import read_texture
from emo_lightning.media.audio_reader import SILENCE_PEAK
from emo_lightning.media.container import MediaError
from emo_lightning.media.video_reader import VideoInfo, iter_frames, probe
from emo_lightning.media.video_writer import encode_mp4_bytes

MIN_FRAMES = 10
"""Shorter clips (0.4 s) are of no use for training."""
MIN_FPS = 12.0
"""Frame rate of the original, below which lip movements are lost; the sample is flagged."""
CLIP_SECONDS = 600.0
"""Default time limit of one clip."""


@dataclass(frozen=True)
class Failure:
    """One line of ``failures.jsonl``."""

    clip: str
    reason: str
    detail: str


@dataclass
class Extraction:
    """A clip's samples and failures, frames analysed, and seconds by part of the work."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    frames: int = 0
    seconds: Seconds = field(default_factory=Seconds)


@dataclass(frozen=True)
class _OpenClip:
    """A video whose facts and audio are read; ``wave`` is None where it has none.

    ``offset`` counts the frames of the video before the clip's first; ``turns`` the quarter turns
    that put it upright.
    """

    clip: Clip
    path: Path
    info: VideoInfo
    digest: str
    frames: int
    offset: int
    turns: int
    wave: np.ndarray | None
    coefficients: Coefficients | None
    au: np.ndarray | None

    def images(self) -> Iterator[np.ndarray]:
        """The clip's frames, upright."""
        frames = _frames(self.clip, self.path)
        if self.turns == 0:
            return frames
        return (np.ascontiguousarray(np.rot90(frame, self.turns)) for frame in frames)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright frames."""
        size = self.info.width, self.info.height
        return size if self.turns % 2 == 0 else size[::-1]


class Extractor:
    """Holds a landmark back end and a face model; turns clips into samples, one after another.

    Args:
        source: name of the corpus, for the records.
        size: side of the stored crop in pixels, even.
        landmarks: landmark back end.
        keep_silent: keep videos without audio, which stage 3 can use.
        clip_seconds: time limit of one clip.
        landmark_model: weights of the landmark back end, where not its own.

    Attributes:
        clock: measures the seconds by part.
    """

    def __init__(
        self,
        source: str,
        size: int = 256,
        landmarks: str = "mediapipe",
        keep_silent: bool = False,
        clip_seconds: float = CLIP_SECONDS,
        landmark_model: Path | None = None,
    ) -> None:
        self.source, self.size, self.landmarks = source, size, landmarks
        self.keep_silent, self.clip_seconds = keep_silent, clip_seconds
        self.landmark_model = landmark_model
        self.clock: Callable[[], float] = time.perf_counter
        self.model = BuiltinFaceModel.load()
        packages = ("mediapipe", "av", "numpy", "opencv-contrib-python")
        self.tools = {name: importlib.metadata.version(name) for name in packages}
        self.tools["landmarks"] = landmarks

    @cached_property
    def confirmer(self) -> FaceConfirmer:
        return FaceConfirmer(self.landmarker)

    @cached_property
    def landmarker(self) -> LandmarkBackend:
        return open_landmarker(self.landmarks, model=self.landmark_model)

    def extract(self, clip: Clip) -> Extraction:
        """All samples of a clip; whatever is wrong with it is among the failures, not raised."""
        out = Extraction(seconds=Seconds(self.clock))
        try:
            with _local_files(clip) as (video, audio):
                if video is None:
                    self._extract_audio(clip, audio, out)
                else:
                    self._extract_video(clip, video, audio, out)
        except (MediaError, ClipError) as error:
            detail = error.problem if isinstance(error, MediaError) else error.detail
            out.failures.append(Failure(clip.name, error.reason, detail))
        return out

    def _extract_audio(self, clip: Clip, audio: Path | None, out: Extraction) -> None:
        if audio is None:
            raise ClipError("missing", "neither a video nor a recording")
        with out.seconds.of("sound"):
            wave = decode_audio(audio, clip.name)
            digest = sha256_of(audio)
        count = frames_for(len(wave))
        if count < MIN_FRAMES:
            detail = f"{len(wave) / SAMPLE_RATE:.2f} s, the minimum is {MIN_FRAMES / FPS} s"
            raise ClipError("too_short", detail)
        length = math.ceil(count / math.ceil(count / MAX_FRAMES))
        for start in range(0, count, length):
            frames = min(length, count - start)
            audio_part = cut_audio(wave, start, frames)
            if np.abs(audio_part).max() < SILENCE_PEAK or frames < MIN_FRAMES:
                continue
            facts, flags, _ = audio_quality(audio_part)
            extra = {"start": start / FPS, "quality": facts, "flags": flags}
            extra |= _words(clip, start, frames)
            meta = self._meta(clip, digest, frames, self.model.layout.to_dict(), extra)
            out.samples.append(Sample(f"{safe_key(clip.name)}_{start:06d}", meta, audio_part))

    def _extract_video(self, clip: Clip, video: Path, audio: Path | None, out: Extraction) -> None:
        deadline = time.monotonic() + self.clip_seconds
        opened = self._open(clip, video, audio, out.seconds)
        length = math.ceil(opened.frames / math.ceil(opened.frames / MAX_FRAMES))
        scenes = SceneCutReader(opened.images())
        tracker = FaceTracker(self.landmarker, self.confirmer, deadline)
        start, shape = 0, opened.size[::-1]
        while True:
            buffer = FrameBuffer(shape, length, self.size)
            segment = tracker.track(scenes, length, buffer, out.seconds)
            if not segment.found:
                break
            frames = len(segment.found)
            out.frames += frames
            whole = start == 0 and frames >= opened.frames - 1
            name = clip.name if whole else f"{clip.name} at {start / FPS:.2f} s"
            self._add_samples(opened, start, segment, buffer, out, name)
            start += frames

    def _open(self, clip: Clip, video: Path, audio: Path | None, seconds: Seconds) -> _OpenClip:
        with seconds.of("probe"):
            info = probe(video, clip.name)
            digest = sha256_of(video)
        begin, end = clip.span or (0.0, info.seconds)
        if begin >= info.seconds:
            detail = f"begins at {begin:g} s of a video of {info.seconds:.2f} s"
            raise ClipError("span_outside", detail)
        frames = max(1, round((min(end, info.seconds) - begin) * FPS))
        with seconds.of("sound"):
            wave = clip_audio(clip, video, audio, info, begin, frames, self.keep_silent)
        coefficients, au, total = None, None, max(1, round(info.seconds * FPS))
        if clip.coefficients is not None:
            coefficients = read_coefficients(clip.coefficients, info, total)
        if clip.aus is not None:
            au = read_openface(clip.aus, total)
        with seconds.of("landmarks"):
            turns = clip_turns(_frames(clip, video), self.landmarker, self.confirmer)
        start = round(begin * FPS)
        return _OpenClip(clip, video, info, digest, frames, start, turns, wave, coefficients, au)

    def _add_samples(
        self,
        opened: _OpenClip,
        start: int,
        segment: TrackSegment,
        buffer: FrameBuffer,
        out: Extraction,
        name: str,
    ) -> None:
        """A sample for each run of frames with a face, and failures for the frames skipped."""

        def fail(reason: str, detail: str) -> None:
            out.failures.append(Failure(name, reason, detail))

        runs, frames, damaged = face_runs(segment.found), len(segment.found), segment.damaged
        if segment.rivals:
            fail("several_faces", "two faces of nearly one size, and nothing to choose one by")
            return
        if damaged:
            fail("damaged", f"{damaged} of {frames} frames could not be restored; others are kept")
        if not runs:
            if not damaged:
                fail("no_face", f"no face in any of {frames} frames")
            return
        made = 0
        for run in runs:
            try:
                sample = self._sample(opened, start, run, segment, buffer, out.seconds)
            except ClipError as error:
                if frames >= MIN_FRAMES or start == 0:
                    fail(error.reason, error.detail)
            else:
                out.samples.append(sample)
                made += run[1] - run[0]
        without = frames - damaged - sum(end - first for first, end in runs)
        if made and without > 0:
            fail("face_lost", f"no face in {without} of {frames} frames; the others were kept")

    def _sample(
        self,
        opened: _OpenClip,
        start: int,
        run: tuple[int, int],
        segment: TrackSegment,
        buffer: FrameBuffer,
        seconds: Seconds,
    ) -> Sample:
        clip, frames, begin = opened.clip, run[1] - run[0], start + run[0]
        if frames < MIN_FRAMES:
            raise ClipError("too_short", f"{frames} frames, the minimum is {MIN_FRAMES}")
        audio, facts, flags, levels = None, {}, [], None
        if opened.wave is not None:
            audio = cut_audio(opened.wave, begin, frames)
            if np.abs(audio).max() < SILENCE_PEAK:
                raise ClipError("silent", "no audio above -70 dBFS in this part")
            facts, flags, levels = audio_quality(audio)
        points, missing = fill_gaps(segment.found[run[0] : run[1]])
        box = clip_square(points, *opened.size)
        with seconds.of("crop"):
            kept = buffer.crops(box)
            crops = kept[run[0] : run[1]] if kept else self._crops(opened, begin, frames, box)
        placed = to_crop(points, box)
        fitted, residual = self._fit(placed, crops, seconds)
        with seconds.of("quality"):
            pixels = float(np.median((points[..., :2].max(1) - points[..., :2].min(1)).max(1)))
            found = [video_quality(crops, placed, fitted, pixels, missing)]
            if levels is not None:
                found.append(sync_quality(placed, levels))
            for more_facts, more_flags in found:
                facts, flags = facts | more_facts, flags + more_flags
        if opened.info.fps < MIN_FPS:
            flags = [*flags, "low_frame_rate"]
        with seconds.of("encode"):
            video = encode_mp4_bytes(crops)
        whole = slice(begin + opened.offset, begin + opened.offset + frames)
        coefficients = fitted if opened.coefficients is None else opened.coefficients.frames(whole)
        au = read_aus(fitted["exp"]) if opened.au is None else opened.au[whole]
        extra = {
            "picture": list(opened.size),
            "start": begin / FPS,
            "box": [round(value, 2) for value in (box.cx, box.cy, box.half)],
            "bridged": missing,
            "residual": residual,
            "quality": facts,
            "flags": flags,
            **({"turned": 90 * (4 - opened.turns)} if opened.turns else {}),
            **_words(clip, begin, frames),
        }
        meta = self._meta(clip, opened.digest, frames, coefficients.layout.to_dict(), extra)
        shapes = _filled_shapes(segment.shapes[run[0] : run[1]])
        key = f"{safe_key(clip.name)}_{begin:06d}"
        return Sample(key, meta, audio, coefficients, au, placed, video, shapes)

    def _fit(
        self, placed: np.ndarray, crops: list[np.ndarray], seconds: Seconds
    ) -> tuple[Coefficients, float]:
        """Coefficients with texture, and the fit's median error in eye distances (IOD)."""
        with seconds.of("fit"):
            fit = self.model.fit(placed)
        with seconds.of("texture"):
            # 68 landmarks do not cover cheeks and forehead; there the fitted model does.
            few = placed.shape[1] < len(self.model.mean)
            dense = self.model.project(fit.coefficients) if few else placed
            pairs = zip(crops, dense, strict=True)
            texture = np.stack([read_texture(crop, place) for crop, place in pairs])
        return fit.coefficients.replace(tex=texture), round(float(np.median(fit.residual)), 5)

    def _meta(
        self, clip: Clip, digest: str, frames: int, layout: dict[str, Any], facts: dict[str, Any]
    ) -> SampleMeta:
        return SampleMeta(
            source=self.source,
            speaker=clip.speaker,
            frames=frames,
            layout=layout,
            split=clip.split or "train",
            sentence=clip.sentence,
            emotion=clip.emotion,
            intensity=clip.intensity,
            level=clip.level,
            tools=self.tools,
            origin_sha256=digest,
            extra={**clip.extra, "path": clip.name, "split": clip.split, **facts},
        )

    def _crops(self, opened: _OpenClip, start: int, count: int, box: CropBox) -> list[np.ndarray]:
        """Crops decoded again, for a head that left the part that was kept."""
        images = islice(opened.images(), start, start + count)
        return [crop_image(image, box, self.size) for image in images]


def _frames(clip: Clip, path: Path) -> Iterator[np.ndarray]:
    """A clip's frames as the file has them."""
    frames = iter_frames(path, argument=clip.name, threads=1)
    if clip.span is None:
        return frames
    begin, end = (round(time * FPS) for time in clip.span)
    return islice(frames, begin, end)


@contextmanager
def _local_files(clip: Clip) -> Iterator[tuple[Path | None, Path | None]]:
    """The clip's video and recording as files; those in archives are copied out for the time."""
    with tempfile.TemporaryDirectory(prefix="emo-clip-") as folder:
        yield (
            _unpacked(clip.path, Path(folder) / "video"),
            _unpacked(clip.audio, Path(folder) / "audio"),
        )


def _unpacked(place: Place | None, path: Path) -> Path | None:
    if not isinstance(place, Stored):
        return place
    try:
        path = path.with_suffix(PurePosixPath(place.member).suffix.lower())
        place.copy_to(path)
    except OSError as error:
        raise ClipError("archive", str(error)) from None
    return path


def _filled_shapes(shapes: list[np.ndarray | None]) -> np.ndarray | None:
    """Blendshapes ``(T, 52)`` with gaps interpolated; None from a back end that has none."""
    if all(row is None for row in shapes):
        return None
    return fill_gaps([None if row is None else row[:, None] for row in shapes])[0][..., 0]


def _words(clip: Clip, start: int, frames: int) -> dict[str, Any]:
    """The words within a sample, in its own time."""
    if not clip.words:
        return {}
    begin, end = start / FPS, (start + frames) / FPS
    words = [
        [round(max(a - begin, 0.0), 4), round(min(b, end) - begin, 4), word]
        for a, b, word in clip.words
        if b > begin and a < end
    ]
    return {"words": words}
