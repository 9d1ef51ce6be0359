"""How much of the picture the head carries with it, and what stays still behind."""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh import matte, topology
from emo_lightning.renderers.mesh.geometry import Pose
from emo_lightning.renderers.mesh.lattice import GRID, follow_field

REACH = 0.72
"""IOD beside the head over which the background's giving way falls to 1/e; below the chin neck and chest spread it further."""
SHOULDERS = 1.0
"""IOD below the chin from where on shoulders move as one."""
BODY = 0.22
"""How much of the head's motion they take."""


def follow(image: np.ndarray, points: np.ndarray, pose: Pose) -> np.ndarray:
    """The field ``(GRID, GRID)`` of how rigidly each place follows the skull: 1 on the head, 0 on what stays.

    The head is the face's oval, an ellipse of skull and hair around it, and what hair the colours show beyond.

    Args:
        image: ``(S, S, 3)`` uint8.
        points: ``(468, 3)`` crop units.
        pose: of the portrait.
    """
    head, below = _skull(points, pose), _below(pose, points[topology.CHIN])
    person = matte.person(image, points)
    if person is not None:
        coarse = cv2.resize(person.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        head |= (coarse > 0.3) & (below < -0.25 * pose.scale)
    body = below > SHOULDERS * pose.scale
    if person is not None:
        body &= coarse > 0.5
    held = np.where(body, BODY, np.where(head, 1.0, np.nan))
    return follow_field(held, np.where(below < -0.3 * pose.scale, REACH * pose.scale, np.inf))


def _skull(points: np.ndarray, pose: Pose) -> np.ndarray:
    """The head ``(GRID, GRID)`` bool by anatomy alone."""
    line = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    x, y = np.meshgrid(line, line)
    oval = points[topology.OVAL, :2]
    middle, size = oval.mean(axis=0), np.ptp(oval, axis=0) / 2
    up = _up(pose)
    right = np.array([-up[1], up[0]])
    centre = middle + 0.22 * size[1] * up
    a = (x - centre[0]) * right[0] + (y - centre[1]) * right[1]
    b = (x - centre[0]) * up[0] + (y - centre[1]) * up[1]
    head = (a / (1.12 * size[0])) ** 2 + (b / (1.22 * size[1])) ** 2 < 1
    face = np.zeros((GRID, GRID), np.uint8)
    cv2.fillPoly(face, [np.round((oval + 1) / 2 * GRID - 0.5).astype(np.int32)], 1)
    return (head & (b > -0.22 * size[1])) | (face > 0)


def _below(pose: Pose, place: np.ndarray) -> np.ndarray:
    """How far each cell of the grid lies below a place, along the head's own axis, in crop units."""
    line = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    x, y = np.meshgrid(line, line)
    up = _up(pose)
    return (x - place[0]) * -up[0] + (y - place[1]) * -up[1]


def _up(pose: Pose) -> np.ndarray:
    return -pose.turn[:2, 1] / np.hypot(*pose.turn[:2, 1])
