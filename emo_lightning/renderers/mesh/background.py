"""What stays still behind the head, and what the head carries with it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.renderers.mesh import topology
from emo_lightning.renderers.mesh.geometry import Pose
from emo_lightning.renderers.mesh.lattice import GRID


@dataclass(frozen=True)
class Scene:
    """The portrait divided.

    Attributes:
        head, still: ``(GRID, GRID)`` bool, what moves as the skull does, and what does not move.
    """

    head: np.ndarray
    still: np.ndarray


def read(image: np.ndarray, points: np.ndarray, pose: Pose) -> Scene:
    """Find the head by its outline: the face's oval, and an ellipse of skull and hair around it."""
    line = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    x, y = np.meshgrid(line, line)
    oval = points[topology.OVAL, :2]
    middle, size = oval.mean(axis=0), np.ptp(oval, axis=0) / 2
    up = -pose.turn[:2, 1] / np.hypot(*pose.turn[:2, 1])
    right = np.array([-up[1], up[0]])
    centre = middle + 0.22 * size[1] * up
    a = (x - centre[0]) * right[0] + (y - centre[1]) * right[1]
    b = (x - centre[0]) * up[0] + (y - centre[1]) * up[1]
    head = (a / (1.12 * size[0])) ** 2 + (b / (1.22 * size[1])) ** 2 < 1
    face = np.zeros((GRID, GRID), np.uint8)
    cv2.fillPoly(face, [np.round((oval + 1) / 2 * GRID - 0.5).astype(np.int32)], 1)
    head = (head & (b > -0.22 * size[1])) | (face > 0)
    below = (x - points[topology.CHIN, 0]) * -up[0] + (y - points[topology.CHIN, 1]) * -up[1]
    still = below > 1.0 * pose.scale
    return Scene(head & ~still, still)


def compose(scene: Scene, image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The frame ``(S, S, 3)`` uint8 that the flow ``(2, S, S)`` makes of the portrait."""
    return cv2.remap(image, flow[0], flow[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
