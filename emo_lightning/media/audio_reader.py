"""Decoding of any recording to 16 kHz mono, whole or in blocks of constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.media.container import SOUND, MediaError, choose_stream, open_media

MIN_SECONDS = 0.2
SILENCE_PEAK = 10 ** (-70 / 20)
_MAX_GAP = 60.0
CANCELLED = 0.05
"""Power of a stereo downmix over that of the louder channel, below which the channels cancel."""
CANCEL_SECONDS = 0.5
"""Time constant over which these powers are averaged."""


@dataclass(frozen=True)
class AudioInfo:
    """A decoded recording's length in 16 kHz samples, and its largest magnitude."""

    samples: int
    peak: float

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


def load_audio(path: str | Path, argument: str = "--audio", track: int | None = None) -> np.ndarray:
    """Decode a whole recording of any format, rate and channel count.

    Args:
        path: see :func:`iter_audio`.
        argument: what the user knows the file by.
        track: see :func:`iter_audio`.

    Returns:
        ``(N,)`` float32 at 16 kHz, mono, full scale at 1; a lossy codec's overshoot is kept.

    Raises:
        MediaError: missing, not decodable, without sound, shorter than 0.2 s, or silent (peak below
            -70 dBFS).
    """
    blocks = list(iter_audio(path, argument=argument, track=track))
    wave = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    check_sound(AudioInfo(len(wave), float(np.abs(wave).max(initial=0.0))), path, argument)
    return wave


def inspect_audio(
    path: str | Path, argument: str = "--audio", track: int | None = None
) -> AudioInfo:
    """Decode once in constant memory; raises the errors of :func:`load_audio`."""
    samples, peak = 0, 0.0
    for block in iter_audio(path, argument=argument, track=track):
        samples += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    info = AudioInfo(samples, peak)
    check_sound(info, path, argument)
    return info


def check_sound(info: AudioInfo, path: str | Path, argument: str) -> None:
    """Raise MediaError when a decoded recording is too short to speak in, or silent."""
    if info.seconds < MIN_SECONDS:
        problem = f"is {info.seconds:.2f} s long" if info.samples else "holds no sound at all"
        accepted = f"a recording of at least {MIN_SECONDS:g} s"
        raise MediaError("too_short", argument, path, accepted, problem)
    if info.peak < SILENCE_PEAK:
        accepted = "a recording with a voice, louder than -70 dBFS"
        raise MediaError("silent", argument, path, accepted, "is silent")


def iter_audio(
    path: str | Path,
    block: int = SAMPLE_RATE,
    argument: str = "--audio",
    start: float | None = None,
    track: int | None = None,
) -> Iterator[np.ndarray]:
    """Decode to 16 kHz mono in constant memory.

    Args:
        path: a recording, or a video with sound.
        block: samples a block; only the last may be shorter.
        start: seconds on the file's own clock that become sample 0 (what is before it is cut, a
            later beginning is padded with silence); the track's first sample when None.
        track: number of the sound track, from 1; the file's default one when None.

    Yields:
        ``(block,)`` float32, full scale at 1; a lossy codec's overshoot beyond it is kept.

    Raises:
        MediaError: as :func:`load_audio`, except for length and silence.
    """
    pieces = iter_sound(path, SAMPLE_RATE, 1, argument, start, track)
    for piece in _rechunk(pieces, block):
        yield piece[:, 0]


def iter_sound(
    path: str | Path,
    rate: int,
    channels: int,
    argument: str = "--audio",
    start: float | None = None,
    track: int | None = None,
) -> Iterator[np.ndarray]:
    """Decode to ``(n, channels)`` float32 pieces of any length; see :func:`iter_audio`.

    A damaged packet is dropped and its time filled with silence, as is any other gap in the track's
    clock. Where the two channels of stereo cancel in a mono downmix, the louder one is used.
    """
    with open_media(path, "audio", argument) as container:
        stream = choose_stream(container, "audio", path, argument, track)
        stream.codec_context.thread_count = 1
        resampler = _TrackResampler(rate, channels, start)
        for frame, samples in _decoded(container, stream):
            yield from resampler.resample(frame, samples)
        yield from resampler.flush()
        if resampler.empty:
            problem = "has a sound track of which nothing can be decoded"
            raise MediaError("decode_error", argument, path, SOUND, problem)


def _decoded(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[tuple[av.AudioFrame, int]]:
    """Decoded frames, and how many of their samples belong to the track.

    In an mp4 the last packet states fewer samples than it codes.
    """
    packets, exact = container.demux(stream), container.format.name.startswith("mov")
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        try:
            for frame in stream.decode(packet):
                stated = frame.samples
                if exact and packet is not None and packet.duration:
                    stated = round(packet.duration * packet.time_base * frame.sample_rate)
                yield frame, min(frame.samples, stated)
        except av.error.FFmpegError:
            pass
        if packet is None or not packet.size:
            return


class _TrackResampler:
    """Resamples decoded frames and keeps the result on the track's own clock."""

    def __init__(self, rate: int, channels: int, start: float | None) -> None:
        self.rate, self.channels, self.origin = rate, channels, start
        self.resampler: av.AudioResampler | None = None
        self.format: tuple[str, str, int] | None = None
        self.made = self.cut = 0
        self.due, self.short = 0.0, False
        self.powers = np.zeros(3)

    @property
    def empty(self) -> bool:
        return self.resampler is None

    def resample(self, frame: av.AudioFrame, samples: int) -> Iterator[np.ndarray]:
        if self.origin is None:
            self.origin = frame.time or 0.0
        at = self.due if frame.time is None else (frame.time - self.origin) * self.rate
        if self.channels == 1 and frame.layout.nb_channels == 2:
            frame = self._without_cancellation(frame)
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self.format or 0.1 * self.rate < at - self.due < _MAX_GAP * self.rate:
            yield from self.flush()
            yield from self._fill_gap(round(at))
            # A 32-bit integer target keeps a downmix within full scale, where a float one would
            # exceed it; sound that is not mixed stays float, so that overshoot is not clipped.
            mixed = frame.layout.nb_channels != self.channels
            layout = "mono" if self.channels == 1 else "stereo"
            self.resampler = av.AudioResampler("s32" if mixed else "flt", layout, self.rate)
            self.format, self.due = form, float(self.made - self.cut)
        self.due += samples * self.rate / frame.sample_rate
        self.short = samples < frame.samples
        frame.pts = None
        yield from self._pieces(frame)

    def flush(self) -> Iterator[np.ndarray]:
        if self.resampler is not None:
            yield from self._pieces(None)

    def _without_cancellation(self, frame: av.AudioFrame) -> av.AudioFrame:
        """The frame, or its louder channel alone while the two cancel each other."""
        array = frame.to_ndarray()
        pair = array if frame.format.is_planar else array.reshape(-1, 2).T
        pair = pair.astype(np.float32)
        if array.dtype.kind != "f":
            pair = (
                (pair - 128.0) / 128.0
                if array.dtype == np.uint8
                else pair / np.iinfo(array.dtype).max
            )
        new = np.square(np.concatenate([pair, pair.mean(0, keepdims=True)])).mean(1)
        keep = np.exp(-frame.samples / (CANCEL_SECONDS * frame.sample_rate)) if self.format else 0.0
        self.powers = keep * self.powers + (1.0 - keep) * new
        loudest = int(self.powers[:2].argmax())
        if self.powers[2] >= CANCELLED * self.powers[loudest] or self.powers[loudest] < 1e-9:
            return frame
        planes = np.ascontiguousarray(pair[loudest : loudest + 1])
        single = av.AudioFrame.from_ndarray(planes, format="fltp", layout="mono")
        single.sample_rate = frame.sample_rate
        return single

    def _fill_gap(self, to: int) -> Iterator[np.ndarray]:
        missing = to - self.made
        if self.resampler is None and missing < 0:
            self.cut = -missing
        elif 0 < missing < _MAX_GAP * self.rate:
            self.made += missing
            for begin in range(0, missing, self.rate):
                yield np.zeros((min(self.rate, missing - begin), self.channels), np.float32)

    def _pieces(self, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
        assert self.resampler is not None
        for out in self.resampler.resample(frame):
            piece = out.to_ndarray().reshape(-1, self.channels)
            if piece.dtype != np.float32:
                piece = piece.astype(np.float32) * np.float32(2.0**-31)
            skip = min(self.cut, len(piece))
            self.cut -= skip
            end = skip + max(0, round(self.due) - self.made) if self.short else None
            piece = piece[skip:end]
            self.made += len(piece)
            if len(piece):
                yield piece


def _rechunk(pieces: Iterator[np.ndarray], block: int) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= block:
            joined = np.concatenate(held)
            whole = size - size % block
            for begin in range(0, whole, block):
                yield joined[begin : begin + block]
            held, size = [joined[whole:]], size - whole
    if size:
        yield np.concatenate(held)
