"""Closing eyelids: painted, because a lid stretched over the eye smears its lashes.

The lid's colour is the portrait's own skin between lid and brow, column by column; on it a soft shading for the eyeball's
bulge, and the lash line along the margin. How much is painted grows with how far the lid came down.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from emo_lightning.renderers.mesh import topology
from emo_lightning.renderers.mesh.geometry import Pose, pixels

COLUMNS = 33
SKIN_ABOVE = 0.55
"""Where the lid's colour is read: this far from the lid's crease towards the brow."""
BROWS = (np.array([46, 53, 52, 65, 55]), np.array([285, 295, 282, 283, 276]))
"""Lower edge of each brow, from the image's left to its right."""


@dataclass(frozen=True)
class Lid:
    """One upper lid of a portrait.

    Attributes:
        skin: ``(COLUMNS, 3)`` RGB along the eye from the image's left to its right.
        lash: ``(3,)`` RGB of the lash line.
        open: IOD of its own opening.
        side: -1 for the eye on the image's left, +1 for the other: which end is the outer corner.
    """

    skin: np.ndarray
    lash: np.ndarray
    open: float
    side: int


def read(image: np.ndarray, rest: np.ndarray, pose: Pose) -> tuple[Lid, Lid]:
    """Look at the portrait's two upper lids; arguments as in :func:`emo_lightning.renderers.mesh.mouth.read`."""
    size = image.shape[0]
    points = pixels(pose.apply(rest), size)
    unit = pose.scale * size / 2.0
    blurred = cv2.GaussianBlur(image, (0, 0), max(0.7, 0.022 * unit)).astype(np.float64)
    lids = []
    for (upper, lower), (crease, _), brow, side in zip(topology.EYES, topology.LID_ROWS, BROWS, (-1, 1), strict=True):
        crease_line, brow_line = _resample(points[crease]), _resample(points[brow])
        skin = np.stack([_pick(blurred, crease_line + share * (brow_line - crease_line)) for share in (0.3, 0.45, SKIN_ABOVE)])
        skin = np.median(skin, axis=0)
        # Hair, glasses or a brow over one column must not stripe the lid.
        centre = np.median(skin, axis=0)
        skin = centre + np.clip(skin - centre, -18.0, 18.0)
        kernel = np.hanning(13) / np.hanning(13).sum()
        skin = np.stack([np.convolve(np.pad(c, 6, mode="edge"), kernel, mode="valid") for c in skin.T], axis=1)
        margin = _pick(image.astype(np.float64), _resample(points[upper]))
        dark = margin[np.argsort(margin.mean(axis=1))[: COLUMNS // 4]].mean(axis=0)
        lash = np.minimum(dark, 0.55 * centre)
        opening = float((rest[lower[1:-1], 1] - rest[upper[1:-1], 1]).max())
        lids.append(Lid(skin, lash, opening, side))
    return lids[0], lids[1]


def draw(frame: np.ndarray, lids: tuple[Lid, Lid], rest: np.ndarray, vertices: np.ndarray, pose: Pose) -> None:
    """Paint both lids over the frame, in place, as far as they came down from the portrait's own place.

    Args:
        frame: ``(S, S, 3)`` uint8.
        lids: from :func:`read`.
        rest, vertices: ``(468, 3)`` model space, the portrait's own and this frame's.
        pose: of this frame.
    """
    size = frame.shape[0]
    unit = pose.scale * size / 2.0
    for lid, (upper, lower), (crease, _) in zip(lids, topology.EYES, topology.LID_ROWS, strict=True):
        fall = vertices[upper[1:-1], 1] - rest[upper[1:-1], 1]
        closed = float(np.clip(fall.max() / max(lid.open, 0.02), 0.0, 1.0))
        if closed < 0.02 or fall.max() < 0.004:
            continue
        points = pixels(pose.apply(vertices), size)
        still = pixels(pose.apply(rest), size)
        axis = points[upper[-1]] - points[upper[0]]
        length = float(np.hypot(*axis))
        if length < 3.0:
            continue
        axis /= length
        down = np.array([-axis[1], axis[0]])
        origin = points[upper[0]]
        lines = [_height(p - origin, axis, down, length) for p in (points[crease], still[upper], points[upper], points[lower])]
        around = np.concatenate([points[crease], points[upper], points[lower]])
        low = np.maximum(np.floor(around.min(axis=0) - 3).astype(int), 0)
        high = np.minimum(np.ceil(around.max(axis=0) + 3).astype(int), size)
        _paint(frame, low[0], low[1], high[0], high[1], origin, axis, down, length, np.stack(lines), lid.skin, lid.lash, closed, unit)


def _resample(line: np.ndarray) -> np.ndarray:
    at = np.linspace(0, len(line) - 1, COLUMNS)
    return np.stack([np.interp(at, np.arange(len(line)), c) for c in line.T], axis=1)


def _pick(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    at = np.clip(places.astype(int), 0, image.shape[0] - 1)
    return image[at[:, 1], at[:, 0]]


def _height(offsets: np.ndarray, axis: np.ndarray, down: np.ndarray, length: float) -> np.ndarray:
    """A row of vertices as heights below the line between the eye's corners, at COLUMNS even places along it."""
    along, below = offsets @ axis / length, offsets @ down
    order = np.argsort(along)
    heights = np.interp(np.linspace(0, 1, COLUMNS), along[order], below[order])
    return np.convolve(np.pad(heights, 2, mode="reflect", reflect_type="odd"), [0.1, 0.2, 0.4, 0.2, 0.1], mode="valid")


@njit(cache=True, inline="always")
def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True)
def _paint(
    frame: np.ndarray, left: int, top: int, right: int, bottom: int, origin: np.ndarray, axis: np.ndarray, down: np.ndarray,
    length: float, lines: np.ndarray, skin: np.ndarray, lash: np.ndarray, closed: float, unit: float,
) -> None:  # fmt: skip
    """``lines`` are crease, the margin's own place, the margin now and the lower lid, as heights below the corner line."""
    amount = _step(0.02, 0.40, closed)
    thick = max(0.55, (0.007 + 0.005 * closed) * unit)
    last = skin.shape[0] - 1
    for row in range(top, bottom):
        for column in range(left, right):
            x, y = column + 0.5 - origin[0], row + 0.5 - origin[1]
            along = (x * axis[0] + y * axis[1]) / length
            if along <= 0.0 or along >= 1.0:
                continue
            below = x * down[0] + y * down[1]
            place = along * last
            k = min(int(place), last - 1)
            f = place - k
            crease = lines[0, k] * (1 - f) + lines[0, k + 1] * f
            own = lines[1, k] * (1 - f) + lines[1, k + 1] * f
            margin = lines[2, k] * (1 - f) + lines[2, k + 1] * f
            ends = _step(0.0, 0.16, along) * _step(1.0, 0.86, along)
            fall = margin - own
            tall = max(margin - crease, 1.0)
            t = (below - crease) / tall
            # Opaque where the lid covers what the portrait shows of the eye, soft towards the crease.
            cover = _step(0.0, 0.45, t) * _step(margin + 0.7, margin - 0.7, below) * _step(0.0, 0.03 * unit, fall)
            cover *= amount * ends
            if cover > 0.004:
                shade = 0.93 + 0.10 * _step(0.05, 0.55, t) - 0.13 * _step(0.55, 1.0, t)
                for c in range(3):
                    tone = (skin[k, c] * (1 - f) + skin[k + 1, c] * f) * shade
                    value = frame[row, column, c] * (1 - cover) + tone * cover
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
            away = (below - margin) / thick
            dark = np.exp(-0.5 * away * away) * amount * 0.80 * _step(0.0, 0.10, along) * _step(1.0, 0.90, along)
            if dark > 0.01:
                for c in range(3):
                    value = frame[row, column, c] * (1 - dark) + lash[c] * dark
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
