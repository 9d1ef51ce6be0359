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
from emo_lightning.core.progress import Progress, note
from emo_lightning.core.provenance import provenance, sha256_of
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.face.full_frame import SmallFaceError
from emo_lightning.face.portrait import shrunk
from emo_lightning.inference.alpha import render_with_alpha
from emo_lightning.inference.motion_controls import interpolate
from emo_lightning.inference.speaker import (
    VIEWS,
    Clock,
    PreparedPortrait,
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
from emo_lightning.media.video_formats import (
    SUFFIXES,
    WITH_ALPHA,
    FrameWriter,
    check_format,
    open_writer,
)
from emo_lightning.media.video_writer import AUDIO_RATE
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.motion.emotions import check_voice_levels
from emo_lightning.motion.gaze import GazeProcess
from emo_lightning.renderers import registry
from emo_lightning.renderers.base import Renderer

FRAME_RATES = (25, 30, 50, 60)
STAGED = "generated"
"""Stem of the files while they are written: the user's may be as long as names can be."""
NOTED = 0.9
"""Side of a crop over that of the whole head's square below which it is noted."""
AUDIO_NETWORKS = ("decoupler", "heads")
"""Networks from audio to coefficients, of those in a folder of weights."""


@dataclass(frozen=True)
class GenerateResult:
    """What :func:`generate` wrote.

    Attributes:
        video: the video.
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
        view: "full" for the whole picture with the head moving, "crop" for the head's square;
            "auto" is full, or crop where the face would be too small, and for alpha.
        renderer: a name of :func:`emo_lightning.renderers.registry.names`, or ``module:Class``.
        audio_encoder: "whisper", "mel", or "auto": Whisper where its weights are found. A
            ``checkpoint_dir`` has its own.
        checkpoint_dir: folder of trained weights; those shipped by default.
        device: of the networks, see :func:`emo_lightning.core.device.resolve_device`.
        fps: frames per second, one of :data:`FRAME_RATES`; coefficients are interpolated.
        overwrite: replace files that this program did not write; never an input.
        face: which face of several, see :func:`emo_lightning.face.portrait.choose_face`.
        audio_track: number of the sound track, from 1; the file's default one when None.

    Raises:
        UserError: a value that is not accepted, or an encoder together with a ``checkpoint_dir``.
    """

    view: str = "auto"
    renderer: str = registry.DEFAULT
    audio_encoder: str = "auto"
    checkpoint_dir: str | Path | None = None
    device: str = "auto"
    fps: int = FPS
    overwrite: bool = False
    face: str | None = None
    audio_track: int | None = None

    def __post_init__(self) -> None:
        folder = self.checkpoint_dir
        if folder is not None and not Path(folder).is_dir():
            accepted = "a folder of trained weights"
            raise UserError("--checkpoint-dir", folder, accepted, "is not a folder")
        self.audio_weights()
        if self.view not in ("auto", *VIEWS):
            raise UserError("--view", self.view, " or ".join(VIEWS), "is not a view")
        if self.fps not in FRAME_RATES:
            accepted = ", ".join(map(str, FRAME_RATES))
            raise UserError("--fps", self.fps, accepted, "is not a frame rate")
        check_voice_levels(self.level_from_voice)

    def side(self, view: str) -> int:
        """``size``, or a view's default."""
        return VIEWS[view] if self.size is None else self.size

    def audio_weights(self) -> Path:
        """Folder of decoupler and motion model; the level follows the voice on log-mel only."""
        return audio_weights(self.audio_encoder, self.checkpoint_dir, self.level_from_voice > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a record."""
        values = {
            name: v for name, v in vars(self).items() if name not in ("controls", "overwrite")
        }
        return {**values, **self.controls.to_dict()}

    def speaker(self) -> Speaker:
        """Networks and renderer on the device."""
        inference = InferenceContext.create(self.device)
        networks = load_audio_to_motion(self.audio_weights(), inference=inference)
        gaze = GazeProcess(self.seed, self.fps, float(self.controls.gaze_at == "natural"))
        renderer = registry.create(self.renderer, self.checkpoint_dir, inference, gaze)
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
        out: the video, its format by its suffix: mp4, webm, mov with alpha, gif, or without one a
            folder of PNG frames. ``.json`` and ``.npz`` of the same name appear beside it, all
            three at the end or none.
        track: the emotion over time.
        options: all other settings.
        inputs: more files that were read, which no output may replace.

    Raises:
        UserError: any input that cannot be used, before the long work.
    """
    job = _Job(Path(portrait), Path(audio), check_file(out, SUFFIXES, "--out"), track, options)
    check_format(job.out, options.fps)
    folder = options.checkpoint_dir
    networks = () if folder is None else Path(folder).iterdir()
    check_outputs(job.files, "--out", (portrait, audio, *inputs, *networks), options.overwrite)
    with staging(job.out.parent, "--out") as stage:
        result = _generate(job, stage)
        names = {f"{STAGED}{file.suffix.lower()}": file.name for file in reversed(job.files)}
        publish(stage, job.out.parent, names)
    return result


@dataclass(frozen=True)
class _Job:
    """Arguments of :func:`generate`."""

    portrait: Path
    audio: Path
    out: Path
    track: EmotionTrack
    options: GenerateOptions

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Video, coefficients and sidecar."""
        return self.out, self.out.with_suffix(".npz"), self.out.with_suffix(".json")


def _generate(job: _Job, stage: Path) -> GenerateResult:
    """Write the three files into a folder, all named :data:`STAGED`."""
    clock, options = Clock(), job.options
    video, npz, sidecar = (stage / f"{STAGED}{file.suffix.lower()}" for file in job.files)
    with clock("audio"):
        count, gain = measure_speech(job.audio, options.audio_track)
    with clock("weights"):
        speaker = options.speaker()
    with clock("portrait"):
        prepared = _prepare(job, speaker)
    rows = mel_blocks(job.audio, gain, speaker.audio_encoder, options.audio_track)
    chunks = speaker.motion(prepared, rows, job.track, options, count)
    spool = _CoefficientSpool(stage / "coefficients")
    chunks = interpolate(spool.each(clock.each("coefficients", chunks)), options.fps)
    if job.out.suffix.lower() in WITH_ALPHA:
        frames = render_with_alpha(speaker, prepared, chunks)
    else:
        frames = speaker.render(prepared, chunks)
    total = round(count * options.fps / FPS)
    sound = iter_sound(job.audio, AUDIO_RATE, 2, track=options.audio_track)
    writer = open_writer(video, prepared.size, options.fps, sound)
    _encode(writer, clock.each("render", frames), total, clock)
    # Rendering asks for the coefficients, so its time includes theirs.
    clock.seconds["render"] -= clock.seconds["coefficients"]
    motion = spool.coefficients()
    np.savez(npz, **dict(motion.items()))
    made = [(file, path) for file, path in zip(job.files, (video, npz), strict=False)]
    record = {
        "generator": MARK,
        "frames": total,
        "fps": options.fps,
        "width": prepared.size[0],
        "height": prepared.size[1],
        "audio_gain_db": round(20 * math.log10(gain), 2),
        "seconds": clock.rounded(),
        "coefficients": {"file": job.files[1].name, "layout": motion.layout.to_dict()},
        "outputs": {file.name: sha256_of(path) for file, path in made if path.is_file()},
        "view": "crop" if prepared.placement is None else "full",
        "size": max(prepared.size),
        **_settings(job, speaker),
    }
    sidecar.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    files, encoder = (job.out, job.files[2], job.files[1]), speaker.audio_encoder
    return GenerateResult(*files, total, options.fps, clock.rounded(), encoder)


def _prepare(job: _Job, speaker: Speaker) -> PreparedPortrait:
    """The portrait in the view asked for."""
    view, options = job.options.view, job.options
    if view == "auto":
        view = "crop" if job.out.suffix.lower() in WITH_ALPHA else "full"
    try:
        prepared = speaker.prepare_file(job.portrait, view, options.side(view), options.face)
    except SmallFaceError as error:
        if options.view != "auto":
            raise
        note(f"emo: {job.portrait} {error.problem}; the video is the crop around the head")
        side = options.side("crop")
        prepared = speaker.prepare_file(job.portrait, "crop", side, options.face)
    if prepared.placement is None and shrunk(prepared.face) < NOTED:
        share = f"{100 * shrunk(prepared.face):.0f} %"
        note(f"emo: {job.portrait} is cut close: the crop is {share} of the head's square")
    for text in prepared.face.notes:
        note(f"emo: {job.portrait}: {text}")
    return prepared


def _settings(job: _Job, speaker: Speaker) -> dict[str, Any]:
    """Inputs, settings and weights of a video, for its record."""
    options = job.options
    files = {"portrait": job.portrait, "audio": job.audio}
    return {
        "emotion_track": job.track.to_json(),
        "renderer": options.renderer,
        "renderer_origin": registry.origin(options.renderer),
        "audio_encoder": speaker.audio_encoder,
        "level_from_voice": options.level_from_voice,
        "controls": options.controls.to_dict(),
        "device": str(speaker.inference.device),
        "weights": _weights(options.audio_weights(), speaker.renderer, speaker.audio_encoder),
        "inputs": {name: sha256_of(path) for name, path in files.items()},
        "provenance": provenance({**files, "out": job.out, **options.to_dict()}),
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


def _encode(writer: FrameWriter, frames: Iterable[np.ndarray], total: int, clock: Clock) -> None:
    """Write all frames; a thread renders the next ones meanwhile."""
    with (
        clock("video"),
        writer,
        Progress("generate", total) as progress,
        closing(prefetch(frames)) as rendered,
    ):
        for frame in rendered:
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
