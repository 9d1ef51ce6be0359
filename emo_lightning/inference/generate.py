"""One portrait, one recording, one emotion track -> one video, from files to files.

Everything after the checks is a chain of generators: audio -> mel rows -> coefficients -> frames ->
encoder, so memory does not grow with the length of the recording.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emo_lightning.core import assets
from emo_lightning.core.atomic_files import MARK, check_file, check_outputs, publish, staging
from emo_lightning.core.constants import FPS
from emo_lightning.core.device import InferenceContext
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import Progress
from emo_lightning.core.provenance import provenance, sha256_of
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.inference.motion_controls import interpolate
from emo_lightning.inference.speaker import (
    VIEWS,
    Clock,
    Speaker,
    SpeechOptions,
    audio_weights,
    measure_speech,
    mel_blocks,
)
from emo_lightning.inference.weights import load_audio_to_motion, weight_files
from emo_lightning.inference.whisper_checkpoint import registered_whisper
from emo_lightning.media.audio_reader import iter_sound
from emo_lightning.media.prefetch import prefetch
from emo_lightning.media.video_writer import AUDIO_RATE, VideoWriter
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.motion.emotions import check_voice_levels
from emo_lightning.renderers import registry
from emo_lightning.renderers.base import Renderer

SUFFIXES = (".mp4",)
FRAME_RATES = (25, 30, 50, 60)
AUDIO_NETWORKS = ("decoupler", "heads")
"""Networks from audio to coefficients, of those in a folder of weights."""


@dataclass(frozen=True)
class GenerateResult:
    """What :func:`generate` wrote.

    Attributes:
        video: the mp4.
        sidecar: the JSON beside it.
        coefficients: the npz beside it, one ``(T, n)`` array a block, at 25 frames/s.
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
class GenerateOptions(SpeechOptions):
    """Settings of a video, besides those of :class:`SpeechOptions`.

    Attributes:
        renderer: a name of :func:`emo_lightning.renderers.registry.names`, or ``module:Class``.
        audio_encoder: "whisper", "mel", or "auto": Whisper where its weights are found. A
            ``checkpoint_dir`` has its own.
        checkpoint_dir: folder of trained weights; those shipped by default.
        device: of the networks, see :func:`emo_lightning.core.device.resolve_device`.
        fps: frames per second, one of :data:`FRAME_RATES`; coefficients are interpolated.
        overwrite: replace files that this program did not write; never an input.

    Raises:
        UserError: a value that is not accepted, or an encoder together with a ``checkpoint_dir``.
    """

    renderer: str = registry.DEFAULT
    audio_encoder: str = "auto"
    checkpoint_dir: str | Path | None = None
    device: str = "auto"
    fps: int = FPS
    overwrite: bool = False

    def __post_init__(self) -> None:
        folder = self.checkpoint_dir
        if folder is not None and not Path(folder).is_dir():
            accepted = "a folder of trained weights"
            raise UserError("--checkpoint-dir", folder, accepted, "is not a folder")
        self.audio_weights()
        if self.view not in VIEWS:
            raise UserError("--view", self.view, " or ".join(VIEWS), "is not a view")
        if self.fps not in FRAME_RATES:
            accepted = ", ".join(map(str, FRAME_RATES))
            raise UserError("--fps", self.fps, accepted, "is not a frame rate")
        check_voice_levels(self.level_from_voice)

    @property
    def side(self) -> int:
        """``size``, or the view's default."""
        return VIEWS[self.view] if self.size is None else self.size

    def audio_weights(self) -> Path:
        """Folder of decoupler and motion model; the level follows the voice on log-mel only."""
        return audio_weights(self.audio_encoder, self.checkpoint_dir, self.level_from_voice > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a record."""
        values = {
            name: v for name, v in vars(self).items() if name not in ("controls", "overwrite")
        }
        return {**values, "size": self.side, **self.controls.to_dict()}

    def speaker(self) -> Speaker:
        """Networks and renderer on the device."""
        inference = InferenceContext.create(self.device)
        networks = load_audio_to_motion(self.audio_weights(), inference=inference)
        renderer = registry.create(self.renderer, self.checkpoint_dir, inference)
        return Speaker(networks, renderer, inference)


def generate(
    portrait: str | Path,
    audio: str | Path,
    out: str | Path,
    track: EmotionTrack,
    options: GenerateOptions = GenerateOptions(),
    inputs: Iterable[str | Path | None] = (),
) -> GenerateResult:
    """Make a talking video.

    Args:
        portrait: picture of one face from the front.
        audio: recording of any format and sample rate, or a video with sound.
        out: the mp4; ``.json`` and ``.npz`` of the same name appear beside it, all three at the
            end or none.
        track: the emotion over time.
        options: all other settings.
        inputs: more files that were read, which no output may replace.

    Raises:
        UserError: any input that cannot be used, before the long work.
    """
    portrait, audio = Path(portrait), Path(audio)
    out = check_file(out, SUFFIXES, "--out")
    npz, sidecar, folder = out.with_suffix(".npz"), out.with_suffix(".json"), options.checkpoint_dir
    networks = () if folder is None else Path(folder).iterdir()
    read = (portrait, audio, *inputs, *networks)
    check_outputs((out, npz, sidecar), "--out", read, options.overwrite)
    clock = Clock()
    with staging(out.parent, "--out") as stage:
        video, stored = stage / f"video{out.suffix.lower()}", stage / "coefficients.npz"
        with clock("audio"):
            count, gain = measure_speech(audio)
        with clock("weights"):
            speaker = options.speaker()
        with clock("portrait"):
            prepared = speaker.prepare_file(portrait, options.view, options.side)
        rows = mel_blocks(audio, gain, speaker.audio_encoder)
        chunks = speaker.motion(prepared, rows, track, options, count)
        spool = _CoefficientSpool(stage / "coefficients")
        stored_chunks = spool.each(clock.each("coefficients", chunks))
        frames = speaker.render(prepared, interpolate(stored_chunks, options.fps))
        total = round(count * options.fps / FPS)
        _encode(
            video, clock.each("render", frames), audio, prepared.size, (options.fps, total), clock
        )
        # Rendering asks for the coefficients, so its time includes theirs.
        clock.seconds["render"] -= clock.seconds["coefficients"]
        coefficients = spool.coefficients()
        np.savez(stored, **dict(coefficients.items()))
        record = {
            "generator": MARK,
            "frames": total,
            "fps": options.fps,
            "width": prepared.size[0],
            "height": prepared.size[1],
            "audio_encoder": speaker.audio_encoder,
            "audio_gain_db": round(20 * math.log10(gain), 2),
            "seconds": clock.rounded(),
            "emotion_track": track.to_json(),
            "coefficients": {"file": npz.name, "layout": coefficients.layout.to_dict()},
            "inputs": {"portrait": sha256_of(portrait), "audio": sha256_of(audio)},
            "outputs": {out.name: sha256_of(video), npz.name: sha256_of(stored)},
            **_settings(options, speaker),
            "provenance": provenance(
                {"portrait": portrait, "audio": audio, "out": out, **options.to_dict()}
            ),
        }
        text = json.dumps(record, indent=2) + "\n"
        (stage / "sidecar.json").write_text(text, encoding="utf-8")
        names = {stored.name: npz.name, "sidecar.json": sidecar.name, video.name: out.name}
        publish(stage, out.parent, names)
    encoder = speaker.audio_encoder
    return GenerateResult(out, sidecar, npz, total, options.fps, clock.rounded(), encoder)


def _settings(options: GenerateOptions, speaker: Speaker) -> dict[str, Any]:
    """Settings of a video and the weights that were used, for its record."""
    return {
        "view": options.view,
        "size": options.side,
        "renderer": options.renderer,
        "renderer_origin": registry.origin(options.renderer),
        "level_from_voice": options.level_from_voice,
        "controls": options.controls.to_dict(),
        "device": str(speaker.inference.device),
        "weights": _weights(options.audio_weights(), speaker.renderer, speaker.audio_encoder),
    }


class _CoefficientSpool:
    """Coefficients on disk, so that memory does not grow with a recording."""

    def __init__(self, path: Path) -> None:
        self._path, self._layout = path, BUILTIN

    def each(self, chunks: Iterable[Coefficients]) -> Iterator[Coefficients]:
        """The same chunks, written to disk on their way."""
        with open(self._path, "wb") as file:
            for chunk in chunks:
                self._layout = chunk.layout
                file.write(chunk.joined().tobytes())
                yield chunk

    def coefficients(self) -> Coefficients:
        """All chunks, memory-mapped."""
        rows = np.memmap(self._path, np.float32, "r").reshape(-1, self._layout.size)
        return Coefficients.from_joined(self._layout, rows)


def _encode(
    path: Path,
    images: Iterable[np.ndarray],
    audio: Path,
    size: tuple[int, int],
    length: tuple[int, int],
    clock: Clock,
) -> None:
    """Write a video of a ``length`` (fps, frames) with the recording's own audio; frames are
    rendered ahead in a thread."""
    (fps, frames), sound = length, iter_sound(audio, AUDIO_RATE, 2)
    writer = VideoWriter(path, size, fps, audio=sound, audio_rate=AUDIO_RATE)
    with (
        clock("video"),
        writer,
        Progress("generate", frames) as progress,
        closing(prefetch(images)) as made,
    ):
        for frame in made:
            with clock("encode"):
                writer.write(frame)
            progress.update()


def _weights(folder: Path, renderer: Renderer, encoder: str) -> dict[str, str]:
    """File name -> sha256 of every trained file in use."""
    networks = [file for file in weight_files(folder) if file.stem in AUDIO_NETWORKS]
    networks += map(Path, getattr(renderer, "files", ()))
    networks.append(assets.locate("face_landmarker"))
    if encoder == "whisper":
        networks.append(registered_whisper())
    return {file.name: sha256_of(file) for file in networks}
