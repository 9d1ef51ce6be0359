"""Face detection: all faces of a picture, each confirmed, and the picture's orientation.

MediaPipe's detector has no usable certainty: it finds faces in coins, discs and headlights. So
every candidate is confirmed (:class:`FaceConfirmer`) before it is animated, counted or measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from emo_lightning.core import assets
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.crop import CropBox, crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import Face, LandmarkBackend, native_stderr_closed

SMALLEST_FIRST, SMALLEST = 256, 500
"""Sides in pixels below which no squares are searched, halves of the picture and later ones:
smaller faces are too small to animate."""
SAME_FACE = 0.3
"""Overlap (intersection over union) of two boxes that are one face."""
CONFIRM_SIDE = 256
"""Side in pixels of the crop in which a candidate is confirmed."""
MAX_SHIFT, MAX_SHIFT_ALONE = 0.03, 0.012
"""Mean distance in crop units between a candidate's landmarks and those found in its own crop, with
and without the second detector. Tuned; see docs."""
MAX_RESIDUAL, MAX_IDENTITY = 0.035, 2.0
"""Error of the face model's fit (IOD), and root mean square of its identity coefficients."""
MIN_SCORE = 0.6
"""Least score of the second detector."""
MAX_OFFSET = 0.35
"""Distance of the second detector's face from the candidate, in crop units."""
MAX_ROLL = 45.0
"""Degrees; a face tilted further belongs to a picture that lies on its side."""
TURNS = (0, 2, 1, 3)
"""Quarter turns counterclockwise, in the order in which they are tried."""


class FaceConfirmer:
    """Decides whether candidates of a landmark back end are faces.

    A face is found again at the same place in its own crop, fits the face model with a plausible
    identity, and is found by a second detector: YuNet (Wu et al., *Machine Intelligence Research*
    20, 2023), where its weights are installed.

    Args:
        landmarker: the back end that found the candidates.
    """

    def __init__(self, landmarker: LandmarkBackend) -> None:
        self._landmarker = landmarker
        self._detector = None
        if assets.find("yunet") is not None:
            path = assets.locate("yunet")
            with native_stderr_closed():
                size = (CONFIRM_SIDE, CONFIRM_SIDE)
                self._detector = cv2.FaceDetectorYN.create(str(path), "", size, 0.02)

    def confirm(self, image: np.ndarray, faces: Sequence[Face]) -> list[Face]:
        """Those of the candidates that are faces, in the same order.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, in which the candidates were found.
            faces: the candidates.
        """
        return [face for face in faces if self._is_face(image, face)]

    def _is_face(self, image: np.ndarray, face: Face) -> bool:
        box = crop_box(face.points)
        if box.half < 4:
            return False
        crop, points = crop_image(image, box, CONFIRM_SIDE), to_crop(face.points, box)
        limit = MAX_SHIFT_ALONE if self._detector is None else MAX_SHIFT
        if not self._found_again(crop, points, limit) or not _fits(points):
            return False
        return self._detector is None or self._score(crop, points) >= MIN_SCORE

    def _found_again(self, crop: np.ndarray, points: np.ndarray, limit: float) -> bool:
        whole = CropBox(*(CONFIRM_SIDE / 2,) * 3)
        for again in self._landmarker.detect(crop):
            shift = np.abs(to_crop(again.points, whole) - points)[:, :2].mean()
            if shift <= limit:
                return True
        return False

    def _score(self, crop: np.ndarray, points: np.ndarray) -> float:
        """The second detector's score of the face at these landmarks, 0 without one."""
        # It expects ordinary exposure, the landmark network does not.
        gain = min(230.0 / max(float(np.percentile(crop, 99)), 1.0), 20.0)
        bright = cv2.convertScaleAbs(crop, alpha=max(gain, 1.0))
        _, found = self._detector.detect(bright[:, :, ::-1])
        centre = points[:, :2].mean(0)
        scores = [0.0]
        for row in () if found is None else found:
            middle = (row[:2] + row[2:4] / 2) / (CONFIRM_SIDE / 2) - 1.0
            if np.abs(middle - centre).max() < MAX_OFFSET:
                scores.append(float(row[14]))
        return max(scores)


def _fits(points: np.ndarray) -> bool:
    """Whether landmarks ``(N, 3)`` in crop units are those of a plausible face."""
    if len(points) == 68:
        return True
    fit = BuiltinFaceModel.load().fit(points[None])
    identity = float(np.sqrt(np.square(fit.coefficients["id"][0]).mean()))
    return float(fit.residual[0]) <= MAX_RESIDUAL and identity <= MAX_IDENTITY


def find_faces(
    picture: np.ndarray, landmarker: LandmarkBackend, confirmer: FaceConfirmer | None = None
) -> list[Face]:
    """Every confirmed face, largest first, in pixels of the picture.

    The detector's input is 128 x 128 pixels, in which it misses faces below a tenth of the side. So
    the picture is also searched in overlapping squares: of half the longer side always, of smaller
    ones while no face was found.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        landmarker: finds the candidates.
        confirmer: confirms them; made when None.
    """
    confirmer = confirmer or FaceConfirmer(landmarker)
    faces = confirmer.confirm(picture, landmarker.detect(picture))
    side, smallest = max(picture.shape[:2]) // 2, SMALLEST_FIRST
    while side >= smallest:
        for x, y in _corners(picture.shape[1], picture.shape[0], side):
            square = np.ascontiguousarray(picture[y : y + side, x : x + side])
            moved = [face.moved(x, y) for face in landmarker.detect(square)]
            new = [
                face
                for face in moved
                if not _is_cut(face.box, x, y, side, picture)
                and all(_overlap(face.box, other.box) < SAME_FACE for other in faces)
            ]
            faces += confirmer.confirm(picture, new)
        if faces:
            break
        side, smallest = side // 2, SMALLEST
    return sorted(faces, key=lambda face: -extent(face.points))


def find_upright_faces(
    picture: np.ndarray, landmarker: LandmarkBackend, confirmer: FaceConfirmer | None = None
) -> tuple[int, list[Face]]:
    """Faces of a picture that may lie on its side or upside down.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        landmarker: see :func:`find_faces`.
        confirmer: see :func:`find_faces`.

    Returns:
        Quarter turns counterclockwise that put the faces upright, and the faces in the turned
        picture; 0 and what was found without a turn where no turn shows an upright face.
    """
    confirmer = confirmer or FaceConfirmer(landmarker)
    first: list[Face] = []
    for turns in TURNS:
        turned = np.ascontiguousarray(np.rot90(picture, turns))
        faces = find_faces(turned, landmarker, confirmer)
        if turns == 0:
            first = faces
        if faces and is_upright(faces[0]):
            return turns, faces
    return 0, first


def is_upright(face: Face) -> bool:
    """Whether the eyes are above the mouth, by less than MAX_ROLL degrees of tilt."""
    few = len(face.points) == 68
    right, left = face.points[[36, 45] if few else [33, 263], :2]
    roll = np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0]))
    return bool(abs(roll) <= MAX_ROLL)


def extent(points: np.ndarray) -> float:
    """The larger side of the box around landmarks ``(N, 2|3)``, in their unit."""
    return float(np.ptp(points[:, :2], axis=0).max())


def _corners(width: int, height: int, side: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of squares that overlap by half and cover the picture."""
    for y in range(0, max(height - side, 0) + side // 2, side // 2):
        for x in range(0, max(width - side, 0) + side // 2, side // 2):
            yield min(x, max(width - side, 0)), min(y, max(height - side, 0))


def _is_cut(box: np.ndarray, x: int, y: int, side: int, picture: np.ndarray) -> bool:
    """Whether a face crosses an edge of its square that is not the picture's own."""
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    before = (x > 0 and left < x) or (y > 0 and top < y)
    after = (x + side < width and right > x + side) or (y + side < height and bottom > y + side)
    return bool(before or after)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared, 1e-6)
