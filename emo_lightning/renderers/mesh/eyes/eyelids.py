"""Closing eyelids: a lid that comes down shows hidden skin, and takes its lashes along.

When a portrait is prepared, each upper lid's hidden skin is synthesised: the skin around the eye is
continued smoothly across it (a harmonic membrane, so it meets its surroundings without a seam),
with the pores of the cheek below. Lashes are what darkens the skin above the lid's margin; as the
lid closes they swing from up to down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from emo_lightning.renderers.mesh.eyes import brow_skin
from emo_lightning.renderers.mesh.eyes.lid_texture import ALONG, HEIGHT, LASH, EyeAxes, lid_textures
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
        crease: ``(COLUMNS,)`` height of the crease in the portrait, below the line between the
            corners.
        lashes: ``(n, w)`` float32 in [0, 1], light left at LASH above the margin, 0 first.
        ink: ``(3,)`` RGB of the line where the lids meet.
        open: IOD of its own opening.
        hidden: whether hair or a rim hides part of it, which must not come down with it.
        brow_skin: the skin between it and the brow.
    """

    skin: np.ndarray
    crease: np.ndarray
    lashes: np.ndarray
    ink: np.ndarray
    open: float
    hidden: bool
    brow_skin: brow_skin.BrowSkin

    def closing(self, rest: np.ndarray, vertices: np.ndarray, upper: np.ndarray) -> float:
        """How far the lid came down between the eye's corners, as a share of its own opening."""
        move = vertices[upper, 1] - rest[upper, 1]
        fall = float(move[1:-1].max() - move[[0, -1]].mean())
        return min(fall / max(self.open, 0.03), 1.0)


Lids = tuple[Lid, Lid]
_ROWS = tuple(zip(topology.EYES, topology.LID_ROWS, topology.BROWS, strict=True))


def prepare_lids(image: np.ndarray, view: FaceView) -> Lids:
    """Textures of a portrait's two upper lids, from its picture ``(S, S, 3)`` uint8."""
    lids = []
    for (upper, lower), folds, brow in _ROWS:
        points = view.pixels()
        axes = EyeAxes.of(points[upper])
        lines = [axes.heights(points[row]) / axes.length for row in (folds[0], upper, folds[1])]
        skin, lashes, ink = lid_textures(axes.texture(image, HEIGHT), *lines)
        rows = (axes.places(points[row]) for row in (brow, *folds))
        above = brow_skin.prepare_brow_skin(axes.texture(image, brow_skin.ABOVE), *rows)
        gap = view.vertices[lower[1:-1], 1] - view.vertices[upper[1:-1], 1]
        hidden = bool(skin[..., 3].min() < 0.5)
        lids.append(Lid(skin, lines[0], lashes, ink, float(gap.max()), hidden, above))
    return lids[0], lids[1]


def without_occluded_lids(lids: Lids, rest: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The vertices ``(468, 3)`` for the warp: what hides a lid stays when the lid closes."""
    for lid, ((upper, _), (crease, _), _) in zip(lids, _ROWS, strict=True):
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
    """Paint both lids over the frame, in place, as far as they came down, and the skin above them.

    Args:
        frame: ``(S, S, 3)`` uint8, the warped portrait.
        lids: of the portrait.
        rest: ``(468, 3)`` model space, the portrait's own shape.
        view: of this frame.
    """
    size, vertices = view.size, view.vertices
    warped = FaceView(without_occluded_lids(lids, rest, vertices), view.pose, size)
    for lid, ((upper, _), (crease, _), brow) in zip(lids, _ROWS, strict=True):
        closed = lid.closing(rest, vertices, upper)
        grown = not lid.hidden and brow_skin.has_grown(rest, warped.vertices, crease, brow)
        if closed <= LEAST and not grown:
            continue
        margin, fold = view.pixels(upper), warped.pixels(crease)
        axes = EyeAxes.of(margin)
        if axes.length < 3.0:
            continue
        shut = float(smoothstep(LEAST, FULL, closed))
        if grown:
            rows = axes.places(warped.pixels(brow)), axes.places(fold)
            brow_skin.paint_brow_skin(frame, lid.brow_skin, axes, *rows, shut)
        if closed <= LEAST:
            continue
        lines = np.stack([axes.heights(fold), axes.heights(margin)])
        ends = axes.corner + axes.length * np.array([[ALONG[0]], [ALONG[1]]]) * axes.along
        raised, lowered = 0.2 * axes.length * axes.down, LASH * axes.length * axes.down
        around = np.concatenate([fold - raised, margin + lowered, ends])
        low = np.maximum(np.floor(around.min(axis=0) - 2).astype(int), 0)
        high = np.minimum(np.ceil(around.max(axis=0) + 2).astype(int), size)
        _paint_lid(
            frame, low, high, axes.corner, axes.along, axes.down, axes.length, lines,
            lid.crease, lid.skin, lid.lashes, lid.ink, closed, shut,
        )  # fmt: skip


@njit(cache=True)
def _paint_lid(
    frame: np.ndarray, low: np.ndarray, high: np.ndarray, corner: np.ndarray, axis: np.ndarray,
    down: np.ndarray, length: float, lines: np.ndarray, own_crease: np.ndarray, skin: np.ndarray,
    lashes: np.ndarray, ink: np.ndarray, closed: float, amount: float,
) -> None:  # fmt: skip
    """Blend one lid into the pixels of ``frame`` from ``low`` (x, y) to ``high``.

    ``lines`` are crease and margin as pixels below the line from ``corner`` along ``axis``;
    ``own_crease`` that of the portrait in lengths; ``closed`` and ``amount`` say how far the lid
    came down and how much of it is painted.
    """
    last = lines.shape[1] - 1
    tall, wide = skin.shape[0], skin.shape[1]
    swing = 1.0 - 1.45 * closed  # lashes point up (1), at the viewer (0), down
    swing = swing if abs(swing) > 0.12 else (0.12 if swing > 0 else -0.12)
    thick = max(0.6, (0.022 + 0.012 * closed) * length)
    rise = 0.12 * length
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
            ends = step(-0.12, 0.03, along) * step(1.12, 0.97, along)
            cover = amount * ends * step(margin + 0.7, margin - 0.7, below)
            cover = cover * step(crease - rise, crease + 0.3 * rise, below)
            u = min(max((along - ALONG[0]) / (ALONG[1] - ALONG[0]) * wide - 0.5, 0.0), wide - 1.001)
            seen = 1.0
            if cover > 0.004:
                height = (below - crease) / length + own_crease[k] * (1 - f) + own_crease[k + 1] * f
                v = (height - HEIGHT[0]) / (HEIGHT[1] - HEIGHT[0]) * tall - 0.5
                v = min(max(v, 0.0), tall - 1.001)
                i, j = int(u), int(v)
                a, b = u - i, v - j
                t = (below - crease) / max(margin - crease, 1.0)
                shade = 1.0 + 0.04 * closed * (step(0.0, 0.4, t) - 3.5 * step(0.55, 1.1, t))
                seen = skin[j, i, 3] * (1 - a) + skin[j, i + 1, 3] * a
                cover *= seen
                for c in range(3):
                    tone = bilinear(skin, j, i, b, a, c)
                    value = frame[row, column, c] * (1 - cover) + tone * shade * cover
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
            away = margin - below
            reach = away / length / swing
            if reach < 0.0:
                soft = away / 0.8
                light = 1.0 - (1.0 - lashes[0, int(u)]) * np.exp(-0.5 * soft * soft)
            elif reach < LASH:
                v = reach / LASH * (lashes.shape[0] - 1.001)
                i, j = int(u), int(v)
                light = (lashes[j, i] * (1 - u + i) + lashes[j, i + 1] * (u - i)) * (1 - v + j)
                light += (lashes[j + 1, i] * (1 - u + i) + lashes[j + 1, i + 1] * (u - i)) * (v - j)
            else:
                light = 1.0
            dark = amount * ends * seen * (1.0 - light) * (1.0 - 0.45 * closed)
            line = away / (thick if away < 0.0 else 0.7 * thick)
            line = np.exp(-0.5 * line * line) * amount * seen * 0.6
            line = line * step(0.0, 0.14, along) * step(1.0, 0.86, along)
            if dark > 0.01 or line > 0.01:
                for c in range(3):
                    value = frame[row, column, c] * (1 - dark)
                    value += line * (min(ink[c], value) - value)
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
