"""A clip's pictures and sound as the protocol decodes them: once, kept in memory for a second look where they fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emo_lightning.core.constants import FPS, SAMPLES_PER_FRAME
from emo_lightning.media.audio_reader import AudioInfo, check_sound, iter_audio
from emo_lightning.media.container import MediaError, open_media
from emo_lightning.media.video_reader import iter_frames, probe
from evaluation.protocol import NotScored

HOLD_BYTES = 512 << 20
"""Most memory for held pictures of one clip. A longer clip is decoded again for the second look, to the same pictures."""


class Film:
    """The frames of one video at 25 a second, upright RGB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: list[np.ndarray] | None = []
        self._bytes = 0

    def frames(self) -> Iterator[np.ndarray]:
        """Decode.

        Raises:
            NotScored: unreadable, cut off, or without pictures.
        """
        try:
            yield from iter_frames(self.path, fps=FPS, threads=1)
        except MediaError as error:
            raise NotScored(f"{self.path.name} {error.problem}") from None

    def hold(self, frame: np.ndarray) -> None:
        """Keep a frame for :meth:`again`; past the limit nothing is kept."""
        if self._held is None:
            return
        # A picture shown for several frames is one array and is counted once.
        self._bytes += 0 if self._held and self._held[-1] is frame else frame.nbytes
        if self._bytes > HOLD_BYTES:
            self._held = None
        else:
            self._held.append(frame)

    def again(self) -> Iterator[np.ndarray]:
        """The held frames, which are then given up one by one; decoded anew if they were too many or none were held."""
        if not self._held:
            yield from self.frames()
            return
        held, self._held = self._held[::-1], []
        while held:
            yield held.pop()


class Crops:
    """The protocol's crops of a reference, for the clips that are compared with it; ``None`` past the memory limit."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] | None = []
        self._bytes = 0

    def add(self, crop: np.ndarray) -> None:
        if self.kept is None:
            return
        self._bytes += crop.nbytes
        if self._bytes > HOLD_BYTES:
            self.kept = None
        else:
            self.kept.append(crop)


def load_sound(path: Path, frames: int) -> np.ndarray:
    """A clip's sound, ``(640 frames,)`` float32, 16 kHz mono; NotScored as :func:`whole_sound`."""
    return fit(whole_sound(path), frames)


def whole_sound(path: Path) -> np.ndarray:
    """A clip's sound on its pictures' clock, ``(N,)`` float32, 16 kHz mono.

    Raises:
        NotScored: no sound track, one that cannot be decoded, or silence.
    """
    try:
        start = probe(path).start
        blocks = list(iter_audio(path, start=start))
        wave = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        check_sound(AudioInfo(len(wave), float(np.abs(wave).max(initial=0.0))), path, "clip")
    except MediaError as error:
        raise NotScored(f"{path.name} {error.problem}") from None
    return wave


def has_sound(path: Path) -> bool:
    """Whether a file says that it has a sound track."""
    try:
        with open_media(path, "audio", "clip"):
            return True
    except MediaError:
        return False


def fit(wave: np.ndarray, frames: int) -> np.ndarray:
    """Cut, or filled with silence, to the length of the pictures."""
    wanted = SAMPLES_PER_FRAME * frames
    return np.pad(wave[:wanted], (0, max(0, wanted - len(wave))))


def delayed(wave: np.ndarray, frames: int) -> np.ndarray:
    """The same length, ``frames`` later (earlier if negative); silence where there is nothing."""
    by = SAMPLES_PER_FRAME * frames
    if by >= 0:
        return np.concatenate(
            [np.zeros(min(by, len(wave)), wave.dtype), wave[: max(0, len(wave) - by)]]
        )
    return np.concatenate([wave[-by:], np.zeros(min(-by, len(wave)), wave.dtype)])


def looped(wave: np.ndarray, frames: int) -> np.ndarray:
    """Cut to the length of the pictures, or said again from its start until it has that length."""
    return np.resize(wave, SAMPLES_PER_FRAME * frames)
