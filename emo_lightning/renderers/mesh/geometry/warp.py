"""From moved vertices to the dense backward flow: face, eye and mouth holes, and the rings around."""

from __future__ import annotations

import numpy as np

from emo_lightning.renderers.mesh.eyes.gaze import Gaze
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.background_mesh import Lattice
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels
from emo_lightning.renderers.mesh.geometry.raster import rasterise

RING_SETBACK = 0.03
"""IOD by which the rings lie behind the face, so that a cheek turned away hides what is behind it."""

NECK = (0.0, 2.0, 0.5)
"""The neck's base in model space: what turns the head by itself leaves it where it is."""
BODY = 0.5
"""How much of its way the shoulders take."""
SINK = 0.5
"""How far the eyeball goes down as its lid shuts, as a share of the lid's way; less than in proportion before."""
MIRRORED = 0.35
"""Share of what lies above the forehead that may be mirrored at the frame's top: hair, not skin."""


class Warp:
    """The mesh of one portrait, ready to be moved.

    Eye holes get vertices of their own: the eyeball does not move with the lids, so where a lid covers it, the hole
    shows less of it instead of squeezing it.
    """

    def __init__(
        self,
        triangles: np.ndarray,
        points: np.ndarray,
        pose: Pose,
        lattice: Lattice,
        gaze: Gaze,
        size: int,
    ) -> None:
        self.points, self.pose, self.lattice, self.gaze, self.size = (
            points,
            pose,
            lattice,
            gaze,
            size,
        )
        self.rest = pose.undo(points)
        self.rings = pose.undo(lattice.points)
        chin = min(points[topology.CHIN, 1], 0.9)
        # Shoulders that rise stretch: nothing is known below the frame that could come up.
        self.foot = np.clip((1.0 - lattice.points[:, 1]) / (1.0 - chin), 0.0, 1.0)
        count = topology.VERTICES + len(lattice.points)
        self.lids = np.concatenate([np.concatenate(eye) for eye in topology.EYES])
        holes, start = [], count
        for upper, lower in topology.EYES:
            rows = np.arange(len(upper)) + start
            holes.append(
                topology.strip(np.concatenate([rows]), np.concatenate([rows + len(upper)]))
            )
            start += len(upper) + len(lower)
        mouth = topology.strip(topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)
        self.triangles = np.concatenate([triangles, lattice.triangles, *holes, mouth]).astype(
            np.int32
        )
        self.source = np.concatenate(
            [pixels(points, size), pixels(lattice.points, size), pixels(points[self.lids], size)]
        ).astype(np.float32)
        self.above = np.float32(-MIRRORED * max(self.source[topology.FOREHEAD, 1], 0.0))
        self.lid_slice = slice(count, count + len(self.lids))

    def flow(self, vertices: np.ndarray, pose: Pose) -> np.ndarray:
        """Where each pixel of a frame comes from.

        Args:
            vertices: ``(468, 3)`` model space: the portrait's own shape with the frame's expression.
            pose: of the frame.

        Returns:
            ``(2, S, S)`` float32 coordinates for ``cv2.remap``.
        """
        face = pose.apply(vertices)
        rings = self._rings(face, pose)
        moved = np.concatenate([face, rings, face[self.lids]])
        source = self.source.copy()
        source[self.lid_slice] = self._eyeball(vertices, pose)
        size = self.size
        row = np.arange(size, dtype=np.float32)
        flow = np.empty((2, size, size), np.float32)
        flow[0], flow[1] = row[None, :], row[:, None]
        buffer = np.full((size, size), np.inf, np.float32)
        rasterise(
            self.triangles,
            pixels(moved, size).astype(np.float32),
            moved[:, 2].astype(np.float32),
            source,
            flow,
            buffer,
        )
        np.maximum(flow[1], self.above, out=flow[1])
        return flow

    def _rings(self, face: np.ndarray, pose: Pose) -> np.ndarray:
        lattice = self.lattice
        rigid = pose.apply(self.rings)
        own = face[topology.OVAL] - pose.apply(self.rest[topology.OVAL])
        own = np.tile(own, (len(lattice.points) // len(topology.OVAL), 1))
        moved = (
            lattice.points
            + lattice.rigid[:, None] * (rigid - lattice.points)
            + lattice.expression[:, None] * own
        )
        moved[:, :2] += lattice.body[:, None] * self._sway(pose)
        rise = moved[:, 1] - lattice.points[:, 1]
        moved[:, 1] = lattice.points[:, 1] + np.where(rise < 0, self.foot, 1.0) * rise
        moved[:, 2] = rigid[:, 2] + RING_SETBACK * pose.scale
        return moved

    def _sway(self, pose: Pose) -> np.ndarray:
        """By how much the shoulders move ``(2,)``, crop units."""
        base = np.array([NECK])
        return BODY * (pose.apply(base) - self.pose.apply(base))[0, :2]

    def _eyeball(self, vertices: np.ndarray, pose: Pose) -> np.ndarray:
        """Where in the portrait the eye holes' vertices look: the place itself where a lid came down, the lid's own
        edge where it drew back (there is no picture of what it uncovers). An eye that turns looks from further on, and one
        that closes sinks with its lid, so that there is iris in what is left open, not white."""
        there = pixels(self.pose.apply(vertices[self.lids]), self.size)
        own = self.source[self.lid_slice]
        up = self.pose.turn[:2, 1]
        beyond = (there - own) @ up
        start = 0
        for upper, lower in topology.EYES:
            eye, end = slice(start, start + len(upper)), start + len(upper) + len(lower)
            fall = np.maximum(beyond[eye], 0.0)
            opening = float(((own[eye.stop : end] - own[eye])[1:-1] @ up).max())
            sunk = (
                SINK
                * fall.max()
                * min(fall.max() / max(opening, 1.0), 1.0)
                * self.gaze.weights[start:end, 0]
            )
            sunk[: len(upper)] = np.minimum(sunk[: len(upper)], fall)
            beyond[eye] = np.minimum(beyond[eye], 0.0) + sunk[: len(upper)]
            beyond[eye.stop : end] = np.maximum(beyond[eye.stop : end], 0.0) + sunk[len(upper) :]
            start = end
        return (
            there - beyond[:, None] * up - self.gaze.shift(pose) * self.pose.scale * self.size / 2.0
        )
