"""A portrait in its whole picture: a square of it is animated and pasted back.

The square has the picture's own pixels, not resampled, and the renderers leave its border as it is,
so there is no seam; a soft rim blends what a learned renderer changes there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.crop import CropBox, crop_box, crop_image, to_crop
from emo_lightning.face.detection import extent
from emo_lightning.face.portrait import (
    Portrait,
    check_frontal,
    find_portrait_face,
    inside,
    make_portrait,
)

MULTIPLE = 16
"""The square's side in pixels is one of this, as the learned renderer needs."""
LEAST_SIDE = 96
"""Pixels of the square around the head, below which a face has too few to animate."""
RIM = 0.05
"""Share of the square's side over which it passes into the picture."""
LOWER = 0.12
"""Shift of a wider square downwards, over the head's square: shoulders move, backgrounds do not."""


class SmallFaceError(UserError):
    """A face with too few pixels in the full view."""


@dataclass(frozen=True)
class CropPlacement:
    """The part of a picture that is rendered in each frame.

    Attributes:
        picture: ``(H, W, 3)`` uint8 RGB, both even.
        portrait: the square.
        corner: (column, row) of the square in the picture; parts of it may lie outside.
        rim: ``(S, S, 1)`` float32, 1 where the square replaces the picture.
        head: the square by which the coefficients are made.
    """

    picture: np.ndarray
    portrait: Portrait
    corner: tuple[int, int]
    rim: np.ndarray
    head: CropBox

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the video in pixels."""
        return self.picture.shape[1], self.picture.shape[0]

    def coefficients(self, made: Coefficients) -> Coefficients:
        """Coefficients for the head's square as ones for this one."""
        return _moved(made, self.head, self.portrait.box or self.head)

    def put(self, frame: np.ndarray) -> np.ndarray:
        """The picture ``(H, W, 3)`` with a frame ``(S, S, 3)`` in its place."""
        out = self.picture.copy()
        into, part = self._overlap
        out[into] = frame[part]
        for into, part, weight, base in self._soft_bands:
            out[into] = (frame[part] * weight + base) >> 8
        return out

    @cached_property
    def _overlap(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where square and picture overlap, in the picture and in the square."""
        into, part = [], []
        for start, length in zip(self.corner[::-1], self.picture.shape[:2], strict=True):
            first, end = max(start, 0), min(start + self.portrait.size, length)
            into.append(slice(first, end))
            part.append(slice(first - start, end - start))
        return tuple(into), tuple(part)

    @cached_property
    def _soft_bands(self) -> list[tuple[Any, Any, np.ndarray, np.ndarray]]:
        """Bands along the square's sides where it blends with the picture, in 8-bit fixed point."""
        _, part = self._overlap
        found = []
        for band in _bands(self.portrait.size):
            pairs = zip(band, part, strict=True)
            place = tuple(slice(max(b.start, p.start), min(b.stop, p.stop)) for b, p in pairs)
            weight = np.rint(256.0 * self.rim[place]).astype(np.uint16)
            if weight.size and weight.min() < 256:
                corner = zip(place, self.corner[::-1], strict=True)
                into = tuple(slice(p.start + c, p.stop + c) for p, c in corner)
                base = self.picture[into] * (256 - weight) + np.uint16(128)
                found.append((into, place, weight, base))
        return found


@dataclass(frozen=True)
class FullFrame:
    """A whole picture with one face.

    Attributes:
        picture: ``(H, W, 3)`` uint8 RGB, both even.
        points: ``(478, 3)`` landmarks in its pixels.
        face: the head in its square, from which coefficients are made.
    """

    picture: np.ndarray
    points: np.ndarray
    face: Portrait

    def stage(self, margin: float) -> CropPlacement:
        """The square that a renderer gets.

        Args:
            margin: its side over that of the head's square, 1 or more; at most the picture's longer
                side.
        """
        head = self.face.box
        assert head is not None
        height, width = self.picture.shape[:2]
        box = head
        if margin > 1.0:
            half = max(min(margin * head.half, max(width, height) / 2), head.half)
            # Where the square is wider than the picture, any place will do that covers it.
            cx, cy = (
                float(np.clip(c, *sorted((half, side - half))))
                for c, side in ((head.cx, width), (head.cy + 2.0 * LOWER * head.half, height))
            )
            box = CropBox(cx, cy, half)
        box = _whole(box)
        corner, size = (round(box.cx - box.half), round(box.cy - box.half)), round(2 * box.half)
        coefficients = _moved(self.face.coefficients, head, box)
        still = (corner[0] > 0, corner[1] > 0, corner[0] + size < width, corner[1] + size < height)
        portrait = Portrait(
            crop_image(self.picture, box, size), to_crop(self.points, box), coefficients, box, still
        )
        return CropPlacement(
            self.picture, portrait, corner, _rim(corner, size, width, height), head
        )


def load_full_frame(
    path: str | Path, size: int, argument: str = "--portrait", choice: str | None = None
) -> FullFrame:
    """Read a picture and find its face.

    Args:
        path: see :func:`emo_lightning.media.image_reader.load_picture`.
        size: most pixels of the picture's longer side; a smaller picture keeps its size.
        argument: what the user calls the file, for messages.
        choice: see :func:`emo_lightning.face.portrait.choose_face`.

    Raises:
        UserError: see :func:`emo_lightning.face.portrait.load_portrait`, or a face that is too
            small once the picture is reduced.
    """
    chosen = find_portrait_face(path, argument, choice)
    picture, points = chosen.picture, chosen.face.points
    factor = min(1.0, size / max(picture.shape[:2]))
    if factor < 1.0:
        width, height = (max(2, round(n * factor)) for n in picture.shape[1::-1])
        points = points * np.array(
            [width / picture.shape[1], height / picture.shape[0], factor], np.float32
        )
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    height, width = (n // 2 * 2 for n in picture.shape[:2])
    picture = np.ascontiguousarray(picture[:height, :width])
    box = _whole(inside(crop_box(points), extent(points), width, height), width, height)
    if 2 * box.half < LEAST_SIDE:
        problem = f"shows a face that is too small in {width} x {height} pixels"
        raise SmallFaceError(argument, path, "a larger --size, or --view crop", problem)
    face = make_portrait(
        crop_image(picture, box, round(2 * box.half)),
        to_crop(points, box),
        BuiltinFaceModel.load(),
        box,
        chosen.notes,
    )
    check_frontal(face.coefficients, path, argument)
    return FullFrame(picture, points, face)


def _whole(box: CropBox, width: float = np.inf, height: float = np.inf) -> CropBox:
    """The square on whole pixels, its side a multiple of MULTIPLE, inside a picture it fits in."""
    side = max(MULTIPLE, round(2 * box.half / MULTIPLE) * MULTIPLE)
    if 2 * box.half <= min(width, height) < side:
        side -= MULTIPLE
    corner = [round(c - side / 2) for c in (box.cx, box.cy)]
    if side <= min(width, height):
        corner = [min(max(c, 0), n - side) for c, n in zip(corner, (width, height), strict=True)]
    return CropBox(corner[0] + side / 2, corner[1] + side / 2, side / 2)


def _moved(made: Coefficients, old: CropBox, new: CropBox) -> Coefficients:
    """Coefficients in crop units of one square as those of another, for the same face."""
    trans = made["trans"].astype(np.float64)
    trans[:, :2] = (trans[:, :2] * old.half + (old.cx - new.cx, old.cy - new.cy)) / new.half
    trans[:, 2] += np.log(old.half / new.half)
    return made.replace(trans=trans.astype(np.float32))


def _bands(size: int) -> tuple[tuple[slice, slice], ...]:
    """Rows and columns of the four bands along a square's sides, where the rim is below 1."""
    wide, whole = int(np.ceil(RIM * size)), slice(0, size)
    start, end = slice(0, wide), slice(size - wide, size)
    return (start, whole), (end, whole), (whole, start), (whole, end)


def _rim(corner: tuple[int, int], size: int, width: int, height: int) -> np.ndarray:
    """``(S, S, 1)`` float32, rising from 0 to 1 at the sides that are within the picture."""
    line = np.arange(size) + 0.5
    rises = []
    for start, end in zip(corner, (width, height), strict=True):
        near = np.full(size, np.inf) if start <= 0 else line
        far = np.full(size, np.inf) if start + size >= end else size - line
        t = np.clip(np.minimum(near, far) / (RIM * size), 0.0, 1.0)
        rises.append(t * t * (3.0 - 2.0 * t))
    return (rises[1][:, None] * rises[0][None, :])[..., None].astype(np.float32)
