"""Video encoding: H.264 + AAC files written atomically, and small mp4s in memory for shards."""

from __future__ import annotations

import io
import os
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.constants import FPS, SAMPLE_RATE
from emo_lightning.core.errors import UserError
from emo_lightning.media.audio_reader import iter_sound

AUDIO_RATE = 48_000
"""Sound copied from a user's file keeps its full band in the videos we write."""
REPEATABLE = {"x264-params": "mbtree=0:rc-lookahead=0"}
"""With look-ahead and macroblock trees x264 now and then gives other bytes for the same frames."""


@dataclass(frozen=True)
class VideoFormat:
    """A container with its codecs.

    Attributes:
        container: ffmpeg's name.
        codec: of the video.
        pixels: its pixel format.
        source: pixel format of the frames given, "rgb24" or "rgba".
        audio_codec: of the audio.
        options: of the video codec, besides those of H.264 that every mp4 has.
    """

    container: str = "mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    source: str = "rgb24"
    audio_codec: str = "aac"
    options: Mapping[str, str] = field(default_factory=dict)


MP4 = VideoFormat()


class VideoWriter:
    """Writes a video, by default H.264 (yuv420p, BT.709) with AAC in an mp4, in constant memory.

    The file appears under its name when :meth:`close` succeeds and not before; leaving the ``with``
    block by an exception removes what was written. The audio is cut or padded with silence to the
    exact length of the frames.

    Args:
        path: the file to write; its folder must exist.
        size: (width, height), even numbers.
        fps: frames per second, rational.
        crf: x264's quality, lower is better; 18 is visually lossless.
        audio: ``(N,)`` or ``(N, channels)`` samples, an iterator of such blocks, or None.
        audio_rate: their rate in Hz.
        argument: what the user knows the output by.
        container: another format than MP4; it brings its own codec options.

    Raises:
        UserError: folder missing or not writable, odd size.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: float = FPS,
        crf: float = 18.0,
        audio: np.ndarray | Iterable[np.ndarray] | None = None,
        audio_rate: int = SAMPLE_RATE,
        argument: str = "--out",
        container: VideoFormat | None = None,
    ) -> None:
        self.format = container or MP4
        self.path, self.size, self.fps = Path(path), size, Fraction(fps).limit_denominator(1001)
        check_output(self.path, argument)
        if size[0] % 2 or size[1] % 2 or min(size) < 16:
            raise UserError("size", f"{size[0]}x{size[1]}", "even numbers from 16 on")
        self.frames, self._reformatter = 0, VideoReformatter()
        handle, name = tempfile.mkstemp(
            prefix=".video-", suffix=".part", dir=self.path.absolute().parent
        )
        os.close(handle)
        self._part = Path(name)
        self._unlink = weakref.finalize(self, self._part.unlink, missing_ok=True)
        try:
            fast = {"movflags": "+faststart"} if self.format == MP4 else {}
            self._container = av.open(
                f"file:{self._part}", "w", format=self.format.container, options=fast
            )
            own = (
                {"crf": str(crf), "preset": _preset(size), **REPEATABLE}
                if self.format.codec == MP4.codec
                else {}
            )
            options = {**own, **self.format.options}
            self._video = _video_stream(self._container, size, self.fps, options, 2, self.format)
            self._sound = None
            if audio is not None:
                codec = self.format.audio_codec
                self._sound = _Sound(self._container, audio, audio_rate, codec)
        except BaseException:
            self._unlink()
            raise

    def write(self, frame: np.ndarray) -> None:
        """Append one ``(H, W, 3)`` uint8 RGB frame, ``(H, W, 4)`` for a format with alpha."""
        expected = (self.size[1], self.size[0], len(self.format.source.rstrip("24")))
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ValueError(f"frame is {frame.shape} {frame.dtype}, expected {expected} uint8")
        self._container.mux(
            self._video.encode(_yuv(frame, self.frames, self.fps, self._reformatter, self.format))
        )
        self.frames += 1
        if self._sound is not None:
            self._sound.fill(self.frames / self.fps)

    def close(self) -> None:
        """Finish the file and let it appear."""
        if self.frames == 0:
            self.discard()
            raise ValueError("no frame was written")
        self._container.mux(self._video.encode(None))
        if self._sound is not None:
            self._sound.finish()
        self._container.close()
        with open(self._part, "rb+") as file:
            os.fsync(file.fileno())
        self._part.chmod(0o666 & ~_umask())
        move_into_place(self._part, self.path)
        self._unlink.detach()

    def discard(self) -> None:
        """Give up: nothing appears."""
        try:
            self._container.close()
        except (av.error.FFmpegError, ValueError):
            pass
        self._unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:
            self.discard()
            raise


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    audio: str | Path | np.ndarray | None = None,
    fps: float = FPS,
    crf: float = 18.0,
    argument: str = "--out",
) -> int:
    """Write frames and sound as :class:`VideoWriter` does.

    Args:
        path: the mp4.
        frames: ``(H, W, 3)`` uint8 RGB, all of one even size.
        audio: a file whose sound is taken over at 48 kHz stereo, 16 kHz samples ``(N,)``, or None.

    Returns:
        How many frames were written.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("no frames to write")
    rate = SAMPLE_RATE
    if isinstance(audio, (str, Path)):
        audio, rate = iter_sound(audio, AUDIO_RATE, 2), AUDIO_RATE
    with VideoWriter(
        path, (first.shape[1], first.shape[0]), fps, crf, audio, rate, argument=argument
    ) as writer:
        writer.write(first)
        for frame in frames:
            writer.write(frame)
    return writer.frames


def check_output(path: str | Path, argument: str = "--out") -> None:
    """Raise UserError unless a file of this name can be made; called before any long work."""
    path = Path(path)
    accepted = "a file name in an existing folder that can be written to"
    if path.is_dir():
        raise UserError(argument, path, accepted, "is a folder")
    if not path.absolute().parent.is_dir():
        raise UserError(
            argument, path, accepted, f"lies in a folder that does not exist ({path.parent})"
        )
    if not os.access(path.absolute().parent, os.W_OK):
        raise UserError(
            argument, path, accepted, f"lies in a folder that cannot be written to ({path.parent})"
        )


def encode_mp4_bytes(
    frames: Sequence[np.ndarray] | np.ndarray, crf: float = 12.5, fps: float = FPS, gop: int = 10
) -> bytes:
    """An mp4 for a shard: visually lossless, no B-frames, a key frame every ``gop`` frames.

    Args:
        frames: ``(H, W, 3)`` uint8 RGB, even sizes.

    Returns:
        The file's bytes; the same frames give the same bytes.
    """
    buffer, rate = io.BytesIO(), Fraction(fps).limit_denominator(1001)
    height, width = frames[0].shape[:2]
    # Slower presets save a tenth of the bytes and take up to three times as long.
    options = {
        "crf": str(crf),
        "preset": "veryfast",
        "bf": "0",
        "g": str(gop),
        "keyint_min": str(gop),
        "sc_threshold": "0",
    } | REPEATABLE
    with av.open(buffer, "w", format="mp4") as container:
        stream = _video_stream(container, (width, height), rate, options, threads=1)
        reformatter = VideoReformatter()
        for number, frame in enumerate(frames):
            container.mux(stream.encode(_yuv(frame, number, rate, reformatter)))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _preset(size: tuple[int, int]) -> str:
    """x264's preset: large frames are encoded in under half the time, at .1 dB less."""
    return "medium" if size[0] * size[1] <= 512 * 512 else "veryfast"


def _video_stream(
    container: av.container.OutputContainer,
    size: tuple[int, int],
    fps: Fraction,
    options: dict[str, str],
    threads: int,
    form: VideoFormat = MP4,
) -> av.VideoStream:
    stream = container.add_stream(form.codec, rate=fps, options=options)
    stream.width, stream.height, stream.pix_fmt = size[0], size[1], form.pixels
    context = stream.codec_context
    # x264's result depends on the number of threads, so it is never left to the machine.
    context.thread_count = threads
    context.time_base = stream.time_base = 1 / fps
    context.colorspace, context.color_primaries = Colorspace.ITU709, ColorPrimaries.BT709
    context.color_trc, context.color_range = ColorTrc.BT709, ColorRange.MPEG
    return stream


def _yuv(
    frame: np.ndarray,
    number: int,
    fps: Fraction,
    reformatter: VideoReformatter,
    form: VideoFormat = MP4,
) -> av.VideoFrame:
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=form.source)
    yuv = reformatter.reformat(
        rgb,
        format=form.pixels,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
        threads=1,
    )
    yuv.pts, yuv.time_base = number, 1 / fps
    return yuv


class _Sound:
    """The sound track of a writer: takes from its source what the pictures so far need."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        audio: np.ndarray | Iterable[np.ndarray],
        rate: int,
        codec: str = "aac",
    ) -> None:
        self.blocks = iter([audio] if isinstance(audio, np.ndarray) else audio)
        self.container, self.rate, self.sent = container, rate, 0
        first = next(self.blocks, np.zeros((0, 1), np.float32))
        self.held = first.reshape(len(first), -1)
        self.channels = self.held.shape[1]
        self.layout = "mono" if self.channels == 1 else "stereo"
        self.stream = container.add_stream(codec, rate=rate, layout=self.layout)
        if not codec.startswith("pcm"):
            self.stream.codec_context.bit_rate = 96_000 * self.channels

    def fill(self, seconds: Fraction) -> None:
        """Encode sound up to this moment."""
        need = round(seconds * self.rate) - self.sent
        while len(self.held) < need:
            block = next(self.blocks, None)
            if block is None:
                block = np.zeros((need - len(self.held), self.channels), np.float32)
            self.held = np.concatenate([self.held, block.reshape(len(block), self.channels)])
        for begin in range(0, need, self.rate):
            self._encode(self.held[begin : min(need, begin + self.rate)])
        self.held = self.held[need:]

    def _encode(self, samples: np.ndarray) -> None:
        planes = np.ascontiguousarray(np.clip(samples, -1.0, 1.0).T, np.float32)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.sent, Fraction(1, self.rate)
        self.sent += len(samples)
        self.container.mux(self.stream.encode(frame))

    def finish(self) -> None:
        self.container.mux(self.stream.encode(None))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
