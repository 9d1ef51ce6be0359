"""Skin between eye and brow: a raised brow would stretch lashes, shadows and its own hair over it.

The strip from the lid's crease to the brow is short in most portraits, and twice as long under
raised brows. So it is made of two copies of the picture that keep their length: one is attached to
the crease and shows the lashes, one to the brow and shows its hair. Each is continued as bare skin
(a harmonic membrane from the portrait's skin), where they are blended.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from emo_lightning.renderers.mesh.eyes.lid_texture import (
    ALONG,
    GRID,
    EyeAxes,
    membrane,
    without_lashes,
)
from emo_lightning.renderers.mesh.geometry.coordinates import smoothstep
from emo_lightning.renderers.mesh.geometry.raster import bilinear, step

ABOVE = (-1.0, 0.35)
"""Extent of a strip's texture below the corners' line: up to the brow."""
PLACES = 33
FROM, WHOLE = 0.015, 0.09
"""Lengths of an eye by which the strip must grow for it to be painted at all, and wholly."""
PAST = 0.1
"""Lengths of an eye by which the strip goes on below the crease of a shut lid."""
DARK = 0.72
"""Share of the bright part of the strip below which a place is hair or shadow, not plain skin."""


@dataclass(frozen=True)
class BrowSkin:
    """The strip above one eye's crease; textures span ALONG by ABOVE, in lengths of the eye.

    Attributes:
        own: ``(2, PLACES)`` heights of brow and crease below the corners' line in the portrait.
        along: ``(5,)`` places of the brow's vertices.
        low, bare: ``(h, w, 3)`` float32: the picture up to the brow's hair, and the same without
            lashes.
        high: ``(h, w, 3)`` float32, the picture down to the crease.
    """

    own: np.ndarray
    along: np.ndarray
    low: np.ndarray
    bare: np.ndarray
    high: np.ndarray


def prepare_brow_skin(
    texture: np.ndarray, brow: np.ndarray, crease: np.ndarray, fold: np.ndarray
) -> BrowSkin:
    """Separate the strip of one eye into what moves with the crease and what moves with the brow.

    Args:
        texture: ``(h, w, 3)`` float32, the picture over ALONG by ABOVE.
        brow, crease, fold: ``(n, 2)`` places of vertices, along and below.
    """
    rows, columns = texture.shape[:2]
    plain = without_lashes(texture)
    height = np.linspace(*ABOVE, rows, dtype=np.float32)[:, None]
    top, bottom, under = (_line(row, columns)[None] for row in (brow, crease, fold))
    wide = np.maximum(bottom - top, 0.02)
    light = plain.mean(axis=2)
    inside = (height > top + 0.2 * wide) & (height < bottom - 0.02)
    tone = np.percentile(light[inside], 75) if inside.any() else 0.0
    known = (inside | (height > under + 0.05)) & (light > DARK * tone)
    known = cv2.resize(known.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA)
    bare = membrane(plain, known < 0.9)
    soft = max(0.7, 0.03 * columns / (ALONG[1] - ALONG[0]))
    trust = cv2.GaussianBlur((light > DARK * tone).astype(np.float32), (0, 0), soft)
    under_brow = smoothstep(0.0, 0.7, (height - top) / wide).astype(np.float32) * trust
    # From the crease down nothing is painted: lashes must join the frame's own.
    lid = smoothstep(-0.06, 0.0, height - bottom).astype(np.float32)
    under_brow = np.maximum(under_brow, lid)[..., None]
    over_crease = (smoothstep(0.75, 0.1, (height - top) / wide).astype(np.float32))[..., None]
    return BrowSkin(
        own=np.stack([_line(brow, PLACES), _line(crease, PLACES)]),
        along=np.ascontiguousarray(brow[:, 0]),
        low=(bare + under_brow * (texture - bare)).astype(np.float32),
        bare=bare.astype(np.float32),
        high=(bare + over_crease * (texture - bare)).astype(np.float32),
    )


def _line(row: np.ndarray, count: int) -> np.ndarray:
    """Smooth heights ``(count,)`` of places ``(n, 2)`` at even places over ALONG."""
    out = np.empty(count)
    _resample(row[:, 0], row[:, 1], count, out)
    return out


def has_grown(rest: np.ndarray, vertices: np.ndarray, crease: np.ndarray, brow: np.ndarray) -> bool:
    """Whether a strip has grown enough to be painted, from vertices ``(468, 3)``."""
    falls = vertices[crease, 1] - rest[crease, 1]
    growth = float(falls.max() - (vertices[brow, 1] - rest[brow, 1]).min())
    return growth > 0.5 * FROM * abs(float(rest[crease[-1], 0] - rest[crease[0], 0]))


def paint_brow_skin(
    frame: np.ndarray, skin: BrowSkin, axes: EyeAxes, brow: np.ndarray, crease: np.ndarray,
    shut: float,
) -> None:  # fmt: skip
    """Paint one strip, in place, where it is longer than in the portrait.

    Args:
        frame: ``(S, S, 3)`` uint8.
        skin: of the portrait.
        axes: of the eye in this frame.
        brow, crease: ``(n, 2)`` places of vertices in this frame, along and below.
        shut: how far the lid is shut, 0 to 1: then its lashes are elsewhere.
    """
    lines, most = _strip_lines(brow, crease, skin.own, skin.along)
    if most < 0.02:
        return
    ends = axes.corner + axes.length * np.array([[ALONG[0]], [ALONG[1]]]) * axes.along
    reaches = (lines[0].min() - 0.12, lines[1].max() + PAST)
    around = np.concatenate([ends + axes.length * reach * axes.down for reach in reaches])
    first = np.maximum(np.floor(around.min(axis=0) - 1).astype(int), 0)
    last = np.minimum(np.ceil(around.max(axis=0) + 1).astype(int), frame.shape[0])
    low = skin.low if shut <= 0.0 else skin.low + np.float32(shut) * (skin.bare - skin.low)
    _paint_strip(
        frame, first, last, axes.corner, axes.along, axes.down, axes.length, lines, skin.own,
        low, skin.high, PAST * shut,
    )  # fmt: skip


@njit(cache=True)
def _resample(x: np.ndarray, y: np.ndarray, count: int, out: np.ndarray) -> None:
    """Write values ``y`` at rising places ``x`` as smooth ones at even places over ALONG."""
    rough, k = np.empty(count), 0
    for i in range(count):
        at = ALONG[0] + (ALONG[1] - ALONG[0]) * i / (count - 1)
        while k < len(x) - 2 and at > x[k + 1]:
            k += 1
        share = min(max((at - x[k]) / max(x[k + 1] - x[k], 1e-6), 0.0), 1.0)
        rough[i] = y[k] + share * (y[k + 1] - y[k])
    reach = max(1, int(0.06 * count + 0.5))
    for i in range(count):
        total, weight = 0.0, 0.0
        for j in range(max(0, i - reach), min(count, i + reach + 1)):
            near = reach + 1.0 - abs(i - j)
            total, weight = total + near * rough[j], weight + near
        out[i] = total / weight


@njit(cache=True)
def _strip_lines(
    brow: np.ndarray, crease: np.ndarray, own: np.ndarray, along: np.ndarray
) -> tuple[np.ndarray, float]:
    """The lines of :func:`_paint_strip` from places ``(n, 2)``, and how much is painted at most."""
    count = own.shape[1]
    lines, most = np.empty((4, count)), 0.0
    _resample(brow[:, 0], brow[:, 1], count, lines[0])
    _resample(crease[:, 0], crease[:, 1], count, lines[1])
    _resample(along, brow[:, 0] - along, count, lines[2])
    for k in range(count):
        lines[3, k] = step(FROM, WHOLE, (lines[1, k] - lines[0, k]) - (own[1, k] - own[0, k]))
        most = max(most, lines[3, k])
    return lines, most


@njit(cache=True)
def _paint_strip(
    frame: np.ndarray, first: np.ndarray, end: np.ndarray, corner: np.ndarray, axis: np.ndarray,
    down: np.ndarray, length: float, lines: np.ndarray, own: np.ndarray, low: np.ndarray,
    high: np.ndarray, past: float,
) -> None:  # fmt: skip
    """Blend one strip between brow and crease into the pixels from ``first`` to ``end``.

    ``lines`` are brow and crease below the corners' line, how far the brow moved along, and how
    much is painted, in lengths at even places over ALONG; ``own`` brow and crease of the portrait;
    ``low`` is attached to the crease, ``high`` to the brow; ``past`` is how far below the crease it
    goes on.
    """
    last, scale = lines.shape[1] - 1, ABOVE[1] - ABOVE[0]
    tall, wide = low.shape[0], low.shape[1]
    for row in range(first[1], end[1]):
        for column in range(first[0], end[0]):
            x, y = column + 0.5 - corner[0], row + 0.5 - corner[1]
            along = (x * axis[0] + y * axis[1]) / length
            below = (x * down[0] + y * down[1]) / length
            if along <= ALONG[0] or along >= ALONG[1]:
                continue
            place = (along - ALONG[0]) / (ALONG[1] - ALONG[0])
            k = min(int(place * last), last - 1)
            f = place * last - k
            brow = lines[0, k] * (1 - f) + lines[0, k + 1] * f
            crease = lines[1, k] * (1 - f) + lines[1, k + 1] * f
            if below >= crease + past or below <= brow - 0.1:
                continue
            cover = lines[3, k] * (1 - f) + lines[3, k + 1] * f
            cover *= step(ALONG[0], ALONG[0] + 0.2, along) * step(ALONG[1], ALONG[1] - 0.2, along)
            edge = step(crease + past, crease + past - 0.05, below)
            cover *= step(brow - 0.1, brow, below) * edge
            if cover < 0.004:
                continue
            share = step(0.3, 0.8, (below - brow) / max(crease - brow, 1e-3))
            u0 = place * wide - 0.5
            v0 = below - crease + own[1, k] * (1 - f) + own[1, k + 1] * f - ABOVE[0]
            u1 = along - lines[2, k] * (1 - f) - lines[2, k + 1] * f - ALONG[0]
            u1 = u1 / (ALONG[1] - ALONG[0]) * wide - 0.5
            v1 = below - brow + own[0, k] * (1 - f) + own[0, k + 1] * f - ABOVE[0]
            u0, u1 = min(max(u0, 0.0), wide - 1.001), min(max(u1, 0.0), wide - 1.001)
            v0 = min(max(v0 / scale * tall - 0.5, 0.0), tall - 1.001)
            v1 = min(max(v1 / scale * tall - 0.5, 0.0), tall - 1.001)
            i0, j0, i1, j1 = int(u0), int(v0), int(u1), int(v1)
            for c in range(3):
                one = bilinear(low, j0, i0, v0 - j0, u0 - i0, c)
                two = bilinear(high, j1, i1, v1 - j1, u1 - i1, c)
                mixed = two + share * (one - two)
                value = frame[row, column, c] + cover * (mixed - frame[row, column, c])
                frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
