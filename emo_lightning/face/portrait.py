"""A picture with one face, seen from the front, to the square portrait that the renderers animate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.crop import CropBox, crop_box, crop_image, from_crop, to_crop
from emo_lightning.face.detection import extent, find_faces
from emo_lightning.face.landmarks import Face, LandmarkBackend, open_landmarker
from emo_lightning.face.model import FaceModel
from emo_lightning.face.texture import read_texture
from emo_lightning.media.image_reader import load_picture

MIN_EYE_DISTANCE = 28.0
"""Pixels between the outer eye corners: below this the face has fewer pixels than a thumbnail and landmarks wander."""
MAX_ANGLE = (40.0, 40.0, 45.0)
"""Degrees of pitch, yaw and roll: beyond them half of the face is hidden, or the picture lies on its side."""
RIVAL = 0.5
"""A second face at least this large, as a share of the first one's size, makes the choice ambiguous."""
MAX_OUTSIDE = 0.1
"""How far the landmarks may lie beyond the picture's edge, as a share of the face's larger side."""
MIN_MARGIN = 1.25
"""Least side of the square, as a multiple of the landmarks' extent."""
ACCEPTED = "a picture of one whole face, seen from the front"
_EYE_CORNERS = (33, 263)
MAX_FACES = 5
"""Faces that are detected, to see whether the largest stands out."""


@dataclass(frozen=True)
class Portrait:
    """A head in its square, ready to be animated.

    Attributes:
        image: ``(S, S, 3)`` uint8 RGB.
        points: ``(478, 3)`` landmarks in crop units.
        coefficients: the face model's reading of them, one frame. box: where the square lies in the
        picture that was read, in pixels; None if it was the whole picture. still: its sides left,
        top, right, bottom at which the picture goes on, so that they must not move.
    """

    image: np.ndarray
    points: np.ndarray
    coefficients: Coefficients
    box: CropBox | None = None
    still: tuple[bool, bool, bool, bool] = (False, False, False, False)

    @property
    def size(self) -> int:
        """Side of the square in pixels."""
        return self.image.shape[0]


def load_portrait(path: str | Path, size: int, argument: str = "--portrait") -> Portrait:
    """Read a picture, find its one face and cut the square around the head.

    Args:
        path: see :func:`emo_lightning.media.image_reader.load_picture`.
        size: side of the square in pixels.
        argument: what the user calls the file, for messages.

    Raises:
        UserError: the picture cannot be read; no face, more than one face of similar size, or a
        face that is too
            small, turned too far away, or cut off by the picture's edge.
    """
    picture = load_picture(path, argument)
    landmarker = open_landmarker(max_faces=MAX_FACES)
    try:
        face = the_face(picture, landmarker, path, argument)
    finally:
        landmarker.close()
    box = inside(crop_box(face.points), extent(face.points), picture.shape[1], picture.shape[0])
    portrait = make_portrait(
        crop_image(picture, box, size), to_crop(face.points, box), BuiltinFaceModel.load(), box
    )
    check_frontal(portrait.coefficients, path, argument)
    return portrait


def make_portrait(
    image: np.ndarray, points: np.ndarray, model: FaceModel, box: CropBox | None = None
) -> Portrait:
    """A portrait from a square that is cut already.

    Args:
        image: ``(S, S, 3)`` uint8 RGB.
        points: ``(478, 3)`` landmarks in crop units.
        model: the face model that reads the coefficients.
        box: see :class:`Portrait`.
    """
    points = np.asarray(points, np.float32)
    coefficients = model.fit(points[None]).coefficients.replace(tex=read_texture(image, points))
    return Portrait(image, points, coefficients, box)


def the_face(
    picture: np.ndarray, landmarker: LandmarkBackend, path: str | Path, argument: str
) -> Face:
    """The one face of a picture ``(H, W, 3)``; see :func:`load_portrait` for what is refused."""
    faces = find_faces(picture, landmarker)
    if not faces:
        raise UserError(argument, path, ACCEPTED, "shows no face that can be found")
    face = faces[0]
    rivals = sum(extent(other.points) >= RIVAL * extent(face.points) for other in faces)
    if rivals > 1:
        raise UserError(
            argument, path, f"{ACCEPTED}; cut it down to one of them", f"shows {rivals} faces"
        )
    eyes = float(np.linalg.norm(np.subtract(*face.points[list(_EYE_CORNERS), :2])))
    if eyes < MIN_EYE_DISTANCE:
        accepted = f"at least {MIN_EYE_DISTANCE:g} pixels between the outer corners of the eyes"
        raise UserError(
            argument,
            path,
            accepted,
            f"shows a face that is too small ({eyes:.0f} pixels between the eyes)",
        )
    side = cut_side(face.points, picture.shape[1], picture.shape[0])
    if side:
        raise UserError(
            argument, path, ACCEPTED, f"shows a face that is cut off at the {side} edge"
        )
    return face


def cut_side(points: np.ndarray, width: int, height: int) -> str:
    """The edge of a ``width x height`` picture beyond which the face reaches by more than :data:`MAX_OUTSIDE`, or ''."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    beyond = {"left": -low[0], "top": -low[1], "right": high[0] - width, "bottom": high[1] - height}
    side, amount = max(beyond.items(), key=lambda item: item[1])
    return side if amount > MAX_OUTSIDE * extent(points) else ""


def inside(box: CropBox, face: float, width: int, height: int) -> CropBox:
    """The square shifted and shrunk into the picture, where the face leaves room for that.

    Args:
        box: the square that would be best.
        face: extent of the landmarks in pixels; the square is at least :data:`MIN_MARGIN` times
            that, and what then lies outside the picture is inpainted.
        width: of the picture in pixels.
        height: likewise.
    """
    half = min(box.half, max(min(width, height), MIN_MARGIN * face) / 2)
    cx, cy = (
        min(max(c, half), side - half) if side >= 2 * half else c
        for c, side in ((box.cx, width), (box.cy, height))
    )
    return CropBox(cx, cy, half)


def shrunk(portrait: Portrait) -> float:
    """Side of a portrait's square over the one that shows the whole head; 1 where it fitted."""
    if portrait.box is None:
        return 1.0
    best = crop_box(from_crop(portrait.points, portrait.box))
    return min(1.0, portrait.box.half / best.half)


def check_frontal(coefficients: Coefficients, path: str | Path, argument: str) -> None:
    """Raise UserError for a face turned so far that much of it is hidden, or lying on its side."""
    ways = ("turned {} degrees up or down", "turned {} degrees to the side", "tilted by {} degrees")
    for angle, limit, way in zip(
        np.degrees(coefficients["angle"][0]), MAX_ANGLE, ways, strict=True
    ):
        if abs(angle) > limit:
            raise UserError(
                argument,
                path,
                f"{ACCEPTED} (here at most {limit:g} degrees)",
                f"shows a face {way.format(round(abs(angle)))}",
            )
