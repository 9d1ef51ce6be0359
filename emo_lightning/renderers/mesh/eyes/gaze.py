"""Where the eyes look while the head moves.

Eyes turn against the head so that what they look at stays where it is (the vestibulo-ocular reflex, gain about 0.9; Leigh &
Zee, *The Neurology of Eye Movements*, 2015). When the head has moved on by a few degrees, they jump a little to the side and
rest there. Both follow from the head's pose alone, so a head at rest has eyes at rest and frames need no past.
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
CELL = 0.07
"""Radians that the head moves between two jumps of the eyes."""
JUMP = np.array([0.035, 0.018])
"""Radians across and down of the largest jump."""
QUICK = 0.2
"""Share of a cell over which a jump happens."""
FOLLOW = (1.0, 0.5)
"""How much of the iris' way up and down the upper and the lower lid's edge take."""
IRIS = (468, 473)
"""Iris centres, in the order of :data:`emo_lightning.renderers.mesh.geometry.topology.EYES`."""


@dataclass(frozen=True)
class Gaze:
    """The two eyes of a portrait.

    Attributes:
        pose: the portrait's own, in which the eyes are as they are.
        weights: ``(36, 2)`` of each vertex of the eyes' holes across and down: 1 by the iris, 0 at the corners.
        targets: ``(16, 16, 2)`` where each cell of head poses looks, in shares of JUMP; 0 around rest.
    """

    pose: Pose
    weights: np.ndarray
    targets: np.ndarray

    def shift(self, pose: Pose) -> np.ndarray:
        """By how much the holes' vertices move ``(36, 2)``, in IOD of the portrait's picture."""
        before, now = -self.pose.turn[2], -pose.turn[2]
        look = EYEBALL * (GAIN * (now - before)[:2] + self._rest(now - before))
        most = float(np.hypot(*look))
        look *= MOST * np.tanh(most / MOST) / max(most, 1e-9)
        return (self.weights * look) @ self.pose.turn[:2, :2].T

    def _rest(self, turned: np.ndarray) -> np.ndarray:
        """The place beside the camera that the eyes rest on, radians ``(2,)``; it jumps from one cell of poses to the next."""
        place = turned[:2] / CELL + 8.0
        cell = np.clip(np.floor(place).astype(int), 0, 14)
        a, b = smoothstep(0.5 - QUICK / 2, 0.5 + QUICK / 2, place - cell)
        four = self.targets[cell[0] : cell[0] + 2, cell[1] : cell[1] + 2]
        return JUMP * (
            (four[0, 0] * (1 - b) + four[0, 1] * b) * (1 - a)
            + (four[1, 0] * (1 - b) + four[1, 1] * b) * a
        )


def read(points: np.ndarray, rest: np.ndarray, pose: Pose) -> Gaze:
    """Find the irises.

    Args:
        points: ``(478|468, 3)`` landmarks in crop units; without irises they are taken to be in the middle.
        rest: ``(468, 3)`` model space.
        pose: of the portrait.
    """
    weights = []
    for (upper, lower), iris in zip(topology.EYES, IRIS, strict=True):
        start, end = rest[upper[0], 0], rest[upper[-1], 0]
        centre = (
            pose.undo(points[iris : iris + 1].astype(np.float64))[0, 0]
            if len(points) > iris
            else (start + end) / 2
        )
        centre = np.clip((centre - start) / (end - start), 0.3, 0.7)
        for rows, follow in zip((upper, lower), FOLLOW, strict=True):
            along = (rest[rows, 0] - start) / (end - start)
            near = np.where(along < centre, along / centre, (1 - along) / (1 - centre))
            share = smoothstep(0.0, 0.6, near)
            weights.append(np.stack([share, follow * share], axis=1))
    targets = np.random.default_rng(0).uniform(-1.0, 1.0, (16, 16, 2))
    targets[8, 8] = 0.0
    return Gaze(pose, np.concatenate(weights), targets)
