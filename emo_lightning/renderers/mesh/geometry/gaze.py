"""The eyes' holes follow the gaze.

Eyes turn against the head so that they stay on their target (the vestibulo-ocular reflex, gain
about 0.9; Leigh & Zee, *The Neurology of Eye Movements*, 2015); glances come on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, smoothstep

GAIN = 0.9
EYEBALL = 0.13
"""Radius at which the iris sits, IOD: 12 mm of 90."""
MOST = 0.045
"""IOD by which the iris moves at most: about 20 degrees."""
FOLLOW = (1.0, 0.5)
"""Shares of the iris' vertical motion that the upper and the lower lid's edge take."""


@dataclass(frozen=True)
class Gaze:
    """The two eyes of a portrait.

    Attributes:
        pose: the portrait's own, in which the eyes are as they are.
        weights: ``(36, 2)`` of the eye holes' vertices across and down: 1 by the iris, 0 at the
            corners.
    """

    pose: Pose
    weights: np.ndarray

    def shift(self, pose: Pose, glance: np.ndarray | None = None) -> np.ndarray:
        """By how much the holes' vertices move ``(36, 2)``, in IOD of the portrait's picture."""
        turned = GAIN * (self.pose.turn[2] - pose.turn[2])[:2]
        moved = EYEBALL * (turned if glance is None else turned + glance)
        most = float(np.hypot(*moved))
        moved *= MOST * np.tanh(most / MOST) / max(most, 1e-9)
        return (self.weights * moved) @ self.pose.turn[:2, :2].T


def prepare_gaze(points: np.ndarray, rest: np.ndarray, pose: Pose) -> Gaze:
    """Weights of a portrait's eye holes by the place of its irises.

    Args:
        points: ``(478|468, 3)`` landmarks in crop units; without irises they are taken to be in the
            middle.
        rest: ``(468, 3)`` model space.
        pose: of the portrait.
    """
    weights = []
    for (upper, lower), iris in zip(topology.EYES, topology.IRIS_CENTRES, strict=True):
        start, end = rest[upper[0], 0], rest[upper[-1], 0]
        centre = (start + end) / 2
        if len(points) > iris:
            centre = pose.undo(points[iris : iris + 1].astype(np.float64))[0, 0]
        centre = np.clip((centre - start) / (end - start), 0.3, 0.7)
        for rows, follow in zip((upper, lower), FOLLOW, strict=True):
            along = (rest[rows, 0] - start) / (end - start)
            near = np.where(along < centre, along / centre, (1 - along) / (1 - centre))
            share = smoothstep(0.0, 0.6, near)
            weights.append(np.stack([share, follow * share], axis=1))
    return Gaze(pose, np.concatenate(weights))
