"""One clip to samples: frames at 25 a second, landmarks, one crop for each sample, coefficients, AUs, sound, facts of quality.

Memory is bounded by one sample (10 s), whatever the video's length and size. A sample never spans a cut or a longer time
without a face; what is left out for that is among the failures, and the rest is kept.
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

import cv2
import numpy as np

from datamodules.preprocessing.face_tracking import (
    ClipError,
    FaceTracker,
    Look,
    SceneCutReader,
    Seconds,
    bridge,
    stretches,
)
from datamodules.preprocessing.frame_buffer import FrameBuffer
from datamodules.preprocessing.imported_features import read_coefficients, read_openface
from datamodules.preprocessing.quality import picture_facts, sound_facts, sync_facts
from datamodules.shards.schema import MAX_FRAMES, Sample, SampleMeta, safe_key
from datamodules.shards.tar_io import file_sha256
from datamodules.sources.clip import Clip, Place, Stored
from emo_lightning.core.constants import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, frames_for
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients, read_aus
from emo_lightning.face.crop import ROOM, CropBox, crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import LandmarkBackend, open_landmarker
from emo_lightning.face.portrait import MIN_MARGIN, inside
from emo_lightning.face.texture import read_texture
from emo_lightning.media.audio_reader import SILENCE_PEAK, iter_audio
from emo_lightning.media.container import MediaError
from emo_lightning.media.lazy_frame import Picture
from emo_lightning.media.video_reader import VideoInfo, encode_mp4_bytes, iter_pictures, probe

MIN_FRAMES = 10
"""Shorter clips (0.4 s) teach nothing."""
CLIP_SECONDS = 600.0
"""Work on one clip may take so long."""


@dataclass(frozen=True)
class Failure:
    """One line of ``failures.jsonl``."""

    clip: str
    reason: str
    detail: str


@dataclass
class Extraction:
    """What a clip gave: samples and failures, frames looked at, and seconds by part of the work."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    frames: int = 0
    seconds: Seconds = field(default_factory=Seconds)


@dataclass(frozen=True)
class _Opened:
    """A video of which all that is needed is known to be there; ``wave`` is None where silence was asked to be kept."""

    clip: Clip
    path: Path
    info: VideoInfo
    digest: str
    frames: int
    wave: np.ndarray | None
    coefficients: Coefficients | None
    au: np.ndarray | None

    def pictures(self) -> Iterator[Picture]:
        """The clip's pictures, from its span's first on."""
        frames = iter_pictures(self.path, argument=self.clip.name, threads=1)
        if self.clip.span is None:
            return frames
        return islice(frames, round(self.clip.span[0] * FPS), round(self.clip.span[1] * FPS))


class Extractor:
    """Holds a landmark back-end and a face model; makes samples of clips, one after another.

    Args:
        source: name of the corpus, for the records.
        size: side of the stored crop in pixels, even.
        landmarks: landmark back-end.
        keep_mute: keep videos without sound, for what needs none.
        clip_seconds: time that one clip may take.

    Attributes:
        clock: what the seconds by part are measured with.
    """

    def __init__(
        self,
        source: str,
        size: int = 256,
        landmarks: str = "mediapipe",
        keep_mute: bool = False,
        clip_seconds: float = CLIP_SECONDS,
    ) -> None:
        cv2.setNumThreads(1)
        self.source, self.size, self.landmarks = source, size, landmarks
        self.keep_mute, self.clip_seconds = keep_mute, clip_seconds
        self.clock: Callable[[], float] = time.perf_counter
        self.model = BuiltinFaceModel.load()
        packages = ("mediapipe", "av", "numpy", "opencv-contrib-python")
        self.tools = {"landmarks": landmarks} | {
            name: importlib.metadata.version(name) for name in packages
        }

    @cached_property
    def landmarker(self) -> LandmarkBackend:
        return open_landmarker(self.landmarks)

    def extract(self, clip: Clip) -> Extraction:
        """All samples of a clip; whatever goes wrong is in the failures and nothing is raised but by a bug of ours."""
        out = Extraction(seconds=Seconds(self.clock))
        try:
            with _on_disk(clip) as (video, audio):
                if video is None:
                    self._listen(clip, audio, out)
                else:
                    self._extract(clip, video, audio, out)
        except (MediaError, ClipError) as error:
            detail = error.problem if isinstance(error, MediaError) else error.detail
            out.failures.append(Failure(clip.name, error.reason, detail))
        return out

    def _listen(self, clip: Clip, audio: Path | None, out: Extraction) -> None:
        """Samples of sound alone."""
        if audio is None:
            raise ClipError("missing", "neither a video nor a recording")
        with out.seconds.of("sound"):
            wave = _decoded(audio, clip.name)
            digest = file_sha256(audio)
        count = frames_for(len(wave))
        if count < MIN_FRAMES:
            raise ClipError(
                "too_short", f"{len(wave) / SAMPLE_RATE:.2f} s, {MIN_FRAMES / FPS} s are the least"
            )
        length = math.ceil(count / math.ceil(count / MAX_FRAMES))
        for start in range(0, count, length):
            frames = min(length, count - start)
            sound = _piece(wave, start, frames)
            facts, flags, _ = sound_facts(sound)
            if np.abs(sound).max() >= SILENCE_PEAK and frames >= MIN_FRAMES:
                extra = {
                    "start": start / FPS,
                    "quality": facts,
                    "flags": flags,
                    **_words(clip, start, frames),
                }
                meta = self._meta(clip, digest, frames, self.model.layout.to_dict(), extra)
                out.samples.append(Sample(f"{safe_key(clip.name)}_{start:06d}", meta, sound))

    def _extract(self, clip: Clip, video: Path, audio: Path | None, out: Extraction) -> None:
        deadline = time.monotonic() + self.clip_seconds
        opened = self._open(clip, video, audio, out.seconds)
        parts = math.ceil(opened.frames / MAX_FRAMES)
        length = math.ceil(opened.frames / parts)
        scenes, tracker = SceneCutReader(opened.pictures()), FaceTracker(self.landmarker, deadline)
        start = 0
        while True:
            held = FrameBuffer((opened.info.height, opened.info.width), length, self.size)
            look = tracker.look(scenes, length, held, out.seconds)
            if not look.found:
                break
            out.frames += len(look.found)
            alone = start == 0 and len(look.found) >= opened.frames - 1
            self._samples(
                opened,
                start,
                look,
                held,
                out,
                clip.name if alone else f"{clip.name} at {start / FPS:.2f} s",
            )
            start += len(look.found)

    def _open(self, clip: Clip, video: Path, audio: Path | None, seconds: Seconds) -> _Opened:
        with seconds.of("probe"):
            info = probe(video, clip.name)
            digest = file_sha256(video)
        begin, end = clip.span or (0.0, info.seconds)
        if begin >= info.seconds:
            raise ClipError(
                "span_outside", f"begins at {begin:g} s of a video of {info.seconds:.2f} s"
            )
        frames = max(1, round((min(end, info.seconds) - begin) * FPS))
        with seconds.of("sound"):
            wave = _sound(clip, video, audio, info, begin, frames, self.keep_mute)
        total = max(1, round(info.seconds * FPS))
        coefficients = (
            None if clip.coefficients is None else read_coefficients(clip.coefficients, info, total)
        )
        au = None if clip.aus is None else read_openface(clip.aus, total)
        return _Opened(clip, video, info, digest, frames, wave, coefficients, au)

    def _samples(
        self, opened: _Opened, start: int, look: Look, held: FrameBuffer, out: Extraction, name: str
    ) -> None:
        """A sample for each stretch of the frames with a face in it, and a failure for what that leaves out."""
        runs, frames = stretches(look.found), len(look.found)
        if look.rivals:
            out.failures.append(
                Failure(
                    name,
                    "several_faces",
                    "two faces of nearly one size, and no saying whose clip it is",
                )
            )
            return
        if look.damaged:
            out.failures.append(
                Failure(
                    name,
                    "damaged",
                    f"{look.damaged} of {frames} frames could not be restored; others are kept",
                )
            )
        if not runs:
            if not look.damaged:
                out.failures.append(Failure(name, "no_face", f"no face in any of {frames} frames"))
            return
        made = 0
        for first, end in runs:
            try:
                out.samples.append(
                    self._sample(opened, start, (first, end), look, held, out.seconds)
                )
                made += end - first
            except ClipError as error:
                if frames >= MIN_FRAMES or start == 0:
                    out.failures.append(Failure(name, error.reason, error.detail))
        without = frames - look.damaged - sum(end - first for first, end in runs)
        if made and without > 0:
            out.failures.append(
                Failure(
                    name,
                    "face_lost",
                    f"no face in {without} of {frames} frames; the others were kept",
                )
            )

    def _sample(
        self,
        opened: _Opened,
        start: int,
        run: tuple[int, int],
        look: Look,
        held: FrameBuffer,
        seconds: Seconds,
    ) -> Sample:
        clip, frames, begin = opened.clip, run[1] - run[0], start + run[0]
        if frames < MIN_FRAMES:
            raise ClipError("too_short", f"{frames} frames, {MIN_FRAMES} are the least")
        sound, facts, flags, levels = None, {}, [], None
        if opened.wave is not None:
            sound = _piece(opened.wave, begin, frames)
            if np.abs(sound).max() < SILENCE_PEAK:
                raise ClipError("silent", "no sound above -70 dBFS in this part")
            facts, flags, levels = sound_facts(sound)
        points, missing = bridge(look.found[run[0] : run[1]])
        box = _square(points, opened.info)
        with seconds.of("crop"):
            kept = held.crops(box)
            crops = (
                kept[run[0] : run[1]] if kept else self._decoded_again(opened, begin, frames, box)
            )
        placed = to_crop(points, box)
        fitted, residual = self._fit(placed, crops, seconds)
        with seconds.of("quality"):
            pixels = float(np.median((points[..., :2].max(1) - points[..., :2].min(1)).max(1)))
            more, words = picture_facts(
                crops, placed, fitted["tex"], fitted["angle"][:, 1], pixels, missing
            )
            facts, flags = facts | more, flags + words
            if levels is not None:
                more, words = sync_facts(placed, levels)
                facts, flags = facts | more, flags + words
        with seconds.of("encode"):
            video = encode_mp4_bytes(crops)
        whole = slice(begin + self._offset(clip), begin + self._offset(clip) + frames)
        coefficients = fitted if opened.coefficients is None else opened.coefficients.frames(whole)
        au = read_aus(fitted["exp"]) if opened.au is None else opened.au[whole]
        extra = {
            "picture": [opened.info.width, opened.info.height],
            "start": begin / FPS,
            "box": [round(value, 2) for value in (box.cx, box.cy, box.half)],
            "bridged": missing,
            "residual": residual,
            "quality": facts,
            "flags": flags,
            **_words(clip, begin, frames),
        }
        meta = self._meta(clip, opened.digest, frames, coefficients.layout.to_dict(), extra)
        shapes = _bridged_shapes(look.shapes[run[0] : run[1]])
        return Sample(
            f"{safe_key(clip.name)}_{begin:06d}",
            meta,
            sound,
            coefficients,
            au,
            placed,
            video,
            shapes,
        )

    @staticmethod
    def _offset(clip: Clip) -> int:
        """Frames of the video before the clip's first."""
        return 0 if clip.span is None else round(clip.span[0] * FPS)

    def _fit(
        self, placed: np.ndarray, crops: list[np.ndarray], seconds: Seconds
    ) -> tuple[Coefficients, float]:
        with seconds.of("fit"):
            fit = self.model.fit(placed)
        with seconds.of("texture"):
            # A back-end of 68 points leaves the cheeks and forehead to the model.
            dense = (
                placed
                if placed.shape[1] >= len(self.model.mean)
                else self.model.project(fit.coefficients)
            )
            texture = np.stack(
                [read_texture(crop, place) for crop, place in zip(crops, dense, strict=True)]
            )
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

    def _decoded_again(
        self, opened: _Opened, start: int, count: int, box: CropBox
    ) -> list[np.ndarray]:
        """Crops from the file itself, for a head that left the part that was kept."""
        return [
            crop_image(frame.rgb(), box, self.size)
            for frame in islice(opened.pictures(), start, start + count)
        ]


@contextmanager
def _on_disk(clip: Clip) -> Iterator[tuple[Path | None, Path | None]]:
    """The clip's video and recording as files: those of archives are copied to names of ours for as long as it takes."""
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


def _decoded(
    path: Path, name: str, start: float | None = None, frames: int | None = None
) -> np.ndarray:
    """A recording from a time on, within full scale; ClipError when nothing in it can be heard."""
    blocks: list[np.ndarray] = []
    left = math.inf if frames is None else frames * SAMPLES_PER_FRAME
    for block in iter_audio(path, argument=name, start=start):
        blocks.append(block[: int(min(left, len(block)))])
        left -= len(block)
        if left <= 0:
            break
    wave = np.concatenate(blocks or [np.zeros(0, np.float32)])
    peak = float(np.abs(wave).max(initial=0.0))
    if peak < SILENCE_PEAK:
        raise ClipError("silent", "the sound never rises above -70 dBFS")
    # Shards hold 16-bit sound: what a codec decoded beyond full scale is turned down, not cut.
    return wave / np.float32(peak) if peak > 1.0 else wave


def _sound(
    clip: Clip,
    video: Path,
    audio: Path | None,
    info: VideoInfo,
    begin: float,
    frames: int,
    keep_mute: bool,
) -> np.ndarray | None:
    """The clip's sound from its first picture on; None where there is none and that is allowed."""
    if info.has_audio:
        return _decoded(video, clip.name, info.start + begin, frames)
    if audio is None:
        if keep_mute:
            return None
        raise ClipError(
            "no_audio", "the video has no sound, and no recording of its name was found"
        )
    wave = _decoded(audio, clip.name)
    if abs(len(wave) / SAMPLE_RATE - info.seconds) > max(0.5, 0.1 * info.seconds):
        raise ClipError(
            "sound_differs",
            f"the recording has {len(wave) / SAMPLE_RATE:.2f} s, the video {info.seconds:.2f} s",
        )
    return wave[round(begin * SAMPLE_RATE) :]


def _piece(wave: np.ndarray, start: int, frames: int) -> np.ndarray:
    sound = wave[start * SAMPLES_PER_FRAME : (start + frames) * SAMPLES_PER_FRAME]
    return np.pad(sound, (0, frames * SAMPLES_PER_FRAME - len(sound)))


def _bridged_shapes(shapes: list[np.ndarray | None]) -> np.ndarray | None:
    """Blendshapes ``(T, 52)`` with gaps bridged, None from a back-end that has none."""
    if all(row is None for row in shapes):
        return None
    return bridge([None if row is None else row[:, None] for row in shapes])[0][..., 0]


def _square(points: np.ndarray, info: VideoInfo) -> CropBox:
    """The clip's square, within the picture as far as the face's way through it allows: beyond it the border repeats."""
    plane = points[..., :2]
    sweep = float(
        (np.percentile(plane.max(1), 98, axis=0) - np.percentile(plane.min(1), 2, axis=0)).max()
    )
    face = max(float(np.median((plane.max(1) - plane.min(1)).max(1))), sweep * ROOM / MIN_MARGIN)
    return inside(crop_box(points), face, info.width, info.height)


def _words(clip: Clip, start: int, frames: int) -> dict[str, Any]:
    """The words that fall into a sample, in its own time."""
    if not clip.words:
        return {}
    begin, end = start / FPS, (start + frames) / FPS
    inside = [word for word in clip.words if word[1] > begin and word[0] < end]
    return {
        "words": [
            [round(max(a - begin, 0.0), 4), round(min(b, end) - begin, 4), word]
            for a, b, word in inside
        ]
    }
