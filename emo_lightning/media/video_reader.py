"""Pictures in: frames of any video at 25 a second by timestamp; what :mod:`emo_lightning.media.video_writer` writes is offered here too."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from emo_lightning.core.constants import FPS
from emo_lightning.media.container import VIDEO, MediaError, open_media
from emo_lightning.media.lazy_frame import DecodedPicture, Picture, Upright
from emo_lightning.media.video_writer import (
    VideoWriter,
    check_output,
    encode_mp4_bytes,
    write_video,
)

__all__ = [
    "VideoInfo",
    "VideoWriter",
    "check_output",
    "decode_mp4_bytes",
    "encode_mp4_bytes",
    "iter_frames",
    "iter_pictures",
    "probe",
    "write_video",
]


@dataclass(frozen=True)
class VideoInfo:
    """A video file as it will be seen: size after rotation and with square pixels, times on the file's own clock."""

    width: int
    height: int
    fps: float
    frames: int
    seconds: float
    start: float
    rotation: int
    codec: str
    has_audio: bool


def probe(path: str | Path, argument: str = "--video") -> VideoInfo:
    """Read a video's facts; its first frame is decoded, so an undecodable file is found out here.

    ``frames`` counts the pictures of the file's own rate, ``start`` is the first one's time in seconds.

    Raises:
        MediaError: missing, empty, of no known format, without pictures, or none of them can be decoded.
    """
    with open_media(path, "video", argument) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        first = next(_decoded(container, stream), None)
        if first is None:
            raise MediaError(
                "decode_error", argument, path, VIDEO, "has pictures of which none can be decoded"
            )
        height, width = Upright(stream)(first).shape[:2]
        rotation, start, rate = round(first.rotation) % 360, first.time or 0.0, _rate(stream)
        codec, has_audio = stream.codec_context.name, bool(container.streams.audio)
        frames = stream.frames or _count_packets(path, argument)
        seconds = _stated_seconds(stream) or frames / rate
    return VideoInfo(width, height, rate, frames, seconds, start, rotation, codec, has_audio)


def iter_frames(
    path: str | Path, fps: float = FPS, argument: str = "--video", threads: int = 0
) -> Iterator[np.ndarray]:
    """Upright RGB frames at a constant rate, in constant memory.

    As :func:`iter_pictures`, each frame whole.

    Yields:
        ``(H, W, 3)`` uint8, contiguous. A repeated picture is the same array.
    """
    for picture in iter_pictures(path, fps, argument, threads):
        yield picture.rgb()


def iter_pictures(
    path: str | Path, fps: float = FPS, argument: str = "--video", threads: int = 0
) -> Iterator[Picture]:
    """Upright pictures at a constant rate, in constant memory, converted when they are looked at.

    Picture ``n`` is the one nearest to ``n / fps`` seconds after the first one; a picture that stays for long is
    held until its successor is due. There are ``round(seconds * fps)`` pictures, at least 1.

    Args:
        path: a video of any size, codec and rate, constant or not.
        fps: frames per second wanted.
        threads: of the decoder; 0 leaves the choice to it.

    Yields:
        A repeated picture is the same object.

    Raises:
        MediaError: as :func:`probe`; ``truncated`` after the last frame when under nine tenths of the stated length decoded.
    """
    with open_media(path, "video", argument) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO" if threads != 1 else "NONE"
        rate, stated, upright, seconds = (
            _rate(stream),
            _stated_seconds(stream),
            Upright(stream),
            0.0,
        )
        for frame, repeats, end in _paced(
            _timed(_decoded(container, stream), rate), fps, 1.0 / rate
        ):
            seconds = end
            if repeats:
                picture = DecodedPicture(frame, upright)
                for _ in range(repeats):
                    yield picture
        if seconds == 0.0:
            raise MediaError(
                "decode_error", argument, path, VIDEO, "has pictures of which none can be decoded"
            )
        if seconds < 0.9 * stated - 2.0 / rate:
            raise MediaError(
                "truncated",
                argument,
                path,
                "a whole video",
                f"breaks off after {seconds:.2f} of {stated:.2f} s",
            )


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded; a damaged packet costs only itself."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        try:
            # None at the end, or where the file breaks off, asks for what the decoder still holds.
            yield from stream.decode(packet)
        except av.error.FFmpegError:
            pass
        if packet is None or not packet.size:
            return


def _timed(frames: Iterator[av.VideoFrame], rate: float) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames with their seconds since the first; where the clock is missing one period is assumed, where it falls back the frame goes."""
    origin, last = None, -1.0 / rate
    for frame in frames:
        time = frame.time
        if time is not None and origin is None:
            origin = time - (last + 1.0 / rate)
        at = last + 1.0 / rate if time is None or origin is None else time - origin
        if at > last:
            last = at
            yield frame, at


def _paced(
    frames: Iterator[tuple[av.VideoFrame, float]], fps: float, period: float
) -> Iterator[tuple[av.VideoFrame, int, float]]:
    """Each frame, how often it is shown at the wanted rate, and the seconds up to its end."""
    shown, previous = 0, None
    for frame, at in frames:
        if previous is not None:
            # Halfway to the next picture, but no picture comes more than half an output period before it is due.
            until = max(0.5 * (previous[1] + at), at - 0.5 / fps)
            upto = math.ceil(until * fps - 1e-6)
            yield previous[0], max(0, upto - shown), at
            shown = max(shown, upto)
        previous = (frame, at)
    if previous is not None:
        seconds = previous[1] + period
        yield previous[0], max(max(round(seconds * fps), 1) - shown, 0), seconds


def _rate(stream: av.VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate and 0.1 < rate < 1000 else FPS


def _stated_seconds(stream: av.VideoStream) -> float:
    return (
        float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    )


def _count_packets(path: str | Path, argument: str) -> int:
    with open_media(path, "video", argument) as container:
        return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)


def decode_mp4_bytes(data: bytes, indices: Sequence[int] | None = None) -> np.ndarray:
    """Frames of an mp4 in memory.

    Args:
        data: as :func:`encode_mp4_bytes` made it; constant rate.
        indices: which frames, in any order; None for all. Only what they need is decoded.

    Returns:
        ``(n, H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: not an mp4, or it has no such frame.
    """
    try:
        with av.open(
            io.BytesIO(data),
            format="mp4",
            metadata_errors="ignore",
            options={"protocol_whitelist": ""},
        ) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            upright = Upright(stream)
            if indices is None:
                return np.stack([upright(frame) for frame in container.decode(stream)])
            found = _pick(container, stream, sorted(set(indices)))
            return np.stack([upright(found[i]) for i in indices])
    except (av.error.FFmpegError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"video cannot be decoded: {error}") from None


def _pick(
    container: av.container.InputContainer, stream: av.VideoStream, wanted: list[int]
) -> dict[int, av.VideoFrame]:
    found: dict[int, av.VideoFrame] = {}
    period = 1 / (stream.average_rate * stream.time_base)
    frames: Iterator[av.VideoFrame] = iter(())
    at = -1
    for index in wanted:
        if at < 0 or index > at + 10:
            container.seek(round(index * period), stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            at = round(frame.pts / period)
            if at >= index:
                break
        if at == index:
            found[index] = frame
    return found
