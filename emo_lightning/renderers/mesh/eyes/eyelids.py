"""Closing eyelids: a lid that comes down shows skin that the open eye hides.

When a portrait is prepared, each upper lid's hidden skin is synthesised: the skin around the eye is
continued smoothly across it (a harmonic membrane, so it meets its surroundings without a seam) in
the tone of the cheek below, with its pores. The portrait's own lashes beside the eye's corners,
which point up, are covered; the closed lids meet in a soft line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from emo_lightning.renderers.mesh.eyes.lid_texture import (
    ALONG,
    HEIGHT,
    WING,
    EyeAxes,
    lid_texture,
)
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import FaceView, smoothstep
from emo_lightning.renderers.mesh.geometry.raster import bilinear, smooth_tears, step

LEAST = 0.02
"""Share of closing below which nothing is painted."""
FULL = 0.3
"""Share of closing from which the lid is wholly its hidden skin."""
SUNK = 0.2
"""Share of closing from which the eyeball has sunk enough to show."""
JUMP = 1.0
"""Pixels between the sources of neighbours beyond which a lid's edge would be jagged."""


@dataclass(frozen=True)
class Lid:
    """One upper lid of a portrait; lengths are shares of the eye's, corner to corner.

    Attributes:
        skin: ``(h, w, 4)`` float32 over ALONG by HEIGHT: RGB of the shut lid, and 0 instead of 1
            where hair or the rim of glasses hides it.
        crease: ``(COLUMNS,)`` height of the crease in the portrait, below the corners' line.
        ink: ``(3,)`` RGB of the line where the lids meet.
        open: IOD of its own opening.
        hidden: whether hair or a rim hides part of it, which must not come down with it.
    """

    skin: np.ndarray
    crease: np.ndarray
    ink: np.ndarray
    open: float
    hidden: bool

    def closing(self, rest: np.ndarray, vertices: np.ndarray, upper: np.ndarray) -> float:
        """How far the lid came down between the eye's corners, as a share of its own opening."""
        move = vertices[upper, 1] - rest[upper, 1]
        fall = float(move[1:-1].max() - move[[0, -1]].mean())
        return min(fall / max(self.open, 0.03), 1.0)


Lids = tuple[Lid, Lid]
_ROWS = tuple(zip(topology.EYES, topology.LID_ROWS, strict=True))


def prepare_lids(image: np.ndarray, view: FaceView) -> Lids:
    """Textures of a portrait's two upper lids, from its picture ``(S, S, 3)`` uint8."""
    lids, points = [], view.pixels()
    for (upper, lower), (crease, fold) in _ROWS:
        axes = EyeAxes.of(points[upper])
        lines = [axes.heights(points[row]) / axes.length for row in (crease, upper, fold)]
        skin, ink = lid_texture(axes.texture(image, HEIGHT), *lines)
        gap = view.vertices[lower[1:-1], 1] - view.vertices[upper[1:-1], 1]
        hidden = bool(skin[..., 3].min() < 0.5)
        lids.append(Lid(skin, lines[0], ink, float(gap.max()), hidden))
    return lids[0], lids[1]


def without_occluded_lids(lids: Lids, rest: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The vertices ``(468, 3)`` for the warp: what hides a lid stays when the lid closes."""
    for lid, ((upper, _), (crease, _)) in zip(lids, _ROWS, strict=True):
        closed = lid.closing(rest, vertices, upper)
        if not lid.hidden or closed <= LEAST:
            continue
        vertices = vertices.copy()
        follow = 1.0 - float(smoothstep(LEAST, FULL, closed))
        for rows in (upper, crease):
            fall = vertices[rows, 1] - rest[rows, 1]
            vertices[rows, 1] = rest[rows, 1] + np.where(fall > 0, follow * fall, fall)
    return vertices


def smooth_lower_rims(
    frame: np.ndarray, flow: np.ndarray, lids: Lids, rest: np.ndarray, view: FaceView
) -> None:
    """Antialias the lower lid's edge, in place, where a closing eye sinks behind it.

    Args:
        frame: ``(S, S, 3)`` uint8, warped by ``flow`` ``(2, S, S)``.
        flow: see ``frame``.
        lids: of the portrait.
        rest: ``(468, 3)`` model space, the portrait's own shape.
        view: of this frame.
    """
    for lid, eye in zip(lids, topology.EYES, strict=True):
        if lid.closing(rest, view.vertices, eye[0]) > SUNK:
            around = view.pixels(np.concatenate(eye))
            corners = np.stack([around.min(axis=0) - 3, around.max(axis=0) + 4])
            (left, top), (right, bottom) = np.maximum(corners.astype(int), 0)
            smooth_tears(frame[top:bottom, left:right], flow[:, top:bottom, left:right], JUMP)


def paint_lids(frame: np.ndarray, lids: Lids, rest: np.ndarray, view: FaceView) -> None:
    """Paint both lids over the frame, in place, as far as they came down.

    Args:
        frame: ``(S, S, 3)`` uint8, the warped portrait.
        lids: of the portrait.
        rest: ``(468, 3)`` model space, the portrait's own shape.
        view: of this frame.
    """
    size, vertices = view.size, view.vertices
    warped = FaceView(without_occluded_lids(lids, rest, vertices), view.pose, size)
    for lid, ((upper, _), (crease, _)) in zip(lids, _ROWS, strict=True):
        closed = lid.closing(rest, vertices, upper)
        margin, fold = view.pixels(upper), warped.pixels(crease)
        axes = EyeAxes.of(margin)
        if closed <= LEAST or axes.length < 3.0:
            continue
        lines = np.stack([axes.heights(fold), axes.heights(margin)])
        ends = axes.corner + axes.length * np.array([[ALONG[0]], [ALONG[1]]]) * axes.along
        reach = 0.25 * axes.length * axes.down
        around = np.concatenate([fold - reach, margin + reach, ends - reach, ends + reach])
        low = np.maximum(np.floor(around.min(axis=0) - 2).astype(int), 0)
        high = np.minimum(np.ceil(around.max(axis=0) + 2).astype(int), size)
        shut = float(smoothstep(LEAST, FULL, closed))
        _paint_lid(
            frame, low, high, axes.corner, axes.along, axes.down, axes.length, lines,
            lid.crease, lid.skin, lid.ink, closed, shut,
        )  # fmt: skip


@njit(cache=True)
def _paint_lid(
    frame: np.ndarray, low: np.ndarray, high: np.ndarray, corner: np.ndarray, axis: np.ndarray,
    down: np.ndarray, length: float, lines: np.ndarray, own_crease: np.ndarray, skin: np.ndarray,
    ink: np.ndarray, closed: float, amount: float,
) -> None:  # fmt: skip
    """Blend one lid into the pixels of ``frame`` from ``low`` (x, y) to ``high``.

    ``lines`` are crease and margin as pixels below the line from ``corner`` along ``axis``;
    ``own_crease`` that of the portrait in lengths; ``closed`` and ``amount`` say how far the lid
    came down and how much of it is painted.
    """
    last = lines.shape[1] - 1
    tall, wide = skin.shape[0], skin.shape[1]
    rise, thick = 0.12 * length, max(0.55, 0.020 * length)
    for row in range(low[1], high[1]):
        for column in range(low[0], high[0]):
            x, y = column + 0.5 - corner[0], row + 0.5 - corner[1]
            along = (x * axis[0] + y * axis[1]) / length
            if along <= ALONG[0] or along >= ALONG[1]:
                continue
            below = x * down[0] + y * down[1]
            place = min(max(along, 0.0), 1.0) * last
            k = min(int(place), last - 1)
            f = place - k
            crease = lines[0, k] * (1 - f) + lines[0, k + 1] * f
            margin = lines[1, k] * (1 - f) + lines[1, k + 1] * f
            # Beside the corners the portrait's own lashes point up from where the lids were open.
            wing = step(0.12, -0.02, along) + step(0.88, 1.02, along)
            upper, lower = crease - WING * wing * length, margin + 0.3 * WING * wing * length
            cover = amount * step(ALONG[0], -0.12, along) * step(ALONG[1], 1.12, along)
            cover *= step(lower + 0.7 + 0.1 * wing * length, lower - 0.7, below)
            cover *= step(upper - rise, upper + 0.3 * rise, below)
            seen = 1.0
            if cover > 0.004:
                u = (along - ALONG[0]) / (ALONG[1] - ALONG[0]) * wide - 0.5
                # The skin is attached to the crease, but not beside the corners and above it.
                height = (below - crease) / length + own_crease[k] * (1 - f) + own_crease[k + 1] * f
                free = max(wing, step(0.0, rise, crease - below))
                height += free * (below / length - height)
                v = (height - HEIGHT[0]) / (HEIGHT[1] - HEIGHT[0]) * tall - 0.5
                u, v = min(max(u, 0.0), wide - 1.001), min(max(v, 0.0), tall - 1.001)
                i, j = int(u), int(v)
                seen = bilinear(skin, j, i, v - j, u - i, 3)
                t = min(max((below - crease) / max(margin - crease, 1.0), 0.0), 1.0)
                across = 2.0 * min(max(along, 0.0), 1.0) - 1.0
                # The eyeball's curve: lightest in the middle, darker towards crease and lashes.
                dome = 0.06 * (1.0 - across * across) * step(0.0, 0.45, t)
                dome -= 0.10 * step(0.5, 1.0, t)
                shade = 1.0 + closed * dome * step(-0.1, 0.1, along) * step(1.1, 0.9, along)
                cover *= seen
                for c in range(3):
                    tone = bilinear(skin, j, i, v - j, u - i, c) * shade
                    value = frame[row, column, c] * (1 - cover) + tone * cover
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
            away = (below - margin) / thick
            taper = step(-0.02, 0.2, along) * step(1.04, 0.8, along)
            # The line where the lids meet, and the lashes' soft shadow below it.
            line = 0.75 * np.exp(-0.5 * away * away)
            if away > 0.0:
                line = max(line, 0.4 * closed * np.exp(-0.35 * away))
            line *= amount * seen * taper
            if line > 0.01:
                for c in range(3):
                    value = float(frame[row, column, c])
                    value += line * (min(ink[c], value) - value)
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
