"""Frames and audio of a clip as the protocol decodes them; frames stay in memory for a second pass
where they fit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from emo_lightning.core.constants import FPS, SAMPLES_PER_FRAME
from emo_lightning.media.audio_reader import AudioInfo, check_sound, iter_audio
from emo_lightning.media.container import MediaError, open_media
from emo_lightning.media.video_reader import iter_frames, probe
from evaluation.protocol import NotScored

BUFFER_BYTES = 512 << 20
"""Most memory for buffered frames of one clip; a longer clip is decoded again, to the same
frames."""


class BoundedFrames:
    """Frames in memory up to :data:`BUFFER_BYTES`; ``frames`` is None past the limit."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] | None = []
        self._bytes = 0

    def add(self, frame: np.ndarray) -> None:
        """Keep a frame; one shown repeatedly is one array and counts once."""
        if self.frames is None:
            return
        repeated = bool(self.frames) and self.frames[-1] is frame
        self._bytes += 0 if repeated else frame.nbytes
        if self._bytes > BUFFER_BYTES:
            self.frames = None
        else:
            self.frames.append(frame)


class ClipFrames:
    """The frames of one video at 25 a second, upright RGB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._buffer = BoundedFrames()

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright frames; NotScored for an unreadable file."""
        try:
            info = probe(self.path)
        except MediaError as error:
            raise NotScored(f"{self.path.name} {error.problem}") from None
        return info.width, info.height

    def frames(self, keep: bool = False) -> Iterator[np.ndarray]:
        """Frames in order; with ``keep`` they are buffered for :meth:`again`.

        Raises:
            NotScored: unreadable, cut off, or without frames.
        """
        empty = True
        try:
            for frame in iter_frames(self.path, fps=FPS, threads=1):
                empty = False
                if keep:
                    self._buffer.add(frame)
                yield frame
        except MediaError as error:
            raise NotScored(f"{self.path.name} {error.problem}") from None
        if empty:
            raise NotScored(f"{self.path.name} has no frames")

    def again(self) -> Iterator[np.ndarray]:
        """The buffered frames, which are released one by one; decoded anew if they were too many or
        none."""
        held, self._buffer = self._buffer.frames, BoundedFrames()
        if not held:
            yield from self.frames()
            return
        held.reverse()
        while held:
            yield held.pop()


def load_audio(path: Path, frames: int) -> np.ndarray:
    """A clip's audio, ``(640 frames,)`` float32, 16 kHz mono; NotScored as :func:`whole_audio`."""
    return fit(whole_audio(path), frames)


def whole_audio(path: Path) -> np.ndarray:
    """A clip's audio on its frames' clock, ``(N,)`` float32, 16 kHz mono.

    Raises:
        NotScored: no audio track, one that cannot be decoded, or silence.
    """
    try:
        blocks = list(iter_audio(path, start=probe(path).start))
        wave = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        check_sound(AudioInfo(len(wave), float(np.abs(wave).max(initial=0.0))), path, "clip")
    except MediaError as error:
        raise NotScored(f"{path.name} {error.problem}") from None
    return wave


def has_audio(path: Path) -> bool:
    """Whether a file declares an audio track."""
    try:
        with open_media(path, "audio", "clip"):
            return True
    except MediaError:
        return False


def fit(wave: np.ndarray, frames: int) -> np.ndarray:
    """Cut, or filled with silence, to the length of the frames."""
    wanted = SAMPLES_PER_FRAME * frames
    return np.pad(wave[:wanted], (0, max(0, wanted - len(wave))))


def delayed(wave: np.ndarray, frames: int) -> np.ndarray:
    """The same length, ``frames`` later (earlier if negative); silence where there is nothing."""
    by = SAMPLES_PER_FRAME * frames
    silence = np.zeros(min(abs(by), len(wave)), wave.dtype)
    if by >= 0:
        return np.concatenate([silence, wave[: max(0, len(wave) - by)]])
    return np.concatenate([wave[-by:], silence])
