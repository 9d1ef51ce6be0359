"""How far each place of the picture follows the head, and how far the body, which sways along.

Turns of the head leave the shoulders where they are, shifts of it take them along: people move from the hips. What both do
to the base of the neck tells them apart.
"""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.background_mesh import GRID, follow_field
from emo_lightning.renderers.mesh.geometry.coordinates import Pose

REACH = 0.72
"""IOD beside the head over which a background that cannot be told from it gives way falls to 1/e."""
SHOULDERS = (0.95, 1.6)
"""IOD below the chin between which shoulders move as one; where the picture goes on below they end there."""
LOW = 0.7
"""Share of what a tight frame shows below the chin from where on shoulders begin all the same."""
RIM = 6.0
"""Cells over which what moves comes to rest before a still side."""
HAIR = 2
"""Cells of the grid by which what moves with the head reaches beyond its outline: strands."""


def follow(
    points: np.ndarray, pose: Pose, person: np.ndarray | None, still: tuple[bool, bool, bool, bool]
) -> tuple[np.ndarray, np.ndarray]:
    """How rigidly each place follows the skull, and how far the shoulders, each ``(GRID, GRID)``; what is left stays.

    The head is the face's oval, an ellipse of skull and hair around it, and what hair the matte shows beyond.

    Args:
        points: ``(468, 3)`` crop units.
        pose: of the portrait.
        person: mask of the person or None; without it the wall gives way beside the head, up to the frame's sides.
        still: which sides (left, top, right, bottom) must stay where they are because the picture goes on there.
    """
    head, below = _skull(points, pose), _below(pose, points[topology.CHIN])
    start = min(SHOULDERS[0] * pose.scale, LOW * float(below.max()))
    body = below > start
    if person is not None:
        coarse = cv2.resize(person.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        hair = (
            cv2.dilate((coarse > 0.3).astype(np.uint8), np.ones((2 * HAIR + 1,) * 2, np.uint8)) > 0
        )
        head |= hair & (below < -0.25 * pose.scale)
        body &= coarse > 0.5
    if still[3]:
        body &= below < start + (SHOULDERS[1] - SHOULDERS[0]) * pose.scale
    held = (
        np.where(body, 0.0, np.where(head, 1.0, np.nan)),
        np.where(body, 1.0, np.where(head, 0.0, np.nan)),
    )
    if person is not None:
        for side in (
            0,
            -1,
        ):  # what a side cuts off stretches: nothing is known beyond that could come in
            for field in held:
                field[coarse[:, side] > 0.2, side] = 0.0
    if person is None:
        reach = np.where(below < -0.3 * pose.scale, REACH * pose.scale, np.inf)
        still = (True, True, True, still[3])
    else:
        reach = np.full(head.shape, np.inf)
    fade = _fade(still) if person is not None else 1.0
    return fade * follow_field(held[0], reach, still), fade * follow_field(held[1], reach, still)


def _fade(still: tuple[bool, bool, bool, bool]) -> np.ndarray:
    """``(GRID, GRID)`` that falls to 0 towards the still sides: rings are coarse out there."""
    rise = np.clip(np.arange(GRID) / RIM, 0.0, 1.0)
    one = np.ones(GRID)
    across = (rise if still[0] else one) * (rise[::-1] if still[2] else one)
    down = (rise if still[1] else one) * (rise[::-1] if still[3] else one)
    return down[:, None] * across[None, :]


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
