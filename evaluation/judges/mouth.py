"""Where the mouth is and what shape it has, with the head's movement taken out: the picture side of
the lip-sync judge.

The head's pose is a similarity fitted to bone-borne landmarks alone (eye corners, nose bridge), so
neither jaw nor lips move it. Turned upright by it, the lips and chin of anyone are points around
one place in units of the eye-corner distance (IOD).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from emo_lightning.face.builtin import RIGID, VERTICES, BuiltinFaceModel
from emo_lightning.face.pose import weighted_umeyama
from emo_lightning.face.regions import CHIN, LIP_INNER, LIP_OUTER

CHIN_LINE = (CHIN, 148, 377, 176, 400)
POINTS = np.array([*np.unique(np.concatenate([*LIP_INNER, *LIP_OUTER])), *CHIN_LINE])
"""Vertices that are read: 40 of the lips, 5 of the chin."""
SIDE = 1.1
"""Side of the picture of the mouth in IOD."""


@dataclass(frozen=True)
class MouthTrack:
    """A clip's mouth.

    Attributes:
        shape: ``(T, 45, 3)`` float32, upright, IOD, origin at the nasion.
        centre: ``(T, 2)`` where the resting mouth of the mean face would be, in the unit of the
            landmarks.
        axis: ``(T, 2)`` one IOD along the face's horizontal axis, in that unit.
    """

    shape: np.ndarray
    centre: np.ndarray
    axis: np.ndarray


@lru_cache(maxsize=1)
def _rest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices for the pose, their trust, and the middle of the mean face's mouth."""
    mean = BuiltinFaceModel.load().mean.astype(np.float64)
    return (
        np.array(list(RIGID)),
        np.array(list(RIGID.values())),
        mean[POINTS[: -len(CHIN_LINE)]].mean(axis=0),
    )


def find_mouth(points: np.ndarray) -> MouthTrack:
    """Take the head's movement out of a clip's landmarks.

    Args:
        points: ``(T, 468 or more, 3)`` in any unit with x right, y down and z into the scene.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    if (
        points.ndim != 3
        or points.shape[1] < VERTICES
        or points.shape[2] != 3
        or not np.isfinite(points).all()
    ):
        raise ValueError(f"landmarks must be finite and (T, 468 or more, 3), not {points.shape}")
    rows, trust, middle = _rest()
    placed = points.astype(np.float64)
    scale, turn, shift = weighted_umeyama(
        BuiltinFaceModel.load().mean[rows].astype(np.float64), placed[:, rows], trust
    )
    shape = (
        np.einsum("tji,tvj->tvi", turn, placed[:, POINTS] - shift[:, None]) / scale[:, None, None]
    )
    centre = scale[:, None] * (turn @ middle) + shift
    direction = turn[:, :2, 0] / np.linalg.norm(turn[:, :2, 0], axis=1, keepdims=True)
    return MouthTrack(shape.astype(np.float32), centre[:, :2], direction * scale[:, None])


def mouth_picture(frame: np.ndarray, centre: np.ndarray, axis: np.ndarray, size: int) -> np.ndarray:
    """The upright square around one frame's mouth.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        centre: ``(2,)`` pixels.
        axis: ``(2,)`` pixels, one IOD to the face's right-hand side of the image.
        size: side of the result.

    Returns:
        ``(size, size)`` uint8 grey; beyond the frame its border is repeated.
    """
    times = max(1, int(np.ceil(np.hypot(*axis) * SIDE / size)))
    side = size * times
    step = axis * SIDE / side
    down = np.array([-step[1], step[0]])
    corner = centre - (side - 1) / 2 * (step + down) - 0.5
    matrix = np.stack([step, down, corner], axis=1)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    picture = cv2.warpAffine(
        grey,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) if times > 1 else picture
