"""The square portrait that the renderers animate, from a picture with a frontal face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.crop import CropBox, crop_box, crop_image, from_crop, to_crop
from emo_lightning.face.detection import extent, find_upright_faces
from emo_lightning.face.landmarks import Face, LandmarkBackend, open_landmarker
from emo_lightning.face.model import FaceModel
from emo_lightning.face.regions import LIPS
from emo_lightning.face.texture import REGIONS, read_texture
from emo_lightning.media.image_reader import load_picture

MIN_EYE_DISTANCE = 28.0
"""Pixels between the outer eye corners, below which landmarks are too inaccurate."""
MAX_ANGLE = (40.0, 40.0, 45.0)
"""Degrees of pitch, yaw and roll, beyond which half of the face is hidden."""
RIVAL = 0.5
"""Size of a second face, as a share of the first one's, from which on the choice is ambiguous."""
MAX_OUTSIDE = 0.1
"""How far the landmarks may be beyond the picture's edge, as a share of the face's extent."""
MIN_MARGIN = 1.25
"""Least side of the square, as a multiple of the landmarks' extent."""
ACCEPTED = "a picture of one whole face, seen from the front"
MAX_FACES = 5
"""Most faces that are detected in one search."""
BLACK, DARK = 9.0, 30.0
"""Mean brightness of the face, of 255, that is refused and noted."""
CLOSED_EYES = 0.42
"""Mean of the blendshapes eyeBlinkLeft and eyeBlinkRight."""
BLINKS = (9, 10)
TIGHT = 0.8
"""Extent of the face over the picture's shorter side."""
UNSTEADY_LIPS, OTHER_TONE = 0.0028, 0.24
"""Signs of something before the mouth: deviation of the lips' landmarks between crops, in crop
units, at least twice that of the eyes; difference of the chin's tone from the cheeks' (CIELAB)."""


@dataclass(frozen=True)
class Portrait:
    """A head in its square, ready to be animated.

    Attributes:
        image: ``(S, S, 3)`` uint8 RGB.
        points: ``(478, 3)`` landmarks in crop units.
        coefficients: the face model's fit to them, one frame.
        box: the square in pixels of the (upright) picture; None if it was the whole picture.
        still: sides left, top, right, bottom at which the picture continues, which must not move.
        notes: for the user, in sentences.
    """

    image: np.ndarray
    points: np.ndarray
    coefficients: Coefficients
    box: CropBox | None = None
    still: tuple[bool, bool, bool, bool] = (False, False, False, False)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Side of the square in pixels."""
        return self.image.shape[0]


@dataclass(frozen=True)
class PortraitFace:
    """The chosen face of a picture.

    Attributes:
        picture: ``(H, W, 3)`` uint8 RGB, turned upright.
        face: in its pixels.
        notes: for the user, in sentences.
    """

    picture: np.ndarray
    face: Face
    notes: tuple[str, ...]


def load_portrait(
    path: str | Path, size: int, argument: str = "--portrait", choice: str | None = None
) -> Portrait:
    """Read a picture, find its face and cut the square around the head.

    Args:
        path: see :func:`emo_lightning.media.image_reader.load_picture`.
        size: side of the square in pixels.
        argument: what the user calls the file, for messages.
        choice: see :func:`choose_face`.

    Raises:
        UserError: the picture cannot be read, or see :func:`choose_face`.
    """
    chosen = find_portrait_face(path, argument, choice)
    picture, points = chosen.picture, chosen.face.points
    box = inside(crop_box(points), extent(points), picture.shape[1], picture.shape[0])
    image, placed = crop_image(picture, box, size), to_crop(points, box)
    portrait = make_portrait(image, placed, BuiltinFaceModel.load(), box, chosen.notes)
    check_frontal(portrait.coefficients, path, argument)
    return portrait


def make_portrait(
    image: np.ndarray,
    points: np.ndarray,
    model: FaceModel,
    box: CropBox | None = None,
    notes: tuple[str, ...] = (),
) -> Portrait:
    """A portrait from a square that is cut already.

    Args:
        image: ``(S, S, 3)`` uint8 RGB.
        points: ``(478, 3)`` landmarks in crop units.
        model: the face model that fits the coefficients.
        box: see :class:`Portrait`.
        notes: see :class:`Portrait`.
    """
    points = np.asarray(points, np.float32)
    coefficients = model.fit(points[None]).coefficients.replace(tex=read_texture(image, points))
    return Portrait(image, points, coefficients, box, notes=notes)


def find_portrait_face(
    path: str | Path, argument: str = "--portrait", choice: str | None = None
) -> PortraitFace:
    """Read a picture, turn it upright, and choose its face.

    Args:
        path: see :func:`emo_lightning.media.image_reader.load_picture`.
        argument: what the user calls the file, for messages.
        choice: see :func:`choose_face`.

    Raises:
        UserError: the picture cannot be read, or see :func:`choose_face`.
    """
    picture = load_picture(path, argument)
    landmarker = open_landmarker(max_faces=MAX_FACES)
    try:
        turns, faces = find_upright_faces(picture, landmarker)
        picture = np.ascontiguousarray(np.rot90(picture, turns))
        face = choose_face(picture, faces, path, argument, choice)
        notes = quality_notes(picture, face, landmarker, path, argument)
    finally:
        landmarker.close()
    if turns:
        angle = "upside down" if turns == 2 else "on its side"
        notes.insert(0, f"the picture was turned by {(4 - turns) * 90} degrees: it was {angle}")
    return PortraitFace(picture, face, tuple(notes))


def choose_face(
    picture: np.ndarray,
    faces: Sequence[Face],
    path: str | Path,
    argument: str,
    choice: str | None = None,
) -> Face:
    """The face to animate.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        faces: its confirmed faces, largest first.
        path: of the picture, for messages.
        argument: what the user calls the file, for messages.
        choice: number of the face from left to right, from 1, or "largest"; None accepts a picture
            in which one face is clearly the largest.

    Raises:
        UserError: no face, several of similar size without a choice, no such number, or a face that
            is too small or cut off by the picture's edge.
    """
    if not faces:
        raise UserError(argument, path, ACCEPTED, "shows no face that can be found")
    ordered = sorted(faces, key=lambda face: float(face.box[[0, 2]].mean()))
    if choice is None or choice == "largest":
        rivals = [face for face in faces if extent(face.points) >= RIVAL * extent(faces[0].points)]
        if choice is None and len(rivals) > 1:
            accepted = f"--face largest, or --face N of {_listing(ordered)}"
            raise UserError(argument, path, accepted, f"shows {len(rivals)} faces")
        face = faces[0]
    else:
        if not choice.isdecimal() or not 1 <= int(choice) <= len(ordered):
            accepted = f"largest, or 1 to {len(ordered)}: {_listing(ordered)}"
            raise UserError("--face", choice, accepted, f"is no face of {path}")
        face = ordered[int(choice) - 1]
    eyes = float(np.linalg.norm(np.subtract(*face.points[[33, 263], :2])))
    if eyes < MIN_EYE_DISTANCE:
        accepted = f"at least {MIN_EYE_DISTANCE:g} pixels between the outer corners of the eyes"
        problem = f"shows a face that is too small ({eyes:.0f} pixels between the eyes)"
        raise UserError(argument, path, accepted, problem)
    side = cut_side(face.points, picture.shape[1], picture.shape[0])
    if side:
        problem = f"shows a face that is cut off at the {side} edge"
        raise UserError(argument, path, ACCEPTED, problem)
    return face


def _listing(ordered: Sequence[Face]) -> str:
    """Faces from left to right, for a message."""
    places = ((face.box[:2] + face.box[2:]) / 2 for face in ordered)
    items = (f"{number} at ({x:.0f}, {y:.0f})" for number, (x, y) in enumerate(places, start=1))
    return "left to right " + ", ".join(items)


def quality_notes(
    picture: np.ndarray, face: Face, landmarker: LandmarkBackend, path: str | Path, argument: str
) -> list[str]:
    """Sentences about a face that will not animate well.

    Raises:
        UserError: it is nearly black.
    """
    notes = []
    left, top, right, bottom = np.clip(face.box, 0, None).astype(int)
    brightness = float(picture[top:bottom, left:right].mean())
    if brightness < BLACK:
        accepted = "a brighter picture; raise its exposure in a photo editor first"
        raise UserError(argument, path, accepted, "shows a face that is nearly black")
    if brightness < DARK:
        notes.append("the face is very dark; a brighter picture gives a better video")
    if face.blendshapes is not None and face.blendshapes[list(BLINKS)].mean() > CLOSED_EYES:
        notes.append("the eyes seem closed; a picture with open eyes gives a better video")
    if extent(face.points) > TIGHT * min(picture.shape[:2]):
        notes.append(
            "the face fills the picture; one with some room around the head gives a better video"
        )
    if _mouth_hidden(picture, face, landmarker):
        notes.append(
            "something seems to be before the mouth; a picture without it gives a better video"
        )
    return notes


def _mouth_hidden(picture: np.ndarray, face: Face, landmarker: LandmarkBackend) -> bool:
    """Whether the lips' landmarks are unsteady, or the chin has another tone than the cheeks."""
    box = crop_box(face.points)
    texture = read_texture(crop_image(picture, box, 256), to_crop(face.points, box))
    tones = dict(zip(REGIONS, texture[: 3 * len(REGIONS)].reshape(-1, 3), strict=True))
    cheeks = (tones["cheek_right"] + tones["cheek_left"]) / 2
    if np.linalg.norm(tones["chin"] - cheeks) > OTHER_TONE:
        return True
    seen = []
    for scale, x, y in ((0.85, 0.0, 0.0), (1.2, 0.05, 0.0), (1.0, -0.06, 0.06), (1.0, 0.06, -0.08)):
        near = CropBox(box.cx + x * box.half, box.cy + y * box.half, scale * box.half)
        found = landmarker.detect(crop_image(picture, near, 256))
        if found:
            points = (found[0].points[:, :2] / 128.0 - 1.0) * scale + (x, y)
            seen.append(points - points[[33, 263, 168]].mean(0))
    if len(seen) < 2:
        return True
    deviation = np.std(seen, axis=0).mean(1)
    lips, eyes = deviation[LIPS].mean(), deviation[[33, 133, 362, 263, 168, 6]].mean()
    return bool(lips > max(UNSTEADY_LIPS, 2.0 * eyes))


def cut_side(points: np.ndarray, width: int, height: int) -> str:
    """The picture's edge beyond which the face reaches by more than MAX_OUTSIDE, or ''."""
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
    """Raise UserError for a face turned so far that much of it is hidden."""
    kinds = (
        "turned {} degrees up or down",
        "turned {} degrees to the side",
        "tilted by {} degrees",
    )
    angles = np.degrees(coefficients["angle"][0])
    for angle, limit, kind in zip(angles, MAX_ANGLE, kinds, strict=True):
        if abs(angle) > limit:
            accepted = f"{ACCEPTED} (here at most {limit:g} degrees)"
            raise UserError(
                argument, path, accepted, f"shows a face {kind.format(round(abs(angle)))}"
            )
