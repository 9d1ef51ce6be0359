"""One portrait, one recording, one emotion track -> one video, from files to files.

Everything after the checks is a chain of generators: audio -> mel rows -> coefficients -> frames ->
encoder, so memory does not grow with the length of the recording.
"""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emo_lightning.core import assets
from emo_lightning.core.atomic_files import check_file, publish, staging
from emo_lightning.core.constants import FPS
from emo_lightning.core.device import InferenceContext
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import Progress
from emo_lightning.core.provenance import provenance, sha256_of
from emo_lightning.face.coefficients import BUILTIN, Coefficients
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
from emo_lightning.motion.emotions import EmotionTrack, check_band
from emo_lightning.renderers import registry
from emo_lightning.renderers.base import Renderer

SPEAKING = ("decoupler", "heads")
"""Networks from audio to coefficients, of those in a folder of weights."""


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
class GenerateOptions(SpeechOptions):
    """Settings of a video, besides those of :class:`SpeechOptions`.

    Attributes:
        renderer: a name of :func:`emo_lightning.renderers.registry.names`, or ``module:Class``.
        audio_encoder: "whisper", "mel", or "auto": Whisper where its weights are found. A
            ``checkpoint_dir`` has its own.
        checkpoint_dir: folder of trained weights; those shipped by default.
        device: of the networks, see :func:`emo_lightning.core.device.resolve_device`.

    Raises:
        UserError: a value that is not accepted, or an encoder together with a ``checkpoint_dir``.
    """

    renderer: str = registry.DEFAULT
    audio_encoder: str = "auto"
    checkpoint_dir: str | Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        folder = self.checkpoint_dir
        if folder is not None and not Path(folder).is_dir():
            accepted = "a folder of trained weights"
            raise UserError("--checkpoint-dir", folder, accepted, "is not a folder")
        self.audio_weights()
        if self.view not in VIEWS:
            raise UserError("--view", self.view, " or ".join(VIEWS), "is not a view")
        check_band(self.level_from_voice)

    @property
    def side(self) -> int:
        """``size``, or the view's default."""
        return VIEWS[self.view] if self.size is None else self.size

    def audio_weights(self) -> Path:
        """Folder of decoupler and motion model; the level follows the voice on log-mel only."""
        return audio_weights(self.audio_encoder, self.checkpoint_dir, self.level_from_voice > 0)

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
    clock, encoder = Clock(), None
    with staging(out.parent, "--out") as stage, _full_disk(out):
        with clock("audio"):
            frames, gain = measure_speech(audio)
        with clock("weights"):
            speaker = options.speaker()
            encoder = speaker.audio_encoder
        with clock("portrait"):
            prepared = speaker.prepare_file(portrait, options.view, options.side)
        rows = mel_blocks(audio, gain, encoder)
        chunks = speaker.motion(prepared, rows, track, options, frames)
        spool = _Spool(stage / "coefficients")
        kept = spool.each(clock.each("coefficients", chunks))
        images = clock.each("render", speaker.render(prepared, kept))
        _encode(stage / out.name, images, audio, prepared.size, frames, clock)
        # Rendering asks for the coefficients, so its time includes theirs.
        clock.seconds["render"] -= clock.seconds["coefficients"]
        coefficients = spool.coefficients()
        np.savez(stage / f"{out.stem}.npz", **dict(coefficients.items()))
        record = {
            "frames": len(coefficients),
            "fps": FPS,
            "width": prepared.size[0],
            "height": prepared.size[1],
            "audio_encoder": encoder,
            "audio_gain_db": round(20 * math.log10(gain), 2),
            "seconds": clock.rounded(),
            "emotion_track": track.to_json(),
            "coefficients": {"file": f"{out.stem}.npz", "layout": coefficients.layout.to_dict()},
            "inputs": {"portrait": sha256_of(portrait), "audio": sha256_of(audio)},
            **_settings(options, speaker),
            "provenance": provenance(
                {"portrait": portrait, "audio": audio, "out": out}
                | {**vars(options), "size": options.side}
            ),
        }
        text = json.dumps(record, indent=2) + "\n"
        (stage / f"{out.stem}.json").write_text(text, encoding="utf-8")
        publish(stage, out.parent, [f"{out.stem}.npz", f"{out.stem}.json", out.name])
    others = (out.with_suffix(suffix) for suffix in (".json", ".npz"))
    return GenerateResult(out, *others, len(coefficients), FPS, clock.rounded(), encoder)


def _settings(options: GenerateOptions, speaker: Speaker) -> dict[str, Any]:
    """Settings of a video and the weights that were used, for its record."""
    return {
        "view": options.view,
        "size": options.side,
        "renderer": options.renderer,
        "renderer_origin": registry.origin(options.renderer),
        "level_from_voice": options.level_from_voice,
        "device": str(speaker.inference.device),
        "weights": _weights(options.audio_weights(), speaker.renderer, speaker.audio_encoder),
    }


class _Spool:
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
    frames: int,
    clock: Clock,
) -> None:
    """Write the video with the recording's own sound; frames are rendered ahead in a thread."""
    sound = iter_sound(audio, AUDIO_RATE, 2)
    writer = VideoWriter(path, size, FPS, audio=sound, audio_rate=AUDIO_RATE)
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
    networks = [file for file in weight_files(folder) if file.stem in SPEAKING]
    networks += map(Path, getattr(renderer, "files", ()))
    networks.append(assets.locate("face_landmarker"))
    if encoder == "whisper":
        networks.append(registered_whisper())
    return {file.name: sha256_of(file) for file in networks}


@contextmanager
def _full_disk(out: Path) -> Iterator[None]:
    """Turn a full disk into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        accepted, problem = "a folder on a disk with room", f"cannot be written ({error.strerror})"
        raise UserError("--out", out, accepted, problem) from None
