"""How far each place of the picture follows the head, and how far the shoulders.

Turns of the head leave the shoulders where they are, shifts of it take them along: people move from
the hips. The motion of the neck's base separates the two.
"""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh.background.inpaint import harmonic_fill
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose

GRID = 48
"""Side of the fields, in cells over the frame."""
REACH = 0.72
"""IOD beside the head over which the motion of an unsegmented background decays to 1/e."""
SHOULDERS = (0.95, 1.6)
"""IOD below the chin at which shoulders begin, and end where the picture goes on below."""
LOW = 0.7
"""Share of what a tight frame shows below the chin at which shoulders begin at the latest."""
RIM = 6.0
"""Cells over which motion fades out before a still side."""
HAIR = 2
"""Cells by which what moves with the head reaches beyond its outline: strands."""

Sides = tuple[bool, bool, bool, bool]
"""Left, top, right, bottom."""


def follow_weights(
    points: np.ndarray, pose: Pose, person: np.ndarray | None, still: Sides
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the head's and of the shoulders' motion, each ``(GRID, GRID)``.

    The head is the face's oval, an ellipse of skull and hair around it, and hair that the matte
    adds.

    Args:
        points: ``(468, 3)`` crop units.
        pose: of the portrait.
        person: mask of the person or None; without it the background beside the head moves too, up
            to the frame's sides.
        still: the sides that must not move because the picture goes on there.
    """
    head, below = _skull(points, pose), _below(pose, points[topology.CHIN])
    start = min(SHOULDERS[0] * pose.scale, LOW * float(below.max()))
    body = below > start
    if person is not None:
        coarse = cv2.resize(person.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        disc = np.ones((2 * HAIR + 1,) * 2, np.uint8)
        hair = cv2.dilate((coarse > 0.3).astype(np.uint8), disc) > 0
        head |= hair & (below < -0.25 * pose.scale)
        body &= coarse > 0.5
    if still[3]:
        body &= below < start + (SHOULDERS[1] - SHOULDERS[0]) * pose.scale
    rigid = np.where(body, 0.0, np.where(head, 1.0, np.nan))
    sway = np.where(body, 1.0, np.where(head, 0.0, np.nan))
    if person is None:
        reach = np.where(below < -0.3 * pose.scale, REACH * pose.scale, np.inf)
        still = (True, True, True, still[3])
        return _field(rigid, reach, still), _field(sway, reach, still)
    for side in (0, -1):
        # What a side cuts off stretches: nothing is known beyond that could come in.
        rigid[coarse[:, side] > 0.2, side] = sway[coarse[:, side] > 0.2, side] = 0.0
    reach, fade = np.full(head.shape, np.inf), _still_fade(still)
    return fade * _field(rigid, reach, still), fade * _field(sway, reach, still)


def _field(known_values: np.ndarray, reach: np.ndarray, still: Sides) -> np.ndarray:
    """The screened harmonic field ``(GRID, GRID)`` in [0, 1] between known places, nan elsewhere.

    It is level at the frame's sides and 0 at still ones, but a head cut off at the top moves there.
    ``reach`` is the crop units over which it decays by itself; infinite: harmonic.
    """
    fixed = known_values.copy()
    if still[1]:
        fixed[0] = np.where(fixed[0] == 1.0, 1.0, 0.0)
    for at, zero in ((np.s_[:, 0], still[0]), (np.s_[:, -1], still[2]), (np.s_[-1], still[3])):
        if zero:
            fixed[at] = 0.0
    filled = harmonic_fill(fixed[..., None], np.isfinite(fixed), 1.0 / (GRID * reach))
    return np.clip(filled[..., 0], 0.0, 1.0)


def _still_fade(still: Sides) -> np.ndarray:
    """``(GRID, GRID)`` that falls to 0 towards the still sides: rings are coarse out there."""
    rise, one = np.clip(np.arange(GRID) / RIM, 0.0, 1.0), np.ones(GRID)
    left, top, right, bottom = (rise if side else one for side in still)
    return (top * bottom[::-1])[:, None] * (left * right[::-1])[None, :]


def _skull(points: np.ndarray, pose: Pose) -> np.ndarray:
    """The head ``(GRID, GRID)`` bool by anatomy alone."""
    x, y = _cell_centres()
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
    """How far each cell lies below a place, along the head's own axis, in crop units."""
    x, y = _cell_centres()
    up = _up(pose)
    return (x - place[0]) * -up[0] + (y - place[1]) * -up[1]


def _cell_centres() -> list[np.ndarray]:
    line = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    return np.meshgrid(line, line)


def _up(pose: Pose) -> np.ndarray:
    return -pose.turn[:2, 1] / np.hypot(*pose.turn[:2, 1])
