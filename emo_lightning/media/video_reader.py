"""Video decoding: upright RGB frames of any video at 25 frames/s by timestamp."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import (
    ColorPrimaries,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from emo_lightning.core.constants import FPS
from emo_lightning.media.container import VIDEO, MediaError, choose_stream, open_media

_EXACT_RGB = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_EXACT_PIXELS = 640 * 640
"""Larger frames are converted fast: about one grey level of 255 darker, a fifteenth of the time."""
_UNSPECIFIED = (0, 2)
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
"""PQ and HLG."""
_BT2020 = 9


@dataclass(frozen=True)
class VideoInfo:
    """Facts of a video file: size after rotation with square pixels, times on its own clock."""

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
    """Facts of a video; its first frame is decoded, so an undecodable file is found here.

    ``frames`` counts frames at the file's own rate; ``start`` is the first one's time in seconds.

    Raises:
        MediaError: missing, empty, of no known format, without video, or none can be decoded.
    """
    with open_media(path, "video", argument) as container:
        stream = choose_stream(container, "video", path, argument)
        stream.codec_context.thread_count = 1
        first = next(_decoded(container, stream), None)
        if first is None:
            problem = "has video of which nothing can be decoded"
            raise MediaError("decode_error", argument, path, VIDEO, problem)
        height, width = UprightRGB(stream).shape(first)
        rotation, start, rate = round(first.rotation) % 360, first.time or 0.0, _rate(stream)
        codec, has_audio = stream.codec_context.name, bool(container.streams.audio)
        frames = stream.frames or _count_packets(path, argument)
        seconds = _stated_seconds(stream) or frames / rate
    return VideoInfo(width, height, rate, frames, seconds, start, rotation, codec, has_audio)


def iter_frames(
    path: str | Path, fps: float = FPS, argument: str = "--video", threads: int = 0
) -> Iterator[np.ndarray]:
    """Upright RGB frames at a constant rate, in constant memory.

    Frame ``n`` is the one nearest to ``n / fps`` seconds after the first; a frame that stays for
    long is held until its successor is due. There are ``round(seconds * fps)``, at least 1.

    Args:
        path: a video of any size, codec and rate, constant or not.
        fps: frames per second wanted.
        threads: of the decoder; 0 leaves the choice to it.

    Yields:
        ``(H, W, 3)`` uint8, contiguous. A repeated frame is the same array.

    Raises:
        MediaError: as :func:`probe`; ``truncated`` after the last frame when under nine tenths of
            the stated length decoded.
    """
    with open_media(path, "video", argument) as container:
        stream = choose_stream(container, "video", path, argument)
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO" if threads != 1 else "NONE"
        rate, stated, seconds = _rate(stream), _stated_seconds(stream), 0.0
        to_rgb = UprightRGB(stream)
        timed = _timed(_decoded(container, stream), rate)
        for frame, repeats, end in _paced(timed, fps, 1.0 / rate):
            seconds = end
            if repeats:
                image = to_rgb(frame)
                for _ in range(repeats):
                    yield image
        if seconds == 0.0:
            problem = "has video of which nothing can be decoded"
            raise MediaError("decode_error", argument, path, VIDEO, problem)
        if seconds < 0.9 * stated - 2.0 / rate:
            problem = f"breaks off after {seconds:.2f} of {stated:.2f} s"
            raise MediaError("truncated", argument, path, "a whole video", problem)


class UprightRGB:
    """Converts a stream's frames to sRGB: rotated, square pixels, right matrix, HDR tone-mapped."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._reformatter = VideoReformatter()
        aspect = float(stream.sample_aspect_ratio or 1.0)
        self._aspect = aspect if 0.2 < aspect < 5 else 1.0

    def shape(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(height, width) of a frame's image."""
        size = frame.height, self._width(frame)
        return size if round(frame.rotation / 90) % 2 == 0 else size[::-1]

    def _width(self, frame: av.VideoFrame) -> int:
        return max(2, round(frame.width * self._aspect))

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """``(H, W, 3)`` uint8, contiguous."""
        width = self._width(frame)
        exact = width * frame.height <= _EXACT_PIXELS
        options = {"interpolation": _EXACT_RGB if exact else Interpolation.BILINEAR, "threads": 1}
        if frame.color_trc in _HDR or frame.color_primaries == _BT2020:
            # Stating a target makes swscale convert transfer and gamut, with tone mapping.
            options |= {
                "dst_color_trc": ColorTrc.BT709,
                "dst_color_primaries": ColorPrimaries.BT709,
            }
        else:
            options["src_colorspace"] = _assumed_colorspace(frame)
        rgb = self._reformatter.reformat(frame, width, frame.height, "rgb24", **options)
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90) % 4))


def _assumed_colorspace(frame: av.VideoFrame) -> Colorspace | None:
    """As players do for files that do not state it: BT.709 from 720 lines on, BT.601 below."""
    if frame.colorspace not in _UNSPECIFIED:
        return None
    return Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601


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
    """Frames with their seconds since the first.

    A missing timestamp is assumed one period later; a frame whose timestamp falls back is dropped.
    """
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
            # Halfway to the next frame, but none more than half an output period early.
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
            to_rgb = UprightRGB(stream)
            if indices is None:
                return np.stack([to_rgb(frame) for frame in container.decode(stream)])
            found = _pick(container, stream, sorted(set(indices)))
            return np.stack([to_rgb(found[i]) for i in indices])
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
