"""The pixel loop of :mod:`emo_lightning.renderers.mesh.eyes.eyelids`."""

from __future__ import annotations

import numpy as np
from numba import njit

ALONG = (-0.22, 1.22)
HEIGHT = (-0.6, 0.75)
"""What a lid's picture spans, in lengths of the eye: along it from one corner to the other, and below the corners' line."""
ABOVE = (-1.0, 0.35)
"""What a strip's picture spans in height: up to the brow."""
LASH = 0.2
"""How far lashes reach above the margin, in lengths of the eye."""


@njit(cache=True, inline="always")
def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True)
def paint(
    frame: np.ndarray, left: int, top: int, right: int, bottom: int, corner: np.ndarray, axis: np.ndarray, down: np.ndarray,
    length: float, lines: np.ndarray, own_crease: np.ndarray, skin: np.ndarray, lashes: np.ndarray, ink: np.ndarray,
    closed: float, amount: float,
) -> None:  # fmt: skip
    """Blend one lid into ``frame[top:bottom, left:right]``.

    ``lines`` are crease and margin as pixels below the line from ``corner`` along ``axis``; ``own_crease`` that of the
    portrait in lengths; ``closed`` and ``amount`` say how far the lid came down and how much of it is painted.
    """
    last = lines.shape[1] - 1
    tall, wide = skin.shape[0], skin.shape[1]
    swing = 1.0 - 1.45 * closed  # lashes point up (1), at the viewer (0), down
    swing = swing if abs(swing) > 0.12 else (0.12 if swing > 0 else -0.12)
    thick = max(0.6, (0.022 + 0.012 * closed) * length)
    for row in range(top, bottom):
        for column in range(left, right):
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
            ends = _step(-0.12, 0.03, along) * _step(1.12, 0.97, along)
            rise = 0.12 * length
            cover = (
                amount
                * ends
                * _step(margin + 0.7, margin - 0.7, below)
                * _step(crease - rise, crease + 0.3 * rise, below)
            )
            u = min(max((along - ALONG[0]) / (ALONG[1] - ALONG[0]) * wide - 0.5, 0.0), wide - 1.001)
            seen = 1.0
            if cover > 0.004:
                height = (below - crease) / length + own_crease[k] * (1 - f) + own_crease[k + 1] * f
                v = min(
                    max((height - HEIGHT[0]) / (HEIGHT[1] - HEIGHT[0]) * tall - 0.5, 0.0),
                    tall - 1.001,
                )
                i, j = int(u), int(v)
                a, b = u - i, v - j
                t = (below - crease) / max(margin - crease, 1.0)
                shade = 1.0 + 0.04 * closed * (_step(0.0, 0.4, t) - 3.5 * _step(0.55, 1.1, t))
                seen = skin[j, i, 3] * (1 - a) + skin[j, i + 1, 3] * a
                cover *= seen
                for c in range(3):
                    tone = (skin[j, i, c] * (1 - a) + skin[j, i + 1, c] * a) * (1 - b)
                    tone += (skin[j + 1, i, c] * (1 - a) + skin[j + 1, i + 1, c] * a) * b
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
            line = (
                np.exp(-0.5 * line * line)
                * amount
                * seen
                * 0.6
                * _step(0.0, 0.14, along)
                * _step(1.0, 0.86, along)
            )
            if dark > 0.01 or line > 0.01:
                for c in range(3):
                    value = frame[row, column, c] * (1 - dark)
                    value += line * (min(ink[c], value) - value)
                    frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))


@njit(cache=True)
def heights(along: np.ndarray, below: np.ndarray, count: int) -> np.ndarray:
    """Heights ``below`` at places ``along``, in any order, as smooth heights at ``count`` even places from 0 to 1."""
    order = np.argsort(along)
    x, y = along[order], below[order]
    rough = np.interp(np.linspace(0.0, 1.0, count), x, y)
    padded = np.empty(count + 4)
    padded[2:-2] = rough
    for i in range(1, 3):  # mirrored through the ends, so that they stay where they are
        padded[2 - i], padded[count + 1 + i] = (
            2.0 * rough[0] - rough[i],
            2.0 * rough[-1] - rough[-1 - i],
        )
    out = np.empty(count)
    for i in range(count):
        out[i] = (
            0.1 * (padded[i] + padded[i + 4])
            + 0.2 * (padded[i + 1] + padded[i + 3])
            + 0.4 * padded[i + 2]
        )
    return out


@njit(cache=True)
def even(x: np.ndarray, y: np.ndarray, count: int, out: np.ndarray) -> None:
    """Write places ``(n,)`` along, rising, and their values as smooth values at ``count`` even places over ALONG."""
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
def strip_lines(
    brow: np.ndarray,
    crease: np.ndarray,
    own: np.ndarray,
    along: np.ndarray,
    least: float,
    whole: float,
) -> tuple[np.ndarray, float]:
    """The lines of :func:`stretch` from places ``(n, 2)`` of brow and crease, the portrait's own lines and where its brow is along;
    and how much is painted at most. Growth below ``least`` is not painted, from ``whole`` on it is wholly."""
    count = own.shape[1]
    lines, most = np.empty((4, count)), 0.0
    even(brow[:, 0], brow[:, 1], count, lines[0])
    even(crease[:, 0], crease[:, 1], count, lines[1])
    even(along, brow[:, 0] - along, count, lines[2])
    for k in range(count):
        lines[3, k] = _step(least, whole, (lines[1, k] - lines[0, k]) - (own[1, k] - own[0, k]))
        most = max(most, lines[3, k])
    return lines, most


@njit(cache=True)
def stretch(
    frame: np.ndarray, left: int, top: int, right: int, bottom: int, corner: np.ndarray, axis: np.ndarray, down: np.ndarray,
    length: float, lines: np.ndarray, own: np.ndarray, low: np.ndarray, high: np.ndarray, past: float,
) -> None:  # fmt: skip
    """Blend one strip between brow and crease into ``frame[top:bottom, left:right]``.

    ``lines`` are brow and crease below the corners' line, by how much the brow went along, and how much is painted, in
    lengths at even places over ALONG; ``own`` brow and crease of the portrait; ``low`` hangs on the crease, ``high`` on the brow;
    ``past`` is how far below the crease it goes on.
    """
    last = lines.shape[1] - 1
    tall, wide = low.shape[0], low.shape[1]
    for row in range(top, bottom):
        for column in range(left, right):
            x, y = column + 0.5 - corner[0], row + 0.5 - corner[1]
            along, below = (
                (x * axis[0] + y * axis[1]) / length,
                (x * down[0] + y * down[1]) / length,
            )
            if along <= ALONG[0] or along >= ALONG[1]:
                continue
            place = (along - ALONG[0]) / (ALONG[1] - ALONG[0])
            k = min(int(place * last), last - 1)
            f = place * last - k
            brow, crease = (
                lines[0, k] * (1 - f) + lines[0, k + 1] * f,
                lines[1, k] * (1 - f) + lines[1, k + 1] * f,
            )
            if below >= crease + past or below <= brow - 0.1:
                continue
            cover = lines[3, k] * (1 - f) + lines[3, k + 1] * f
            cover *= _step(ALONG[0], ALONG[0] + 0.2, along) * _step(ALONG[1], ALONG[1] - 0.2, along)
            cover *= _step(brow - 0.1, brow, below) * _step(
                crease + past, crease + past - 0.05, below
            )
            if cover < 0.004:
                continue
            share = _step(0.3, 0.8, (below - brow) / max(crease - brow, 1e-3))
            u0, v0 = (
                place * wide - 0.5,
                (below - crease + own[1, k] * (1 - f) + own[1, k + 1] * f - ABOVE[0]),
            )
            u1 = (along - lines[2, k] * (1 - f) - lines[2, k + 1] * f - ALONG[0]) / (
                ALONG[1] - ALONG[0]
            ) * wide - 0.5
            v1 = below - brow + own[0, k] * (1 - f) + own[0, k + 1] * f - ABOVE[0]
            u0, u1 = min(max(u0, 0.0), wide - 1.001), min(max(u1, 0.0), wide - 1.001)
            v0 = min(max(v0 / (ABOVE[1] - ABOVE[0]) * tall - 0.5, 0.0), tall - 1.001)
            v1 = min(max(v1 / (ABOVE[1] - ABOVE[0]) * tall - 0.5, 0.0), tall - 1.001)
            i0, j0, i1, j1 = int(u0), int(v0), int(u1), int(v1)
            a0, b0, a1, b1 = u0 - i0, v0 - j0, u1 - i1, v1 - j1
            for c in range(3):
                one = (low[j0, i0, c] * (1 - a0) + low[j0, i0 + 1, c] * a0) * (1 - b0)
                one += (low[j0 + 1, i0, c] * (1 - a0) + low[j0 + 1, i0 + 1, c] * a0) * b0
                two = (high[j1, i1, c] * (1 - a1) + high[j1, i1 + 1, c] * a1) * (1 - b1)
                two += (high[j1 + 1, i1, c] * (1 - a1) + high[j1 + 1, i1 + 1, c] * a1) * b1
                value = frame[row, column, c] + cover * (
                    two + share * (one - two) - frame[row, column, c]
                )
                frame[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
