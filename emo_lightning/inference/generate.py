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
from emo_lightning.inference.whisper_checkpoint import registered_whisper
from emo_lightning.media.audio_reader import AudioInfo, check_sound, iter_audio, iter_sound
from emo_lightning.media.loudness import SpeechLevel
from emo_lightning.media.prefetch import ahead
from emo_lightning.media.spectrogram import MelStream
from emo_lightning.media.video_writer import AUDIO_RATE, VideoWriter
from emo_lightning.motion.emotions import EmotionTrack, check_band
from emo_lightning.renderers import base as renderers

T = TypeVar("T")
BLOCK = 16_000
"""Samples that are decoded at a time: one second."""
FRAMES = {"crop": 256, "picture": 1024}
"""What a video can show, and its size where none is given."""
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
    """

    video: Path
    sidecar: Path
    coefficients: Path
    frames: int
    fps: float
    seconds: dict[str, float]


def generate(
    portrait: str | Path,
    audio: str | Path,
    out: str | Path,
    track: EmotionTrack,
    renderer: str = renderers.DEFAULT,
    size: int | None = None,
    seed: int = 0,
    head_motion: bool = True,
    checkpoint_dir: str | Path | None = None,
    voice_level: float = 0.0,
    frame: str = "crop",
    ear: str = "mel",
) -> GenerateResult:
    """Make a talking video.

    Args:
        portrait: picture of one face from the front.
        audio: recording of any format and sample rate, or a video with sound.
        out: the mp4; ``.json`` and ``.npz`` of the same name appear beside it. All three appear at the end or not at all.
        track: the emotion over time.
        renderer: a name of :func:`emo_lightning.renderers.base.names`, or ``module:Class``.
        size: side of the video in pixels, even; with ``frame="picture"`` the most that its longer side may have. By default
            that of :data:`FRAMES`.
        seed: of head motion and blinks; the same seed gives the same frames.
        head_motion: False keeps the head as it is in the portrait.
        checkpoint_dir: folder of trained weights; those shipped by default.
        voice_level: how many levels the strength of the voice may move the track's, either way, 0 to 5; 0 leaves them alone.
        frame: "crop" shows the head in its square, "picture" the whole picture with the head moving in it.
        ear: which of the shipped networks listens, "mel" or "whisper"; a ``checkpoint_dir`` has its own.

    Raises:
        UserError: any input that cannot be used, before the long work.
    """
    portrait, audio = Path(portrait), Path(audio)
    out = check_file(out, ".mp4", "--out", inputs=(portrait, audio))
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    if folder is not None and not folder.is_dir():
        raise UserError(
            "--checkpoint-dir", folder, "a folder of trained weights", "is not a folder"
        )
    if ear not in SHIPPED_WEIGHTS:
        raise UserError(
            "--ear", ear, " or ".join(SHIPPED_WEIGHTS), "is not what the shipped networks hear with"
        )
    if folder is not None and ear != "mel":
        raise UserError(
            "--ear",
            ear,
            "either --ear or --checkpoint-dir",
            "does not go with --checkpoint-dir, which has its own",
        )
    listener = SHIPPED_WEIGHTS[ear] if folder is None else folder
    voice_level = check_band(voice_level)
    if frame not in FRAMES:
        raise UserError("--frame", frame, " or ".join(FRAMES), "is not what a video can show")
    size = FRAMES[frame] if size is None else size
    arguments = {
        "portrait": portrait,
        "audio": audio,
        "out": out,
        "renderer": renderer,
        "size": size,
        "seed": seed,
    }
    arguments |= {
        "head_motion": head_motion,
        "checkpoint_dir": folder,
        "voice_level": voice_level,
        "frame": frame,
        "ear": ear,
    }
    clock = Clock()
    with staging(out.parent, "--out") as stage, _full_disk(out):
        with clock("audio"):
            frames, gain = listen(audio)
        with clock("portrait"):
            scene = load_full_frame(portrait, size) if frame == "picture" else None
            face = load_portrait(portrait, size) if scene is None else scene.face
        with clock("weights"):
            talker = load_audio_to_motion(listener)
            drawer = renderers.create(renderer, folder)
        with clock("prepare"):
            place = None if scene is None else scene.stage(getattr(drawer, "margin", 1.0))
            source = drawer.prepare(face if place is None else place.portrait)
        sound = mel_blocks(audio, gain, talker.sound)
        chunks = talker.generate(
            sound,
            face.coefficients,
            track,
            seed,
            head_motion,
            total_frames=frames,
            voice_level=voice_level,
        )
        spool = _Spool(stage / "coefficients")
        made = spool.each(clock.each("coefficients", chunks))
        drawn = renderers.stream(
            drawer, source, made if place is None else map(place.coefficients, made)
        )
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
            "frame": frame,
            "size": size,
            "width": shape[0],
            "height": shape[1],
            "renderer": renderer,
            "renderer_origin": renderers.origin(renderer),
            "audio_gain_db": round(20 * math.log10(gain), 2),
            "seconds": clock.rounded(),
            "emotion_track": track.to_json(),
            "voice_level": voice_level,
            "coefficients": {"file": f"{out.stem}.npz", "layout": spoken.layout.to_dict()},
            "weights": _weights(listener, drawer, talker.sound),
            "inputs": {"portrait": sha256_of(portrait), "audio": sha256_of(audio)},
            "provenance": provenance(arguments),
        }
        (stage / f"{out.stem}.json").write_text(
            json.dumps(about, indent=2) + "\n", encoding="utf-8"
        )
        publish(stage, out.parent, [f"{out.stem}.npz", f"{out.stem}.json", out.name])
    return GenerateResult(
        out, out.with_suffix(".json"), out.with_suffix(".npz"), len(spoken), FPS, clock.rounded()
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

    ``kind`` is that of the rows, :attr:`emo_lightning.inference.audio_to_motion.AudioToMotion.sound`.
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


def _weights(listener: Path, drawer: renderers.Renderer, sound: str) -> dict[str, str]:
    """File name -> sha256 of every trained file that had a part in the video."""
    networks = [file for file in weight_files(listener) if file.stem in SPEAKING]
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
