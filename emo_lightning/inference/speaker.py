"""Python API: a portrait and audio to a talking video::

    from emo_lightning import Speaker

    speaker = Speaker.load(device="auto")
    speech = speaker.speak("portrait.jpg", "hello.wav", emotion="happy", level=12)
    for frame in speech.frames:                 # (H, W, 3) uint8 RGB at 25 frames/s
        show(frame)
    speech.coefficients["exp"]                  # (frames, 28)
    speech.save("hello.mp4")
    speaker.speak(pixels, samples, sample_rate=44_100, track=[(0, "sad", 5), (2, "happy", 9)])

Portraits and audio are paths, numpy arrays or torch tensors, portraits also PIL images. A portrait
is prepared once and reused by later calls.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from emo_lightning.core.constants import FPS, SAMPLE_RATE, frames_for
from emo_lightning.core.device import InferenceContext
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.full_frame import CropPlacement, load_full_frame
from emo_lightning.face.portrait import Portrait, load_portrait
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.inference.motion_controls import DEFAULT_CONTROLS, MotionControls
from emo_lightning.inference.weights import SHIPPED_WEIGHTS, load_audio_to_motion
from emo_lightning.inference.whisper_checkpoint import find_whisper
from emo_lightning.media.audio_reader import AudioInfo, check_sound, iter_audio, iter_sound
from emo_lightning.media.loudness import SpeechLevel
from emo_lightning.media.prefetch import prefetch
from emo_lightning.media.spectrogram import MelStream
from emo_lightning.media.video_writer import AUDIO_RATE, VideoWriter
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.motion.gaze import GazeProcess
from emo_lightning.renderers import registry
from emo_lightning.renderers.base import Renderer, stream

if TYPE_CHECKING:
    import torch
    from PIL import Image

    PictureLike = str | Path | np.ndarray | torch.Tensor | Image.Image
    AudioLike = str | Path | np.ndarray | torch.Tensor
    TrackLike = EmotionTrack | str | Path | Sequence[Any]

T = TypeVar("T")
BLOCK = 16_000
"""Samples decoded at a time: one second."""
VIEWS = {"crop": 256, "full": 1024}
"""Views of a video and their default sizes, pixels."""
AUDIO_ENCODERS = ("auto", *SHIPPED_WEIGHTS)
KEPT_PORTRAITS = 8
"""Prepared portraits that a speaker keeps."""


@dataclass(frozen=True)
class PreparedPortrait:
    """A portrait as a renderer animates it.

    Attributes:
        face: the head's crop, its coefficients the source of all motion.
        placement: position of the crop in the full view; None for the crop alone.
        source: the renderer's own preparation.
        size: (width, height) of the frames.
    """

    face: Portrait
    placement: CropPlacement | None
    source: Any
    size: tuple[int, int]


class Speaker:
    """Trained networks and a renderer, ready to animate portraits.

    Args:
        networks: audio to coefficients.
        renderer: coefficients to frames.
        inference: device of both.
    """

    def __init__(
        self, networks: AudioToMotion, renderer: Renderer, inference: InferenceContext | None = None
    ) -> None:
        self.networks, self.renderer = networks, renderer
        self.inference = inference or InferenceContext.create("cpu")
        self._prepared: OrderedDict[tuple[str, str, int], PreparedPortrait] = OrderedDict()

    @classmethod
    def load(
        cls,
        device: str = "auto",
        renderer: str = registry.DEFAULT,
        audio_encoder: str = "auto",
        checkpoint_dir: str | Path | None = None,
        precision: str = "float32",
        compiled: bool = False,
    ) -> Speaker:
        """Load trained networks.

        Args:
            device: auto, cpu, cuda, cuda:N or mps.
            renderer: mesh, refined, keypoint, or ``module:Class``.
            audio_encoder: "whisper", "mel", or "auto": Whisper where its weights are found.
            checkpoint_dir: folder of trained weights, which have their own encoder.
            precision: of learned renderers: float32, bfloat16 or float16.
            compiled: compile learned renderers at their first frame.

        Raises:
            UserError: a device, renderer or file that does not exist.
        """
        inference = InferenceContext.create(device, precision, compiled)
        folder = audio_weights(audio_encoder, checkpoint_dir)
        networks = load_audio_to_motion(folder, inference=inference)
        face = registry.create(renderer, checkpoint_dir, inference, GazeProcess(0))
        return cls(networks, face, inference)

    @property
    def audio_encoder(self) -> str:
        """Audio front end in use: "whisper" or "mel"."""
        return self.networks.mel_kind

    def prepare(
        self, portrait: PictureLike, view: str = "crop", size: int | None = None
    ) -> PreparedPortrait:
        """Find the face and prepare it for the renderer; the last :data:`KEPT_PORTRAITS` are kept.

        Args:
            portrait: path, PIL image, or pixels ``(H, W, 3)`` or ``(3, H, W)``, uint8 or 0..1.
            view: "crop" for the head's square, "full" for the whole picture.
            size: side of the crop, or most pixels of the full view's longer side.

        Raises:
            UserError: no picture, or not exactly one frontal face.
        """
        if view not in VIEWS:
            raise UserError("view", view, " or ".join(VIEWS), "is not a view")
        size = VIEWS[view] if size is None else size
        with tempfile.TemporaryDirectory(prefix="emo-") as folder:
            path = _picture_file(portrait, Path(folder))
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            key = (content, view, size)
            if key not in self._prepared:
                try:
                    self._prepared[key] = self.prepare_file(path, view, size)
                except UserError as error:
                    value = path if isinstance(portrait, (str, Path)) else "the given picture"
                    raise UserError("portrait", value, error.accepted, error.problem) from None
        self._prepared.move_to_end(key)
        while len(self._prepared) > KEPT_PORTRAITS:
            self._prepared.popitem(last=False)
        return self._prepared[key]

    def prepare_file(
        self, path: Path, view: str, size: int, face_choice: str | None = None
    ) -> PreparedPortrait:
        """:meth:`prepare` of a file, nothing kept; errors name it as the command line does.

        ``face_choice``: see :func:`emo_lightning.face.portrait.choose_face`.
        """
        if view == "crop":
            face = load_portrait(path, size, choice=face_choice)
            return PreparedPortrait(face, None, self.renderer.prepare(face), (size, size))
        frame = load_full_frame(path, size, choice=face_choice)
        placement = frame.stage(getattr(self.renderer, "margin", 1.0))
        source = self.renderer.prepare(placement.portrait)
        return PreparedPortrait(frame.face, placement, source, placement.size)

    def motion(
        self,
        prepared: PreparedPortrait,
        mel: Iterable[np.ndarray],
        track: EmotionTrack,
        options: SpeechOptions,
        frames: int,
    ) -> Iterator[Coefficients]:
        """Yield coefficients of log-mel blocks, see :meth:`AudioToMotion.generate`."""
        source, controls = prepared.face.coefficients, options.controls
        chunks = self.networks.generate(
            mel,
            source,
            track,
            options.seed,
            options.head_motion and controls.head_motion > 0,
            frames,
            options.level_from_voice,
            controls,
        )
        return controls.apply(chunks, source)

    def render(
        self, prepared: PreparedPortrait, chunks: Iterable[Coefficients]
    ) -> Iterator[np.ndarray]:
        """Yield frames ``(H, W, 3)`` uint8 RGB of coefficients in chunks of any length."""
        place = prepared.placement
        if place is None:
            return stream(self.renderer, prepared.source, chunks)
        moved = map(place.coefficients, chunks)
        return map(place.put, stream(self.renderer, prepared.source, moved))

    def speak(
        self,
        portrait: PictureLike | PreparedPortrait,
        audio: AudioLike,
        emotion: str = "neutral",
        level: float = 8.0,
        *,
        track: TrackLike | None = None,
        sample_rate: int = SAMPLE_RATE,
        options: SpeechOptions | None = None,
    ) -> TalkingVideo:
        """Animate a portrait by a recording.

        Args:
            portrait: see :meth:`prepare`, or what it returned.
            audio: path of a recording or video, or samples ``(N,)``, ``(N, C)`` or ``(C, N)``,
                float in -1..1 or integers.
            emotion, level: of the whole recording; level 1 to 15.
            track: emotion over time instead: a list of ``(seconds, emotion, level)`` or of mappings
                as in a track file, the path of one, or an :class:`EmotionTrack`.
            sample_rate: Hz of given samples.
            options: seed, head motion, view and size.

        Returns:
            The speech; its frames are computed as they are read.

        Raises:
            UserError: an input that cannot be used.
        """
        options, seconds = options or SpeechOptions(), Clock()
        emotions = EmotionTrack.constant(emotion, level) if track is None else as_track(track)
        with seconds("portrait"):
            if not isinstance(portrait, PreparedPortrait):
                portrait = self.prepare(portrait, options.view, options.size)
        recording = AudioSource.of(audio, sample_rate)
        with seconds("audio"):
            frames, gain = measure_speech(recording.path)
        with seconds("coefficients"):
            mel = mel_blocks(recording.path, gain, self.audio_encoder)
            chunks = self.motion(portrait, mel, emotions, options, frames)
            rows = np.concatenate([chunk.joined() for chunk in chunks])
        coefficients = Coefficients.from_joined(self.networks.layout, rows)
        return TalkingVideo(self, portrait, recording, emotions, coefficients, seconds)


@dataclass(frozen=True)
class SpeechOptions:
    """Settings of a speech.

    Attributes:
        seed: of head motion and blinks.
        head_motion: False keeps the portrait's pose.
        level_from_voice: most levels by which the voice's intensity changes the track's (log-mel
            encoder only).
        view, size: see :meth:`Speaker.prepare`.
        controls: strengths of the motion.
    """

    seed: int = 0
    head_motion: bool = True
    level_from_voice: float = 0.0
    view: str = "crop"
    size: int | None = None
    controls: MotionControls = DEFAULT_CONTROLS


@dataclass
class TalkingVideo:
    """A talking portrait.

    Attributes:
        speaker, portrait, recording: what it was made from.
        track: emotion over time.
        coefficients: one row per frame.
        seconds: wall time by part.
    """

    speaker: Speaker
    portrait: PreparedPortrait
    recording: AudioSource
    track: EmotionTrack
    coefficients: Coefficients
    seconds: Clock

    fps = FPS

    @property
    def audio_encoder(self) -> str:
        """Audio front end that was used: "whisper" or "mel"."""
        return self.speaker.audio_encoder

    @property
    def timings(self) -> dict[str, float]:
        """Elapsed seconds by part so far, and in ``total``."""
        return self.seconds.rounded()

    @property
    def frames(self) -> Iterator[np.ndarray]:
        """Iterator of frames ``(H, W, 3)`` uint8 RGB; each access starts from the first frame."""
        chunks = (self.coefficients.frames(slice(n, n + 8)) for n in range(0, len(self), 8))
        return self.seconds.each("render", self.speaker.render(self.portrait, chunks))

    def __len__(self) -> int:
        return len(self.coefficients)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames

    def save(self, path: str | Path) -> Path:
        """Write an mp4 with the recording's own sound; it appears whole or not at all.

        Raises:
            UserError: another suffix, or a folder that does not exist or cannot be written to.
        """
        path = Path(path)
        if path.suffix.lower() != ".mp4":
            raise UserError("path", path, "a file name that ends in .mp4", "is not one")
        sound = iter_sound(self.recording.path, AUDIO_RATE, 2)
        writer = VideoWriter(
            path, self.portrait.size, FPS, audio=sound, audio_rate=AUDIO_RATE, argument="path"
        )
        with self.seconds("save"), writer:
            for frame in prefetch(self.frames):
                writer.write(frame)
        return path


@dataclass
class AudioSource:
    """Audio as a file; samples are kept in a temporary one as long as this object lives."""

    path: Path
    folder: tempfile.TemporaryDirectory | None = field(default=None, repr=False)

    @classmethod
    def of(cls, audio: AudioLike, sample_rate: int) -> AudioSource:
        """File of a path or of samples.

        Raises:
            UserError: samples that are no audio.
        """
        if isinstance(audio, (str, Path)):
            return cls(Path(audio))
        import soundfile

        samples = _array(audio)
        if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
            samples = samples.T
        if samples.dtype.kind == "i":
            samples = samples / -float(np.iinfo(samples.dtype).min)
        fits = samples.ndim in (1, 2) and samples.size and samples.dtype.kind == "f"
        if not fits or not np.isfinite(samples).all():
            accepted = "finite samples (N,) or (N, channels), float in -1..1 or integers"
            shape = f"{samples.dtype} {samples.shape}"
            raise UserError("audio", shape, accepted, "is not audio")
        folder = tempfile.TemporaryDirectory(prefix="emo-")
        path = Path(folder.name) / "audio.wav"
        soundfile.write(path, samples.astype(np.float32), sample_rate, subtype="FLOAT")
        return cls(path, folder)


class Clock:
    """Elapsed seconds by part of a job, from its construction."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time inside the ``with`` block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start

    def each(self, part: str, items: Iterable[T]) -> Iterator[T]:
        """The same items; the time to produce each is counted."""
        items, end = iter(items), object()
        while True:
            with self(part):
                item = next(items, end)
            if item is end:
                return
            yield item

    def rounded(self) -> dict[str, float]:
        """The parts and the ``total`` so far, to a millisecond."""
        total = time.perf_counter() - self._start
        return {part: round(value, 3) for part, value in {**self.seconds, "total": total}.items()}


def audio_weights(
    encoder: str = "auto", folder: str | Path | None = None, needs_mel: bool = False
) -> Path:
    """Folder of decoupler and motion model for an audio encoder.

    Args:
        encoder: "whisper", "mel" or "auto": Whisper where its weights are found.
        folder: weights of the user's own, which have their own encoder.
        needs_mel: True where something else depends on the log-mel spectrogram.

    Raises:
        UserError: an unknown encoder, or one together with a folder.
    """
    if encoder not in AUDIO_ENCODERS:
        accepted = " or ".join(AUDIO_ENCODERS)
        raise UserError("--audio-encoder", encoder, accepted, "is not an audio encoder")
    if folder is not None:
        if encoder != "auto":
            accepted = "either --audio-encoder or --checkpoint-dir"
            problem = "does not go with --checkpoint-dir, which has its own"
            raise UserError("--audio-encoder", encoder, accepted, problem)
        return Path(folder)
    if encoder == "auto":
        encoder = "whisper" if not needs_mel and find_whisper() is not None else "mel"
    return SHIPPED_WEIGHTS[encoder]


def measure_speech(audio: Path, audio_track: int | None = None) -> tuple[int, float]:
    """Number of video frames of a recording, and the gain that brings its speech to one level.

    Raises:
        MediaError: see :func:`emo_lightning.media.audio_reader.load_audio`.
    """
    samples, peak, level = 0, 0.0, SpeechLevel()
    for block in iter_audio(audio, BLOCK, track=audio_track):
        samples, peak = samples + len(block), max(peak, float(np.abs(block).max(initial=0.0)))
        level.add(block)
    check_sound(AudioInfo(samples, peak), audio, "--audio")
    return frames_for(samples), level.gain()


def mel_blocks(
    audio: Path, gain: float = 1.0, kind: str = "mel", audio_track: int | None = None
) -> Iterator[np.ndarray]:
    """Log-mel rows ``(m, 80)`` of a recording in constant memory; exactly 4 per video frame.

    Args:
        audio: the recording.
        gain: factor on the samples.
        kind: see :attr:`emo_lightning.inference.audio_to_motion.AudioToMotion.mel_kind`.
        audio_track: number of the sound track; the default one when None.
    """
    stream = MelStream(kind)
    for block in iter_audio(audio, BLOCK, track=audio_track):
        yield stream.add(np.float32(gain) * block)
    yield stream.flush()


def as_track(track: TrackLike) -> EmotionTrack:
    """Emotion track of a list of keys, a mapping, or the path of a track file.

    Raises:
        UserError: see :meth:`EmotionTrack.load`.
    """
    if isinstance(track, EmotionTrack):
        return track
    if isinstance(track, (str, Path)):
        return EmotionTrack.load(track)
    return EmotionTrack.parse(track, "track", "track")


def _array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Numpy array of an array or tensor on any device."""
    detach = getattr(values, "detach", None)
    return np.asarray(values if detach is None else detach().cpu().numpy())


def _picture_file(portrait: PictureLike, folder: Path) -> Path:
    """Path of a picture; pixels are written to ``folder`` without loss.

    Raises:
        UserError: pixels of another shape or type.
    """
    if isinstance(portrait, (str, Path)):
        return Path(portrait)
    from PIL import Image

    if not isinstance(portrait, Image.Image):
        pixels = _array(portrait)
        if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
            pixels = pixels.transpose(1, 2, 0)
        if pixels.dtype.kind == "f" and np.isfinite(pixels).all():
            pixels = (pixels.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            accepted = "RGB pixels (H, W, 3) or (3, H, W), uint8 or float in 0..1"
            shape = f"{pixels.dtype} {pixels.shape}"
            raise UserError("portrait", shape, accepted, "is not a picture")
        portrait = Image.fromarray(np.ascontiguousarray(pixels))
    path = folder / "portrait.png"
    portrait.save(path, compress_level=1)
    return path
