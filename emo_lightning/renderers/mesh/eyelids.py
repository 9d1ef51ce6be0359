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
from emo_lightning.renderers.mesh.geometry import Pose, pixels, smoothstep

COLUMNS = 33
LEAST = 0.02
"""Share of closing below which nothing is painted."""
FULL = 0.3
"""Share of closing from which the paint is at its strongest."""
FOLLOW = 0.75
"""How far the picture's own lid still follows then."""
BROWS = (np.array([46, 53, 52, 65, 55]), np.array([285, 295, 282, 283, 276]))
"""Lower edge of each brow, from the image's left to its right."""
DARK = 0.62
"""Share of the cheeks' brightness below which a sample is no skin."""
BEYOND = 0.10
"""How far past the eye's corners, as a share of its width, the paint runs out."""
LASH_RISE = 0.02
"""IOD above the crease from where the paint fades in, so that long lashes do not stay behind."""


@dataclass(frozen=True)
class Lid:
    """One upper lid of a portrait.

    Attributes:
        above, below: ``(COLUMNS, 3)`` RGB of the skin over the crease and under the eye, from the image's left to its right.
        clear: ``(COLUMNS,)`` in [0, 1], 0 where hair or the rim of glasses hides the skin above.
        lash: ``(3,)`` RGB of the lash line.
        open: IOD of its own opening.
    """

    above: np.ndarray
    below: np.ndarray
    clear: np.ndarray
    lash: np.ndarray
    open: float


def read(image: np.ndarray, rest: np.ndarray, pose: Pose) -> tuple[Lid, Lid]:
    """Look at the portrait's two upper lids; arguments as in :func:`emo_lightning.renderers.mesh.mouth.read`."""
    size = image.shape[0]
    points = pixels(pose.apply(rest), size)
    unit = pose.scale * size / 2.0
    blurred = cv2.GaussianBlur(image, (0, 0), max(0.6, 0.015 * unit)).astype(np.float64)
    cheeks = np.median(_pick(blurred, points[[50, 280, 101, 330, 205, 425, 151, 9]]), axis=0)
    down = pose.turn[:2, 1] * unit
    lids = []
    for (upper, lower), (crease, _), brow in zip(topology.EYES, topology.LID_ROWS, BROWS, strict=True):
        crease_line, brow_line, low_line = (_resample(points[rows]) for rows in (crease, brow, lower))
        above = np.stack([_pick(blurred, crease_line + share * (brow_line - crease_line)) for share in (0.15, 0.3, 0.45)])
        below = np.stack([_pick(blurred, low_line + step * down) for step in (0.06, 0.08, 0.10)])
        hidden = (np.median(above, axis=0).mean(axis=1) < DARK * cheeks.mean()).astype(np.float64)
        clear = 1.0 - np.convolve(np.pad(hidden, 2, mode="edge"), np.full(5, 0.2), mode="valid")
        above, below = _smooth_skin(above, cheeks), _smooth_skin(below, cheeks)
        margin = _pick(image.astype(np.float64), _resample(points[upper]))
        dark = margin[np.argsort(margin.mean(axis=1))[: COLUMNS // 4]].mean(axis=0)
        lash = np.minimum(dark, 0.5 * np.median(above, axis=0))
        lids.append(Lid(above, below, clear, lash, float(_opening(rest, upper, lower).max())))
    return lids[0], lids[1]


def held_open(lids: tuple[Lid, Lid], rest: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The vertices ``(468, 3)`` by which the picture is warped: lids that close lag a little, and paint makes up the rest."""
    held = vertices
    for lid, (upper, _), (crease, _) in zip(lids, topology.EYES, topology.LID_ROWS, strict=True):
        closed = _closed(lid, rest, vertices, upper)
        if closed <= LEAST:
            continue
        held = vertices.copy() if held is vertices else held
        follow = 1.0 - (1.0 - FOLLOW) * float(smoothstep(LEAST, FULL, closed))
        for rows in (upper, crease):
            fall = vertices[rows, 1] - rest[rows, 1]
            held[rows, 1] = rest[rows, 1] + np.where(fall > 0, follow * fall, fall)
    return held


def draw(frame: np.ndarray, lids: tuple[Lid, Lid], rest: np.ndarray, vertices: np.ndarray, pose: Pose) -> None:
    """Paint both lids over the frame, in place, as far as they came down from the portrait's own place.

    Args:
        frame: ``(S, S, 3)`` uint8, warped by :func:`held_open`.
        lids: from :func:`read`.
        rest, vertices: ``(468, 3)`` model space, the portrait's own and this frame's.
        pose: of this frame.
    """
    size = frame.shape[0]
    unit = pose.scale * size / 2.0
    for lid, (upper, _), (crease, _) in zip(lids, topology.EYES, topology.LID_ROWS, strict=True):
        closed = _closed(lid, rest, vertices, upper)
        if closed <= LEAST:
            continue
        moved = pixels(pose.apply(vertices[upper]), size)
        held = held_open(lids, rest, vertices)
        still, fold = pixels(pose.apply(rest[upper]), size), pixels(pose.apply(held[crease]), size)
        axis = moved[-1] - moved[0]
        length = float(np.hypot(*axis))
        if length < 3.0:
            continue
        axis /= length
        down = np.array([-axis[1], axis[0]])
        lines = np.stack([_height(p - moved[0], axis, down, length) for p in (fold, still, moved)])
        ends = moved[[0, -1]] + BEYOND * length * np.array([-axis, axis])
        around = np.concatenate([fold - 2 * LASH_RISE * unit * down, moved + 2.0, ends])
        low = np.maximum(np.floor(around.min(axis=0) - 2).astype(int), 0)
        high = np.minimum(np.ceil(around.max(axis=0) + 2).astype(int), size)
        _paint(
            frame, low[0], low[1], high[0], high[1], moved[0], axis, down, length, lines,
            lid.above, lid.below, lid.clear, lid.lash, closed, float(smoothstep(LEAST, FULL, closed)), unit,
        )  # fmt: skip


def _opening(vertices: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return vertices[lower[1:-1], 1] - vertices[upper[1:-1], 1]


def _closed(lid: Lid, rest: np.ndarray, vertices: np.ndarray, upper: np.ndarray) -> float:
    """How far the lid came down, as a share of its own opening."""
    fall = float((vertices[upper[1:-1], 1] - rest[upper[1:-1], 1]).max())
    return min(fall / max(lid.open, 0.03), 1.0)


def _smooth_skin(samples: np.ndarray, cheeks: np.ndarray) -> np.ndarray:
    """``(N, COLUMNS, 3)`` samples to one smooth row; hair, lashes and the rims of glasses must not stripe the lid."""
    row = np.median(samples, axis=0)
    value, least = row.mean(axis=1), DARK * cheeks.mean()
    row = np.where((value < least)[:, None], 0.5 * row + 0.5 * 0.8 * cheeks, row)
    middle = np.median(row, axis=0)
    row = middle + np.clip(row - middle, -16.0, 16.0)
    kernel = np.hanning(15) / np.hanning(15).sum()
    return np.stack([np.convolve(np.pad(c, 7, mode="edge"), kernel, mode="valid") for c in row.T], axis=1)


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
    length: float, lines: np.ndarray, above: np.ndarray, under: np.ndarray, clear: np.ndarray, lash: np.ndarray, closed: float,
    amount: float, unit: float,
) -> None:  # fmt: skip
    """``lines`` are the crease, the margin's own place and the margin now, as heights below the corner line."""
    thick = max(0.6, (0.008 + 0.004 * closed) * unit)
    rise = LASH_RISE * unit
    last = above.shape[0] - 1
    for row in range(top, bottom):
        for column in range(left, right):
            x, y = column + 0.5 - origin[0], row + 0.5 - origin[1]
            along = (x * axis[0] + y * axis[1]) / length
            if along <= -BEYOND or along >= 1.0 + BEYOND:
                continue
            below = x * down[0] + y * down[1]
            place = min(max(along, 0.0), 1.0) * last
            k = min(int(place), last - 1)
            f = place - k
            crease = lines[0, k] * (1 - f) + lines[0, k + 1] * f
            own = lines[1, k] * (1 - f) + lines[1, k + 1] * f
            margin = max(lines[2, k] * (1 - f) + lines[2, k + 1] * f, own)
            t = (below - crease) / max(margin - crease, 1.0)
            place = amount * _step(margin + 0.7, margin - 0.7, below) * _step(crease - rise, crease + 0.2 * rise, below)
            place *= _step(-BEYOND, 0.04, along) * _step(1.0 + BEYOND, 0.96, along)
            if place > 0.004:
                low = 0.55 * _step(0.1, 1.0, t)
                shade = 1.0 + 0.05 * _step(0.0, 0.5, t) - 0.15 * _step(0.5, 1.1, t)
                darker = 0.0
                for c in range(3):
                    tone = above[k, c] * (1 - low) + under[k, c] * low
                    darker += 1.0 - frame[row, column, c] / max(tone * shade, 1.0)
                # Lashes, and what shows of the eye, are darker than skin: they go; skin keeps its own texture.
                cover = place * max(0.9 * _step(0.15, 0.75, t), clear[k] * _step(0.08, 0.25, darker / 3.0) * _step(-0.6, 0.1, t))
                for c in range(3):
                    tone = (above[k, c] * (1 - low) + under[k, c] * low) * shade
                    value = frame[row, column, c] * (1 - cover) + tone * cover
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
            away = (below - margin) / (thick if below > margin else 0.7 * thick)
            dark = np.exp(-0.5 * away * away) * amount * 0.78 * _step(0.0, 0.14, along) * _step(1.0, 0.86, along)
            if dark > 0.01:
                for c in range(3):
                    value = frame[row, column, c] * (1 - dark) + lash[c] * dark
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
