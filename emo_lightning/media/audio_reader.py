"""Decoding of any recording to 16 kHz mono, whole or in blocks of constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.media.container import SOUND, MediaError, open_media

MIN_SECONDS = 0.2
SILENCE_PEAK = 10 ** (-70 / 20)
_MAX_GAP = 60.0


@dataclass(frozen=True)
class AudioInfo:
    """What a recording holds once decoded: 16 kHz samples and the largest magnitude."""

    samples: int
    peak: float

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


def load_audio(path: str | Path, argument: str = "--audio") -> np.ndarray:
    """Decode a whole recording of any format, rate and channel count.

    Returns:
        ``(N,)`` float32 at 16 kHz, mono, full scale at 1; a lossy codec's overshoot beyond it is kept.

    Raises:
        MediaError: missing, not decodable, without sound, shorter than 0.2 s, or silent (peak below -70 dBFS).
    """
    blocks = list(iter_audio(path, argument=argument))
    wave = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    check_sound(AudioInfo(len(wave), float(np.abs(wave).max(initial=0.0))), path, argument)
    return wave


def inspect_audio(path: str | Path, argument: str = "--audio") -> AudioInfo:
    """Decode once in constant memory and refuse what :func:`load_audio` refuses, with the same errors."""
    samples, peak = 0, 0.0
    for block in iter_audio(path, argument=argument):
        samples += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    info = AudioInfo(samples, peak)
    check_sound(info, path, argument)
    return info


def check_sound(info: AudioInfo, path: str | Path, argument: str) -> None:
    """Raise MediaError when a decoded recording is too short to speak in, or silent."""
    if info.seconds < MIN_SECONDS:
        problem = f"is {info.seconds:.2f} s long" if info.samples else "holds no sound at all"
        raise MediaError(
            "too_short", argument, path, f"a recording of at least {MIN_SECONDS:g} s", problem
        )
    if info.peak < SILENCE_PEAK:
        raise MediaError(
            "silent", argument, path, "a recording with a voice, louder than -70 dBFS", "is silent"
        )


def iter_audio(
    path: str | Path,
    block: int = SAMPLE_RATE,
    argument: str = "--audio",
    start: float | None = None,
) -> Iterator[np.ndarray]:
    """Decode to 16 kHz mono in constant memory.

    Args:
        path: a recording, or a video with sound (its first sound track).
        block: samples a block; only the last may be shorter.
        start: seconds on the file's own clock that become sample 0 (sound before it is cut, a later start is silence);
            by default the first sample of the sound track.

    Yields:
        ``(block,)`` float32, full scale at 1; a lossy codec's overshoot beyond it is kept.

    Raises:
        MediaError: as :func:`load_audio`, except for length and silence, which nobody knows before the end.
    """
    for piece in _rechunk(iter_sound(path, SAMPLE_RATE, 1, argument, start), block):
        yield piece[:, 0]


def iter_sound(
    path: str | Path,
    rate: int,
    channels: int,
    argument: str = "--audio",
    start: float | None = None,
) -> Iterator[np.ndarray]:
    """Decode the first sound track to ``(n, channels)`` float32 pieces of any length; see :func:`iter_audio`.

    A damaged packet is left out and its time filled with silence, as is any other gap in the track's clock.
    """
    with open_media(path, "audio", argument) as container:
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        track = _Track(rate, channels, start)
        for frame, samples in _decoded(container, stream):
            yield from track.push(frame, samples)
        yield from track.flush()
        if track.resampler is None:
            raise MediaError(
                "decode_error",
                argument,
                path,
                SOUND,
                "has a sound track of which nothing can be decoded",
            )


def _decoded(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[tuple[av.AudioFrame, int]]:
    """Decoded frames and how many of their samples belong to the track: in an mp4 the last packet states fewer than it codes."""
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


class _Track:
    """Resamples decoded frames and keeps the result on the track's own clock."""

    def __init__(self, rate: int, channels: int, start: float | None) -> None:
        self.rate, self.channels, self.origin = rate, channels, start
        self.resampler: av.AudioResampler | None = None
        self.format: tuple[str, str, int] | None = None
        self.made = self.cut = 0
        self.due, self.short = 0.0, False

    def push(self, frame: av.AudioFrame, samples: int) -> Iterator[np.ndarray]:
        if self.origin is None:
            self.origin = frame.time or 0.0
        at = self.due if frame.time is None else (frame.time - self.origin) * self.rate
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self.format or 0.1 * self.rate < at - self.due < _MAX_GAP * self.rate:
            yield from self.flush()
            yield from self._jump(round(at))
            # A 32-bit integer target keeps a downmix within full scale, where a float one would let it sum up; sound that
            # is not mixed stays as it is, for lossy codecs overshoot full scale and a cut there would be heard as distortion.
            mixed = frame.layout.nb_channels != self.channels
            self.resampler = av.AudioResampler(
                "s32" if mixed else "flt", "mono" if self.channels == 1 else "stereo", self.rate
            )
            self.format, self.due = form, float(self.made - self.cut)
        self.due += samples * self.rate / frame.sample_rate
        self.short = samples < frame.samples
        frame.pts = None
        yield from self._pieces(frame)

    def flush(self) -> Iterator[np.ndarray]:
        if self.resampler is not None:
            yield from self._pieces(None)

    def _jump(self, to: int) -> Iterator[np.ndarray]:
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
            piece = (
                piece[skip : skip + max(0, round(self.due) - self.made)]
                if self.short
                else piece[skip:]
            )
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
