"""Inputs of the refining network: planes of a portrait, and of a frame of the geometric renderer.

All planes have cells of 2 x 2 pixels of a work picture, whose side is chosen such that faces of all
portraits have about the same size in it. Coordinates in -1..1 span the picture's sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.face.pose import angles
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import (
    Pose,
    fill_outline,
    pixels,
    smoothstep,
)
from emo_lightning.renderers.mesh.geometry.raster import rasterise
from emo_lightning.renderers.mesh.renderer import PreparedMesh, render_frame

CELL = 2
"""Pixels of a cell's side."""
SNAP = 8
"""Pixels of which the work picture's side, and the corners of the refined region, are multiples."""
USUAL = 72.0
"""Pixels between the outer eye corners in a work picture, about those of a 256 crop."""
FADE = 0.14
"""IOD outside the face's oval over which the mask of what may be changed falls to 0."""
MARGIN = 0.3
"""IOD around the face's oval that the network sees."""
MOST_STRETCH = 1.5
"""Natural logarithm at which ratios of areas are clipped."""


@dataclass(frozen=True)
class FrameInputs:
    """A frame and the network's inputs for it; h and w count the region's cells.

    Attributes:
        frame: ``(S, S, 3)`` uint8, the geometric renderer's.
        region: rows and columns of the work picture.
        flow: ``(h, w, 2)`` float32, where in the portrait each cell comes from, -1..1.
        moving: ``(6, h, w)`` float32: mouth's inside, eyes, upper lids, stretch, and shift in x and
            y (IOD).
        condition: ``(2 E + 3,)`` float32: the frame's expression, the portrait's, and the turn from
            it, radians.
    """

    frame: np.ndarray
    region: tuple[slice, slice]
    flow: np.ndarray
    moving: np.ndarray
    condition: np.ndarray


def work_side(size: int, scale: float) -> int:
    """Side of the work picture for a pose's ``scale``: the portrait's over an integer."""
    shrink = max(1, round(scale * size / 2.0 / USUAL))
    return max(SNAP, SNAP * round(size / shrink / SNAP))


def portrait_planes(source: PreparedMesh, triangles: np.ndarray, side: int) -> np.ndarray:
    """Planes of a prepared portrait, which do not change from frame to frame.

    Args:
        source: from the geometric renderer.
        triangles: ``(F, 3)`` of the face model.
        side: of the work picture, a multiple of 8.

    Returns:
        ``(6, h, h)`` float32, h half of ``side``: RGB in 0..1, place on the mean face in x and y
        (IOD), share of face.
    """
    cells, pose = side // CELL, source.pose
    points = pose.apply(source.retarget.rest)
    planes = np.empty((6, cells, cells), np.float32)
    small = cv2.resize(source.image, (cells, cells), interpolation=cv2.INTER_AREA)
    planes[:3] = small.transpose(2, 0, 1) / np.float32(255.0)
    row, column = np.mgrid[:cells, :cells] + 0.5
    depth = np.full((cells, cells), pose.shift[2])
    at = np.stack([2.0 * column / cells - 1.0, 2.0 * row / cells - 1.0, depth], axis=-1)
    place = pose.undo(at.reshape(-1, 3))[:, :2].T.reshape(2, cells, cells).astype(np.float32) - 0.5
    # The kernel writes the mesh's places half a unit less, as it does pixels.
    buffer = np.full((cells, cells), np.inf, np.float32)
    goal = pixels(points, cells).astype(np.float32)
    mean = source.retarget.mean[:, :2].astype(np.float32)
    rasterise(triangles, goal, points[:, 2].astype(np.float32), mean, place, buffer)
    planes[3:5] = np.clip(place + 0.5, -2.0, 2.0)
    planes[5] = _face_mask(goal[topology.OVAL], cells, pose.scale * cells / 2.0)
    return planes


def frame_inputs(
    source: PreparedMesh, side: int, vertices: np.ndarray, pose: Pose, exp: np.ndarray,
    whole: bool = False, glance: np.ndarray | None = None,
) -> FrameInputs:  # fmt: skip
    """Render a frame by geometry and compute the network's inputs for it.

    Args:
        source: from the geometric renderer.
        side: of the work picture, a multiple of 8.
        vertices, pose, exp, glance: as of
            :func:`emo_lightning.renderers.mesh.renderer.render_frame`.
        whole: take all of the work picture for the region, not the face's alone.
    """
    frame = render_frame(source, vertices, pose, exp, glance)
    cells, size = side // CELL, frame.shape[0]
    placed = pose.apply(vertices)
    region = (slice(0, side),) * 2 if whole else _region(placed[topology.OVAL], pose.scale, side)
    rows, columns = (slice(s.start // CELL, s.stop // CELL) for s in region)
    dense = (
        cv2.resize(axis, (cells, cells), interpolation=cv2.INTER_AREA)[rows, columns]
        for axis in source.warp.flow(vertices, pose, glance)
    )
    flow = (np.stack(list(dense), axis=-1) + 0.5) * np.float32(2.0 / size) - 1.0
    outlines = _outlines(placed, cells)[:, rows, columns]
    shift = _shift(flow, (rows, columns), cells, source, placed)
    moving = np.concatenate([outlines, _stretch(flow, cells), shift])
    turn = angles(pose.turn @ source.pose.turn.T)
    condition = np.concatenate([exp, source.retarget.exp, turn]).astype(np.float32)
    return FrameInputs(frame, region, flow, moving, condition)


def _face_mask(oval: np.ndarray, cells: int, unit: float) -> np.ndarray:
    """1 inside the face's outline, falling to 0 over FADE outside; ``unit`` is cells per IOD."""
    inside = np.zeros((cells, cells), np.uint8)
    cv2.fillPoly(inside, [np.round((oval - 0.5) * 16).astype(np.int32)], 1, shift=4)
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) / unit
    return smoothstep(FADE, 0.0, away).astype(np.float32)


def _outlines(placed: np.ndarray, cells: int) -> np.ndarray:
    """``(3, h, h)`` in 0..1: the mouth's inside, both eyes, both upper lids."""
    points, planes = pixels(placed, cells), np.zeros((3, cells, cells), np.float32)
    shapes = [(0, topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)]
    for (upper, lower), (crease, _) in zip(topology.EYES, topology.LID_ROWS, strict=True):
        shapes += [(1, upper, lower), (2, crease, upper)]
    for plane, upper, lower in shapes:
        shape = fill_outline(points[np.concatenate([upper, lower[::-1]])], (cells, cells))
        planes[plane] = np.maximum(planes[plane], shape / np.float32(255.0))
    return planes


def _stretch(flow: np.ndarray, cells: int) -> np.ndarray:
    """``(1, h, w)``: log of the area in the portrait that a cell shows, against the cell's own."""
    down, across = (np.gradient(flow, axis=axis) * np.float32(cells / 2.0) for axis in (0, 1))
    area = np.abs(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])
    return np.clip(np.log(area + 1e-3), -MOST_STRETCH, MOST_STRETCH)[None].astype(np.float32)


def _shift(
    flow: np.ndarray,
    part: tuple[slice, slice],
    cells: int,
    source: PreparedMesh,
    placed: np.ndarray,
) -> np.ndarray:
    """``(2, h, w)``: how far in IOD each cell moved, less the motion of the nose's bridge."""
    centre = (2.0 * np.arange(cells, dtype=np.float32) + 1.0) / np.float32(cells) - 1.0
    own = source.pose.apply(source.retarget.rest[[topology.NASION]])[0]
    whole = (placed[topology.NASION] - own)[:2]
    moved = np.stack([centre[None, part[1]] - flow[..., 0], centre[part[0], None] - flow[..., 1]])
    moved = (moved - whole[:, None, None].astype(np.float32)) / np.float32(source.pose.scale)
    return np.clip(moved, -1.0, 1.0)


def _region(oval: np.ndarray, scale: float, side: int) -> tuple[slice, slice]:
    """Rows and columns of the work picture around the face; at least one step of SNAP each."""
    low = (oval[:, :2].min(axis=0) - MARGIN * scale + 1.0) * side / 2.0
    high = (oval[:, :2].max(axis=0) + MARGIN * scale + 1.0) * side / 2.0
    left, top = (int(x) for x in np.clip(SNAP * np.floor(low / SNAP), 0, side - SNAP))
    far = np.clip(SNAP * np.ceil(high / SNAP), (left + SNAP, top + SNAP), side)
    right, bottom = (int(x) for x in far)
    return slice(top, bottom), slice(left, right)
