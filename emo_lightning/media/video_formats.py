"""Video files by their suffix: mp4, webm, mov with alpha, gif, and folders of PNG frames."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Protocol, Self

import av
import numpy as np
from PIL import Image

from emo_lightning.core.errors import UserError
from emo_lightning.media.video_writer import AUDIO_RATE, VideoFormat, VideoWriter

WEBM = VideoFormat(
    "webm",
    "libvpx-vp9",
    audio_codec="libopus",
    options={"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
)
MOV = VideoFormat(
    "mov",
    "prores_ks",
    pixels="yuva444p10le",
    source="rgba",
    audio_codec="pcm_s16le",
    options={"profile": "4444", "vendor": "apl0"},
)
SUFFIXES = (".mp4", ".webm", ".mov", ".gif", "")
"""Of the files that :func:`open_writer` writes; the empty one is a folder of PNG frames."""
WITH_ALPHA = (".mov",)
GIF_RATES = (25, 50)
"""Frames per second that gif's hundredths of a second can express."""


class FrameWriter(Protocol):
    """Takes frames ``(H, W, 3|4)`` uint8 until the ``with`` block ends."""

    def write(self, frame: np.ndarray) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def check_format(path: Path, fps: int, argument: str = "--out") -> None:
    """Raise UserError where a format cannot hold a frame rate."""
    if path.suffix.lower() == ".gif" and fps not in GIF_RATES:
        accepted = f"--fps {' or '.join(map(str, GIF_RATES))}, or another format"
        raise UserError(argument, path, accepted, f"is a gif, which cannot have {fps} frames/s")


def open_writer(
    path: Path, size: tuple[int, int], fps: int, audio: Iterable[np.ndarray]
) -> FrameWriter:
    """A writer by the path's suffix.

    Args:
        path: of the file, or of the folder that is made.
        size: (width, height), even numbers.
        fps: frames per second, see :func:`check_format`.
        audio: blocks ``(N, 2)`` at 48 kHz, for the formats with audio.
    """
    suffix = path.suffix.lower()
    if suffix == "":
        return PngFolderWriter(path)
    if suffix == ".gif":
        return GifWriter(path, size, fps)
    container = {".webm": WEBM, ".mov": MOV}.get(suffix)
    return VideoWriter(path, size, fps, audio=audio, audio_rate=AUDIO_RATE, container=container)


class PngFolderWriter:
    """PNG files ``000001.png``, ... in a new folder."""

    def __init__(self, path: Path) -> None:
        self.path, self.frames = path, 0
        path.mkdir()

    def write(self, frame: np.ndarray) -> None:
        """Write the next frame."""
        self.frames += 1
        Image.fromarray(frame).save(self.path / f"{self.frames:06d}.png", compress_level=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class GifWriter:
    """A gif that repeats for ever, dithered to the 256 colours of its first frame."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int) -> None:
        self.frames, self._rate, self._palette = 0, Fraction(fps), None
        self._container = av.open(f"file:{path}", "w", format="gif", options={"loop": "0"})
        self._stream = self._container.add_stream("gif", rate=self._rate)
        self._stream.width, self._stream.height, self._stream.pix_fmt = *size, "pal8"

    def write(self, frame: np.ndarray) -> None:
        """Append one ``(H, W, 3)`` uint8 RGB frame."""
        picture = Image.fromarray(frame)
        if self._palette is None:
            self._palette = picture.quantize(256)
        indexed = picture.quantize(palette=self._palette, dither=Image.Dither.FLOYDSTEINBERG)
        colours = np.array(indexed.getpalette() or [], np.uint8).reshape(-1, 3)
        argb = np.full((256, 4), 255, np.uint8)
        argb[: len(colours), 1:] = colours
        image = av.VideoFrame.from_ndarray((np.array(indexed), argb), format="pal8")
        image.pts, image.time_base = self.frames, 1 / self._rate
        self._container.mux(self._stream.encode(image))
        self.frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
