"""Decoded pictures that are converted to RGB only when looked at, and no finer than asked for.

Large video is mostly looked at small: at half the sides a picture's colours are at hand as the decoder keeps them, and
converting a quarter of the pixels, exactly, takes less time than converting all of them fast.
"""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

SMALL = 640 * 640
"""Pictures up to so many pixels are converted exactly at full size."""
HALVINGS = 3
_EXACT_RGB = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_PLANAR = {"yuv420p": False, "yuvj420p": True}
"""Formats whose planes are read here, and whether they span all of 0..255."""
_LUMA_SHARES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114)}
"""Shares of red and blue in luma, for BT.709 and the two names of BT.601 (ITU-T H.273, table 4)."""
_UNSAID = (0, 2)


def halvings(shape: tuple[int, ...]) -> int:
    """How often both sides of a ``(height, width)`` can be halved, 3 at most."""
    height, width = shape[:2]
    return next((n for n in range(HALVINGS) if (height >> n) % 2 or (width >> n) % 2), HALVINGS)


class Picture:
    """A picture that gives itself at full size, halved, or a few of its pixels.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.

    Attributes:
        shape: (height, width).
    """

    def __init__(self, image: np.ndarray) -> None:
        self.shape = (image.shape[0], image.shape[1])
        self._levels = {0: image}

    def rgb(self, level: int = 0) -> np.ndarray:
        """``(H >> level, W >> level, 3)`` uint8 RGB, means of the pixels; made once.

        Args:
            level: times that the sides are halved, up to what :func:`halvings` says.
        """
        if not 0 <= level <= halvings(self.shape):
            raise ValueError(
                f"a picture of {self.shape[1]}x{self.shape[0]} cannot be halved {level} times"
            )
        if level not in self._levels:
            self._levels[level] = self._made(level)
        return self._levels[level]

    def sparse(self, step: int) -> np.ndarray:
        """Every ``step``-th pixel of every ``step``-th row, ``(h, w, 3)`` uint8 RGB."""
        return np.ascontiguousarray(self.rgb()[::step, ::step])

    def _made(self, level: int) -> np.ndarray:
        return _halved(self.rgb(), level)


class DecodedPicture(Picture):
    """A decoder's frame, upright and with square pixels.

    Args:
        frame: as decoded.
        upright: what converts the frames of this stream.
    """

    def __init__(self, frame: av.VideoFrame, upright: Upright) -> None:
        self._frame, self._upright = frame, upright
        self._turns = round(frame.rotation / 90) % 4
        width = upright.width(frame)
        self.shape = (frame.height, width) if self._turns % 2 == 0 else (width, frame.height)
        self._levels = {}
        self._matrix = (
            _to_rgb(frame) if width == frame.width and width * frame.height > SMALL else None
        )

    def sparse(self, step: int) -> np.ndarray:
        """See :meth:`Picture.sparse`; counted from where the picture begins in the file, before it is turned."""
        if self._matrix is None:
            return super().sparse(step)
        luma, *chroma = _planes(self._frame)
        rows, columns = np.arange(0, luma.shape[0], step), np.arange(0, luma.shape[1], step)
        chosen = [
            luma[::step, ::step],
            *(plane[np.ix_(rows // 2, columns // 2)] for plane in chroma),
        ]
        return self._turned(cv2.transform(cv2.merge(chosen), self._matrix))

    def _made(self, level: int) -> np.ndarray:
        if level == 0:
            return self._upright(self._frame)
        if self._matrix is None:
            return super()._made(level)
        luma, *chroma = _planes(self._frame)
        planes = [_halved(luma, level), *(_halved(plane, level - 1) for plane in chroma)]
        return self._turned(cv2.transform(cv2.merge(planes), self._matrix))

    def _turned(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(image, self._turns))


class Upright:
    """Decoded frame -> RGB array with the file's rotation applied, square pixels and the right colour matrix.

    The exact conversion costs 6 ns a pixel, the fast one 0.4 ns but darkens by about one grey level of 255; pictures
    above 640 x 640 take the fast one, since they are only looked at and shrunk.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        self.reformatter = VideoReformatter()
        self.aspect = float(stream.sample_aspect_ratio or 1.0)

    def width(self, frame: av.VideoFrame) -> int:
        """Of the frame with square pixels, before rotation."""
        return max(2, round(frame.width * self.aspect)) if 0.2 < self.aspect < 5 else frame.width

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        width = self.width(frame)
        quality = _EXACT_RGB if width * frame.height <= SMALL else Interpolation.BILINEAR
        rgb = self.reformatter.reformat(
            frame,
            width,
            frame.height,
            "rgb24",
            src_colorspace=_assumed(frame),
            interpolation=quality,
            threads=1,
        )
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90) % 4))


def _assumed(frame: av.VideoFrame) -> Colorspace | None:
    """Files that do not say are taken as players take them: BT.709 from 720 lines on, BT.601 below."""
    if frame.colorspace not in _UNSAID:
        return None
    return Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601


def _to_rgb(frame: av.VideoFrame) -> np.ndarray | None:
    """``(3, 4)`` from (Y, Cb, Cr, 1) in 0..255 to RGB; None for a frame whose planes are not read here."""
    space = int(frame.colorspace)
    if space in _UNSAID:
        space = 1 if frame.height >= 720 else 6
    if frame.format.name not in _PLANAR or space not in _LUMA_SHARES:
        return None
    full = _PLANAR[frame.format.name] or int(frame.color_range) == 2
    y, c, black = (1.0, 1.0, 0.0) if full else (255 / 219, 255 / 224, 16.0)
    red, blue = _LUMA_SHARES[space]
    green = 1 - red - blue
    to_red, to_blue = 2 * (1 - red) * c, 2 * (1 - blue) * c
    turn = np.array(
        [[y, 0, to_red], [y, -to_blue * blue / green, -to_red * red / green], [y, to_blue, 0]]
    )
    return np.column_stack([turn, -turn @ [black, 128.0, 128.0]]).astype(np.float32)


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The three planes as they lie in the decoder's memory."""
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    ]


def _halved(image: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        image = cv2.resize(
            image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA
        )
    return image
