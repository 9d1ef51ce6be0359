"""The face's outline where the picture has the face: a tracked outline often lies a little beyond the cheek, on the wall.

When the head turns that way, the outline's thin strip is stretched, and a stripe of wall or of the rim's dark pixels would
lie along the cheek.
"""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels

REACH = 0.14
"""IOD within which the outline is looked for inwards."""
INSIDE = 0.02
"""IOD of person that must lie beyond a vertex: as far as the rim's mixed pixels go."""
STEPS = 29


def draw_in(rest: np.ndarray, pose: Pose, alpha: np.ndarray) -> np.ndarray:
    """The shape with vertices near the outline that lie on the wall drawn towards the face's middle until they do not.

    Args:
        rest: ``(468, 3)`` model space.
        pose: of the portrait.
        alpha: ``(S, S)``, how much of each pixel is the person.
    """
    size = alpha.shape[0]
    unit = pose.scale * size / 2
    radius = max(1, round(INSIDE * unit))
    inner = cv2.erode(
        (alpha > 0.97).astype(np.uint8),
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2),
    )
    places = pixels(pose.apply(rest), size)
    middle = places[[topology.NASION, topology.CHIN]].mean(axis=0)
    away = middle - places
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    steps = np.linspace(0.0, REACH * unit, STEPS)
    tried = places[:, None] + steps[:, None] * away[:, None]
    column, row = (np.clip(tried[..., axis].astype(int), 0, size - 1) for axis in (0, 1))
    on = inner[row, column] > 0
    # Where nothing within reach is the person, the matte is not to be believed; beyond the frame it says nothing.
    seen = ((places >= 0) & (places < size)).all(axis=1)
    moved = np.where(on.any(axis=1) & seen, steps[np.argmax(on, axis=1)], 0.0)
    out = rest.copy()
    out += pose.undo(pose.shift + np.pad(moved[:, None] * away / (size / 2), ((0, 0), (0, 1))))
    return out
