"""Moved vertices to the dense backward flow: face, eye and mouth holes, rings around."""

from __future__ import annotations

import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.background_mesh import BackgroundMesh
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels
from emo_lightning.renderers.mesh.geometry.gaze import Gaze
from emo_lightning.renderers.mesh.geometry.raster import rasterise

RING_SETBACK = 0.03
"""IOD by which the rings lie behind the face: a cheek turned away hides them."""
NECK = (0.0, 2.0, 0.5)
"""The neck's base in model space: the centre of the head's rotation."""
BODY = 0.5
"""The shoulders' share of the motion of the neck's base."""
SINK = 0.5
"""Share of the lid's motion by which the eyeball goes down as the eye shuts."""
MIRRORED = 0.35
"""Share of what lies above the forehead that may be mirrored at the frame's top: hair, not skin."""


class Warp:
    """The mesh of one portrait, ready to be moved.

    Eye holes get vertices of their own: the eyeball does not move with the lids, so where a lid
    covers it, the hole shows less of it instead of squeezing it.

    Args:
        triangles: ``(F, 3)`` of the face, without eyes and mouth.
        points: ``(468, 3)`` crop units.
        pose: of the portrait.
        rings: the mesh around the face.
        gaze: of the portrait.
        size: side of the portrait in pixels.
    """

    def __init__(
        self, triangles: np.ndarray, points: np.ndarray, pose: Pose, rings: BackgroundMesh,
        gaze: Gaze, size: int,
    ) -> None:  # fmt: skip
        self.pose, self.background, self.gaze, self.size = pose, rings, gaze, size
        self.rest, self.rings = pose.undo(points), pose.undo(rings.points)
        chin = min(points[topology.CHIN, 1], 0.9)
        # Shoulders that rise stretch: nothing is known below the frame that could come up.
        self.foot = np.clip((1.0 - rings.points[:, 1]) / (1.0 - chin), 0.0, 1.0)
        start = topology.VERTICES + len(rings.points)
        self.lids = np.concatenate([np.concatenate(eye) for eye in topology.EYES])
        self.lid_slice = slice(start, start + len(self.lids))
        eye_rows = start + np.arange(len(self.lids)).reshape(2, 2, -1)
        holes = [topology.hole_triangles(*rows) for rows in eye_rows]
        holes.append(topology.hole_triangles(topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER))
        self.triangles = np.concatenate([triangles, rings.triangles, *holes]).astype(np.int32)
        parts = (points, rings.points, points[self.lids])
        self.source = np.concatenate([pixels(p, size) for p in parts]).astype(np.float32)
        self.above = np.float32(-MIRRORED * max(self.source[topology.FOREHEAD, 1], 0.0))

    def flow(
        self, vertices: np.ndarray, pose: Pose, glance: np.ndarray | None = None
    ) -> np.ndarray:
        """Where each pixel of a frame comes from.

        Args:
            vertices: ``(468, 3)`` model space: the portrait's own shape with the frame's
                expression.
            pose: of the frame.
            glance: ``(2,)`` radians of the gaze beside the camera; none without.

        Returns:
            ``(2, S, S)`` float32 coordinates for ``cv2.remap``.
        """
        face = pose.apply(vertices)
        moved = np.concatenate([face, self._moved_rings(face, pose), face[self.lids]])
        source = self.source.copy()
        source[self.lid_slice] = self._eyeball_source(vertices, self.gaze.shift(pose, glance))
        size = self.size
        row = np.arange(size, dtype=np.float32)
        flow = np.empty((2, size, size), np.float32)
        flow[0], flow[1] = row[None, :], row[:, None]
        target, depth = pixels(moved, size).astype(np.float32), moved[:, 2].astype(np.float32)
        buffer = np.full((size, size), np.inf, np.float32)
        rasterise(self.triangles, target, depth, source, flow, buffer)
        np.maximum(flow[1], self.above, out=flow[1])
        return flow

    def _moved_rings(self, face: np.ndarray, pose: Pose) -> np.ndarray:
        """The rings ``(M, 3)`` in this frame, crop units, around a face ``(468, 3)``."""
        rings, rigid = self.background, pose.apply(self.rings)
        own = face[topology.OVAL] - pose.apply(self.rest[topology.OVAL])
        own = np.tile(own, (len(rings.points) // len(topology.OVAL), 1))
        moved = rings.points + rings.rigid[:, None] * (rigid - rings.points)
        moved = moved + rings.expression[:, None] * own
        base = np.array([NECK])
        sway = BODY * (pose.apply(base) - self.pose.apply(base))[0, :2]
        moved[:, :2] += rings.body[:, None] * sway
        rise = moved[:, 1] - rings.points[:, 1]
        moved[:, 1] = rings.points[:, 1] + np.where(rise < 0, self.foot, 1.0) * rise
        moved[:, 2] = rigid[:, 2] + RING_SETBACK * pose.scale
        return moved

    def _eyeball_source(self, vertices: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Source pixels ``(36, 2)`` of the eye holes' vertices.

        The place itself where a lid came down; the lid's own edge where it drew back, as no picture
        shows what it uncovers. An eye that turns shows what lies further on, and one that closes
        sinks with its lid, so that what stays open shows iris, not white.
        """
        there = pixels(self.pose.apply(vertices[self.lids]), self.size)
        own = self.source[self.lid_slice]
        up = self.pose.turn[:2, 1]
        beyond = (there - own) @ up
        start = 0
        for upper, lower in topology.EYES:
            eye, end = slice(start, start + len(upper)), start + len(upper) + len(lower)
            fall = np.maximum(beyond[eye], 0.0)
            opening = float(((own[eye.stop : end] - own[eye])[1:-1] @ up).max())
            depth = SINK * fall.max() * min(fall.max() / max(opening, 1.0), 1.0)
            sunk = depth * self.gaze.weights[start:end, 0]
            sunk[: len(upper)] = np.minimum(sunk[: len(upper)], fall)
            beyond[eye] = np.minimum(beyond[eye], 0.0) + sunk[: len(upper)]
            beyond[eye.stop : end] = np.maximum(beyond[eye.stop : end], 0.0) + sunk[len(upper) :]
            start = end
        return there - beyond[:, None] * up - shift * self.pose.scale * self.size / 2.0
