"""One portrait, one recording, one emotion track -> one video; the whole path from files to files.

Everything after the checks is a chain of generators: sound -> mel rows -> coefficients -> frames -> the encoder, so
memory does not grow with the length of the recording.
"""

from __future__ import annotations

import errno
import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from emo_lightning.core import assets
from emo_lightning.core.atomic_files import check_file, publish, staging
from emo_lightning.core.constants import FPS, frames_for
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import Progress
from emo_lightning.core.provenance import provenance, sha256_of
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.face.full_frame import load_full_frame
from emo_lightning.face.portrait import load_portrait
from emo_lightning.inference.weights import SHIPPED_WEIGHTS, load_audio_to_motion, weight_files
from emo_lightning.inference.whisper_checkpoint import find_whisper, registered_whisper
from emo_lightning.media.audio_reader import AudioInfo, check_sound, iter_audio, iter_sound
from emo_lightning.media.loudness import SpeechLevel
from emo_lightning.media.prefetch import ahead
from emo_lightning.media.spectrogram import MelStream
from emo_lightning.media.video_writer import AUDIO_RATE, VideoWriter
from emo_lightning.motion.emotions import EmotionTrack, check_band
from emo_lightning.renderers import registry
from emo_lightning.renderers.base import Renderer, stream

T = TypeVar("T")
BLOCK = 16_000
"""Samples that are decoded at a time: one second."""
VIEWS = {"crop": 256, "full": 1024}
"""What a video can show, and its size in pixels where none is given."""
AUDIO_ENCODERS = ("auto", *SHIPPED_WEIGHTS)
SPEAKING = ("decoupler", "heads")
"""Networks from sound to coefficients, of those in a folder of weights."""


@dataclass(frozen=True)
class GenerateResult:
    """What :func:`generate` wrote.

    Attributes:
        video: the mp4.
        sidecar: the JSON beside it.
        coefficients: the npz beside it, one ``(frames, n)`` array a block.
        frames: number of video frames.
        fps: frames per second of the video.
        seconds: wall time by part, and in ``total``.
        audio_encoder: "whisper" or "mel", as used.
    """

    video: Path
    sidecar: Path
    coefficients: Path
    frames: int
    fps: float
    seconds: dict[str, float]
    audio_encoder: str


@dataclass(frozen=True)
class GenerateOptions:
    """Settings of a video.

    Attributes:
        renderer: a name of :func:`emo_lightning.renderers.registry.names`, or ``module:Class``.
        view: "crop" shows the head in its square, "full" the whole picture with the head moving.
        size: side of the crop in pixels, even, or the most for the longer side of the full view;
            by default that of :data:`VIEWS`.
        seed: of head motion and blinks; the same seed gives the same frames.
        head_motion: False keeps the head as it is in the portrait.
        audio_encoder: "whisper", "mel", or "auto": Whisper where its weights are installed. A
            ``checkpoint_dir`` brings its own.
        level_from_voice: levels by which loudness and pitch above or below the speaker's median
            may move the track's, 0 (off) to 5.
        checkpoint_dir: folder of trained weights; those shipped by default.

    Raises:
        UserError: a value that is not accepted, or an encoder together with a ``checkpoint_dir``.
    """

    renderer: str = registry.DEFAULT
    view: str = "crop"
    size: int | None = None
    seed: int = 0
    head_motion: bool = True
    audio_encoder: str = "auto"
    level_from_voice: float = 0.0
    checkpoint_dir: str | Path | None = None

    def __post_init__(self) -> None:
        folder, encoder = self.checkpoint_dir, self.audio_encoder
        if folder is not None and not Path(folder).is_dir():
            accepted = "a folder of trained weights"
            raise UserError("--checkpoint-dir", folder, accepted, "is not a folder")
        if encoder not in AUDIO_ENCODERS:
            accepted = " or ".join(AUDIO_ENCODERS)
            raise UserError("--audio-encoder", encoder, accepted, "is not an audio encoder")
        if folder is not None and encoder != "auto":
            accepted = "either --audio-encoder or --checkpoint-dir"
            problem = "does not go with --checkpoint-dir, which has its own"
            raise UserError("--audio-encoder", encoder, accepted, problem)
        if self.view not in VIEWS:
            raise UserError("--view", self.view, " or ".join(VIEWS), "is not a view")
        check_band(self.level_from_voice)

    @property
    def side(self) -> int:
        """``size``, or the view's default."""
        return VIEWS[self.view] if self.size is None else self.size

    def audio_weights(self) -> Path:
        """Folder of the decoupler and the heads to use."""
        if self.checkpoint_dir is not None:
            return Path(self.checkpoint_dir)
        if self.audio_encoder != "auto":
            return SHIPPED_WEIGHTS[self.audio_encoder]
        # The level follows the voice on the mel spectrogram only.
        whisper = not self.level_from_voice and find_whisper() is not None
        return SHIPPED_WEIGHTS["whisper" if whisper else "mel"]


def generate(
    portrait: str | Path,
    audio: str | Path,
    out: str | Path,
    track: EmotionTrack,
    options: GenerateOptions = GenerateOptions(),
) -> GenerateResult:
    """Make a talking video.

    Args:
        portrait: picture of one face from the front.
        audio: recording of any format and sample rate, or a video with sound.
        out: the mp4; ``.json`` and ``.npz`` of the same name appear beside it, all three at the
            end or none.
        track: the emotion over time.
        options: all other settings.

    Raises:
        UserError: any input that cannot be used, before the long work.
    """
    portrait, audio = Path(portrait), Path(audio)
    out = check_file(out, ".mp4", "--out", inputs=(portrait, audio))
    folder, size, audio_weights = options.checkpoint_dir, options.side, options.audio_weights()
    arguments = {"portrait": portrait, "audio": audio, "out": out, **vars(options), "size": size}
    clock = Clock()
    with staging(out.parent, "--out") as stage, _full_disk(out):
        with clock("audio"):
            frames, gain = listen(audio)
        with clock("portrait"):
            scene = load_full_frame(portrait, size) if options.view == "full" else None
            face = load_portrait(portrait, size) if scene is None else scene.face
        with clock("weights"):
            talker = load_audio_to_motion(audio_weights)
            drawer = registry.create(options.renderer, folder)
        with clock("prepare"):
            place = None if scene is None else scene.stage(getattr(drawer, "margin", 1.0))
            source = drawer.prepare(face if place is None else place.portrait)
        sound = mel_blocks(audio, gain, talker.mel_kind)
        chunks = talker.generate(
            sound,
            face.coefficients,
            track,
            options.seed,
            options.head_motion,
            total_frames=frames,
            level_from_voice=options.level_from_voice,
        )
        spool = _Spool(stage / "coefficients")
        made = spool.each(clock.each("coefficients", chunks))
        drawn = stream(drawer, source, made if place is None else map(place.coefficients, made))
        shape = (size, size) if place is None else place.size
        pictures = clock.each("render", drawn if place is None else map(place.put, drawn))
        _encode(stage / out.name, pictures, audio, shape, frames, clock)
        clock.seconds["render"] -= clock.seconds[
            "coefficients"
        ]  # which drawing asked for as it went
        spoken = spool.read()
        np.savez(stage / f"{out.stem}.npz", **dict(spoken.items()))
        about = {
            "frames": len(spoken),
            "fps": FPS,
            "view": options.view,
            "size": size,
            "width": shape[0],
            "height": shape[1],
            "renderer": options.renderer,
            "renderer_origin": registry.origin(options.renderer),
            "audio_encoder": talker.mel_kind,
            "audio_gain_db": round(20 * math.log10(gain), 2),
            "seconds": clock.rounded(),
            "emotion_track": track.to_json(),
            "level_from_voice": options.level_from_voice,
            "coefficients": {"file": f"{out.stem}.npz", "layout": spoken.layout.to_dict()},
            "weights": _weights(audio_weights, drawer, talker.mel_kind),
            "inputs": {"portrait": sha256_of(portrait), "audio": sha256_of(audio)},
            "provenance": provenance(arguments),
        }
        (stage / f"{out.stem}.json").write_text(
            json.dumps(about, indent=2) + "\n", encoding="utf-8"
        )
        publish(stage, out.parent, [f"{out.stem}.npz", f"{out.stem}.json", out.name])
    return GenerateResult(
        out,
        out.with_suffix(".json"),
        out.with_suffix(".npz"),
        len(spoken),
        FPS,
        clock.rounded(),
        talker.mel_kind,
    )


def listen(audio: Path) -> tuple[int, float]:
    """Decode a recording once: its number of video frames, and the gain that brings its speech to one level.

    Raises:
        MediaError: see :func:`emo_lightning.media.audio_reader.load_audio`.
    """
    samples, peak, level = 0, 0.0, SpeechLevel()
    for block in iter_audio(audio, BLOCK):
        samples, peak = samples + len(block), max(peak, float(np.abs(block).max(initial=0.0)))
        level.push(block)
    check_sound(AudioInfo(samples, peak), audio, "--audio")
    return frames_for(samples), level.gain()


def mel_blocks(audio: Path, gain: float = 1.0, kind: str = "mel") -> Iterator[np.ndarray]:
    """Log-mel rows ``(m, 80)`` of a recording as it is decoded, in constant memory; together exactly 4 a video frame.

    ``kind`` is that of the rows, :attr:`emo_lightning.inference.audio_to_motion.AudioToMotion.mel_kind`.
    """
    stream = MelStream(kind)
    for block in iter_audio(audio, BLOCK):
        yield stream.push(np.float32(gain) * block)
    yield stream.finish()


class Clock:
    """Wall seconds by part of a job; it starts when it is made."""

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
        """The same items; counts the time that it takes to make each of them."""
        items, end = iter(items), object()
        while True:
            with self(part):
                item = next(items, end)
            if item is end:
                return
            yield item

    def rounded(self) -> dict[str, float]:
        """The parts and the ``total`` so far, in milliseconds' precision."""
        return {
            part: round(seconds, 3)
            for part, seconds in (
                *self.seconds.items(),
                ("total", time.perf_counter() - self._start),
            )
        }


class _Spool:
    """Coefficients on disk, so that an hour of them takes no memory."""

    def __init__(self, path: Path) -> None:
        self._path, self._layout = path, BUILTIN

    def each(self, chunks: Iterable[Coefficients]) -> Iterator[Coefficients]:
        """The same chunks, kept as they pass."""
        with open(self._path, "wb") as file:
            for chunk in chunks:
                self._layout = chunk.layout
                file.write(chunk.joined().tobytes())
                yield chunk

    def read(self) -> Coefficients:
        """All that passed, read from disk where it is used."""
        return Coefficients.from_joined(
            self._layout, np.memmap(self._path, np.float32, "r").reshape(-1, self._layout.size)
        )


def _encode(
    path: Path,
    pictures: Iterable[np.ndarray],
    audio: Path,
    size: tuple[int, int],
    frames: int,
    clock: Clock,
) -> None:
    """Write the pictures with the recording's own sound; the next pictures are made at the same time, in a thread."""
    writer = VideoWriter(
        path, size, FPS, audio=iter_sound(audio, AUDIO_RATE, 2), audio_rate=AUDIO_RATE
    )
    with (
        clock("film"),
        writer,
        Progress("generate", frames) as progress,
        closing(ahead(pictures)) as made,
    ):
        for frame in made:
            with clock("encode"):
                writer.write(frame)
            progress.update()


def _weights(folder: Path, drawer: Renderer, sound: str) -> dict[str, str]:
    """File name -> sha256 of every trained file that had a part in the video."""
    networks = [file for file in weight_files(folder) if file.stem in SPEAKING]
    networks += map(Path, getattr(drawer, "files", ()))
    networks.append(assets.locate("face_landmarker"))
    if sound == "whisper":
        networks.append(registered_whisper())
    return {file.name: sha256_of(file) for file in networks}


@contextmanager
def _full_disk(out: Path) -> Iterator[None]:
    """A full disk is not a bug of ours."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            "--out", out, "a folder on a disk with room", f"cannot be written ({error.strerror})"
        ) from None
