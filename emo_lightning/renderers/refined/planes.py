"""What the refining network is told of a portrait and of a frame that the geometric renderer drew.

Everything lies on cells of 2 x 2 pixels of a work picture, whose side is chosen such that faces of all portraits have about
the same size in it. Coordinates in -1..1 span the picture's sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.face.pose import angles
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels, smoothstep
from emo_lightning.renderers.mesh.geometry.raster import rasterise
from emo_lightning.renderers.mesh.renderer import Source, draw

CELL = 2
"""Pixels of a cell's side."""
SNAP = 8
"""Pixels of the work picture that its side, and the corners of what is refined, are multiples of."""
USUAL = 72.0
"""Pixels between the outer eye corners in a work picture, about: those of a head's square of 256."""
FADE = 0.14
"""IOD outside the face's oval over which the mask of what may be changed falls to 0."""
MARGIN = 0.3
"""IOD around the face's oval that the network sees."""
MOST_STRETCH = 1.5
"""Natural logarithm of the largest ratio of areas that is told apart."""


@dataclass(frozen=True)
class Look:
    """A frame and what the network is told of it; h and w count the region's cells.

    Attributes:
        frame: ``(S, S, 3)`` uint8, the geometric renderer's.
        region: rows and columns of the work picture.
        flow: ``(h, w, 2)`` float32, where in the portrait each cell comes from, -1..1.
        moving: ``(6, h, w)`` float32: mouth's inside, eyes, upper lids, stretch, and shift in x and y (IOD).
        condition: ``(2 E + 3,)`` float32: the frame's expression, the portrait's, and the turn from it, radians.
    """

    frame: np.ndarray
    region: tuple[slice, slice]
    flow: np.ndarray
    moving: np.ndarray
    condition: np.ndarray


def work_side(size: int, scale: float) -> int:
    """Side of the work picture for a portrait of ``size`` pixels with a pose's ``scale``: a whole fraction of it, about."""
    shrink = max(1, round(scale * size / 2.0 / USUAL))
    return max(SNAP, SNAP * round(size / shrink / SNAP))


def read(source: Source, triangles: np.ndarray, side: int) -> np.ndarray:
    """What of a prepared portrait does not change from frame to frame.

    Args:
        source: from the geometric renderer.
        triangles: ``(F, 3)`` of the face model.
        side: of the work picture, a multiple of 8.

    Returns:
        ``(6, h, h)`` float32, h half of ``side``: RGB in 0..1, place on the mean face in x and y (IOD), share of face.
    """
    cells, pose = side // CELL, source.pose
    points = pose.apply(source.retarget.rest)
    planes = np.empty((6, cells, cells), np.float32)
    planes[:3] = cv2.resize(source.image, (cells, cells), interpolation=cv2.INTER_AREA).transpose(
        2, 0, 1
    ) / np.float32(255.0)
    row, column = np.mgrid[:cells, :cells] + 0.5
    at = np.stack(
        [
            2.0 * column / cells - 1.0,
            2.0 * row / cells - 1.0,
            np.full((cells, cells), pose.shift[2]),
        ],
        axis=-1,
    )
    place = pose.undo(at.reshape(-1, 3))[:, :2].T.reshape(2, cells, cells).astype(np.float32) - 0.5
    # Where the mesh is, its own places count; the kernel writes them half a unit less, as it does pixels.
    depth = np.full((cells, cells), np.inf, np.float32)
    goal, mean = (
        pixels(points, cells).astype(np.float32),
        source.retarget.mean[:, :2].astype(np.float32),
    )
    rasterise(triangles, goal, points[:, 2].astype(np.float32), mean, place, depth)
    planes[3:5] = np.clip(place + 0.5, -2.0, 2.0)
    planes[5] = _face(goal[topology.OVAL], cells, pose.scale * cells / 2.0)
    return planes


def look(
    source: Source,
    side: int,
    vertices: np.ndarray,
    pose: Pose,
    exp: np.ndarray,
    whole: bool = False,
) -> Look:
    """Draw a frame by geometry and say what the network must know of it.

    Args:
        source: from the geometric renderer.
        side: of the work picture, a multiple of 8.
        vertices, pose, exp: as of the geometric renderer's ``draw``.
        whole: take all of the work picture for the region, not the face's alone.
    """
    frame = draw(source, vertices, pose, exp)
    cells, size = side // CELL, frame.shape[0]
    placed = pose.apply(vertices)
    region = (slice(0, side),) * 2 if whole else _region(placed[topology.OVAL], pose.scale, side)
    part = (
        slice(region[0].start // CELL, region[0].stop // CELL),
        slice(region[1].start // CELL, region[1].stop // CELL),
    )
    dense = source.warp.flow(vertices, pose)
    flow = np.stack(
        [cv2.resize(axis, (cells, cells), interpolation=cv2.INTER_AREA)[part] for axis in dense],
        axis=-1,
    )
    flow = (flow + 0.5) * np.float32(2.0 / size) - 1.0
    moving = np.concatenate(
        [
            _outlines(placed, cells)[:, *part],
            _stretch(flow, cells),
            _shift(flow, part, cells, source, placed),
        ]
    )
    turn = angles(pose.turn @ source.pose.turn.T)
    condition = np.concatenate([exp, source.retarget.exp, turn]).astype(np.float32)
    return Look(frame, region, flow, moving, condition)


def _face(oval: np.ndarray, cells: int, unit: float) -> np.ndarray:
    """1 inside the face's outline, falling to 0 over FADE outside; ``unit`` is cells per IOD."""
    inside = np.zeros((cells, cells), np.uint8)
    cv2.fillPoly(inside, [np.round((oval - 0.5) * 16).astype(np.int32)], 1, shift=4)
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) / unit
    return smoothstep(FADE, 0.0, away).astype(np.float32)


def _outlines(placed: np.ndarray, cells: int) -> np.ndarray:
    """``(3, h, h)`` in 0..1: the mouth's inside, both eyes, both upper lids."""
    points = pixels(placed, cells)
    planes = np.zeros((3, cells, cells), np.uint8)
    shapes = [(0, topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)]
    shapes += [(1, upper, lower) for upper, lower in topology.EYES]
    shapes += [
        (2, crease, upper)
        for (upper, _), (crease, _) in zip(topology.EYES, topology.LID_ROWS, strict=True)
    ]
    for plane, upper, lower in shapes:
        outline = points[np.concatenate([upper, lower[::-1]])]
        cv2.fillPoly(
            planes[plane], [np.round((outline - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4
        )
    return planes.astype(np.float32) / np.float32(255.0)


def _stretch(flow: np.ndarray, cells: int) -> np.ndarray:
    """``(1, h, w)``: log of the area in the portrait that a cell shows, against the cell's own; 0 where nothing is stretched."""
    down, across = (np.gradient(flow, axis=axis) * np.float32(cells / 2.0) for axis in (0, 1))
    area = np.abs(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])
    return np.clip(np.log(area + 1e-3), -MOST_STRETCH, MOST_STRETCH)[None].astype(np.float32)


def _shift(
    flow: np.ndarray, part: tuple[slice, slice], cells: int, source: Source, placed: np.ndarray
) -> np.ndarray:
    """``(2, h, w)``: how far in IOD each cell moved, less what the bridge of the nose did."""
    centre = (2.0 * np.arange(cells, dtype=np.float32) + 1.0) / np.float32(cells) - 1.0
    own = source.pose.apply(source.retarget.rest[[topology.NASION]])[0]
    whole = (placed[topology.NASION] - own)[:2]
    moved = np.stack([centre[None, part[1]] - flow[..., 0], centre[part[0], None] - flow[..., 1]])
    moved = (moved - whole[:, None, None].astype(np.float32)) / np.float32(source.pose.scale)
    return np.clip(moved, -1.0, 1.0)


def _region(oval: np.ndarray, scale: float, side: int) -> tuple[slice, slice]:
    """Rows and columns of the work picture around the face; at least one step of SNAP each."""
    low, high = (
        (bound(oval[:, :2], axis=0) + sign * MARGIN * scale + 1.0) * side / 2.0
        for bound, sign in ((np.min, -1), (np.max, 1))
    )
    left, top = (int(x) for x in np.clip(SNAP * np.floor(low / SNAP), 0, side - SNAP))
    right, bottom = (
        int(x) for x in np.clip(SNAP * np.ceil(high / SNAP), (left + SNAP, top + SNAP), side)
    )
    return slice(top, bottom), slice(left, right)
