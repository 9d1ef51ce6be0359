"""Numba kernel of the mouth's interior, and the light inside a mouth."""

from __future__ import annotations

import numpy as np
from numba import njit

from emo_lightning.renderers.mesh.geometry.raster import step
from emo_lightning.renderers.mesh.mouth.teeth import REACH, ROOT

ARCH = 2.1
"""Curvature of the dental arch: depth behind the front teeth in IOD is ARCH * x^2."""
DEEPEST = 0.24
"""IOD of depth at which the arch is taken to run straight on."""
CORNER = 0.06
"""IOD from the mouth's corners over which its interior appears."""
DIM = np.array([1.0, 1.28, 1.42])
"""Powers of a shadow inside the mouth in red, green and blue: light through lips and gums."""


@njit(cache=True, inline="always")
def _blend_teeth(
    colour: np.ndarray, row: np.ndarray, density: float, x: float, y: float, light: np.ndarray
) -> None:
    """Blend a row's texture, lit, over ``colour`` at ``x, y`` in IOD of an average mouth."""
    u, v = (x + REACH) * density - 0.5, (y + ROOT) * density - 0.5
    if u < 0.0 or u >= row.shape[1] - 1.001 or v >= row.shape[0] - 1.001:
        return
    v = max(v, 0.0)
    i, j = int(u), int(v)
    a, b = u - i, v - j
    p, q, r, s = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    cover = row[j, i, 3] * p + row[j, i + 1, 3] * q
    cover = cover + row[j + 1, i, 3] * r + row[j + 1, i + 1, 3] * s
    if cover > 0.004:
        for c in range(3):
            tone = row[j, i, c] * p + row[j, i + 1, c] * q
            tone = tone + row[j + 1, i, c] * r + row[j + 1, i + 1, c] * s
            colour[c] += tone * light[c] - cover * colour[c]


@njit(cache=True, inline="always")
def _dim(light: float, out: np.ndarray) -> None:
    for c in range(3):
        out[c] = light ** DIM[c]


@njit(cache=True, inline="always")
def _upper_light(under: float, over: float) -> float:
    """Light ``under`` IOD below the upper lip's edge and ``over`` above the lower one's."""
    return (0.73 + 0.27 * step(-0.02, 0.045, under)) * (0.88 + 0.12 * step(0.0, 0.03, over))


@njit(cache=True, inline="always")
def _lower_light(under: float, over: float) -> float:
    return (0.46 + 0.24 * step(0.02, 0.14, under)) * (0.68 + 0.32 * step(-0.005, 0.05, over))


@njit(cache=True, inline="always")
def _corner_light(away: float) -> float:
    """Light ``away`` IOD from the nearer corner of the mouth."""
    return 0.45 + 0.55 * step(0.0, 0.14, away)


@njit(cache=True)
def upper_teeth_light(under: np.ndarray, over: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Light of :func:`paint_interior` on the upper teeth, ``(H, W)`` float32.

    Distances ``(H, W)`` are IOD from both lips' edges and from the nearer corner.
    """
    out = np.empty(under.shape, np.float32)
    for i in range(under.shape[0]):
        for j in range(under.shape[1]):
            out[i, j] = _upper_light(under[i, j], over[i, j]) * _corner_light(away[i, j])
    return out


@njit(cache=True)
def paint_interior(
    frame: np.ndarray, mask: np.ndarray, left: int, top: int, strength: float,
    upper_row: np.ndarray, lower_row: np.ndarray, density: float, shift: np.ndarray,
    back: np.ndarray, turn: np.ndarray, centre: np.ndarray, scale: float, shows: np.ndarray,
    slant: float, jaw: float, gap: float, rise: float, rim: float, colours: np.ndarray,
    edges: np.ndarray, middle: np.ndarray,
) -> None:  # fmt: skip
    """Blend the mouth's interior into ``frame`` under ``mask`` at ``left, top``.

    ``upper_row, lower_row`` are the teeth's textures at ``density`` pixels per IOD; ``shift (2,)``
    is where model space's origin lies in pixels, ``back (2,)`` the pixels a step in depth takes,
    ``turn (2, 2)`` maps pixel offsets to the face's own axes; ``edges (2, 35)`` are both lips'
    edges there, measured from ``middle``; ``rise`` is how high the tongue stands, 0..1, ``rim`` how
    much the lower lip's inside shows. For the rest see
    :class:`emo_lightning.renderers.mesh.mouth.interior.MouthInterior`.
    """
    open_light = 0.86 + 0.14 * step(0.02, 0.12, gap)
    span = max(edges[0, 1] - edges[0, 0], 1e-6)
    colour, lit = np.zeros(3), np.zeros(3)
    drop = jaw / scale
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            alpha = mask[row, column] / 255.0 * strength
            if alpha < 0.004:
                continue
            px, py = left + column + 0.5, top + row + 0.5
            dx, dy = px - middle[0], py - middle[1]
            fx, fy = turn[0, 0] * dx + turn[0, 1] * dy, turn[1, 0] * dx + turn[1, 1] * dy
            place = min(max((fx - edges[0, 0]) / span * 32.0, 0.0), 31.999)
            k = int(place)
            a = place - k
            under = fy - (edges[0, 2 + k] * (1 - a) + edges[0, 3 + k] * a)
            over = edges[1, 2 + k] * (1 - a) + edges[1, 3 + k] * a - fy
            # Where the line of sight meets the arch; three rounds do, as it is shallow.
            z, x, y = centre[2], 0.0, 0.0
            for _ in range(3):
                ex, ey = px - shift[0] - back[0] * z, py - shift[1] - back[1] * z
                x = turn[0, 0] * ex + turn[0, 1] * ey - centre[0]
                y = turn[1, 0] * ex + turn[1, 1] * ey - centre[1]
                z = centre[2] + min(ARCH * x * x, DEEPEST)
            x, y = x / scale, y / scale
            sided = max(1.0 + slant * x, 0.3)
            away = min(place, 32.0 - place) / 32.0 * span
            # At the corners lips touch: the seam of the picture itself goes on there.
            alpha *= 0.3 + 0.7 * step(0.0, CORNER, away)
            flesh = 1.3 + 0.6 * step(2.0 * CORNER, 0.0, away)
            corner = _corner_light(away)
            # The throat is dark; lighter are its front and lips that nearly meet.
            deep = (0.55 + 0.65 * step(0.02, 0.22, under)) * sided * corner
            near = 0.8 * step(0.12, 0.01, under + over) * sided
            for c in range(3):
                colour[c] = colours[3, c] * deep * (1.0 - near) + flesh * colours[4, c] * near
            # Tongue: a soft mound behind the lower teeth.
            tx, ty = x / 0.23, (y - 0.60 * drop - 0.115 + 0.06 * rise) / 0.105
            dome = tx * tx + ty * ty * (1.0 if ty < 0.0 else 0.3)
            if dome < 1.5:
                cover = step(1.5, 0.35, dome)
                shade = 0.42 + 0.48 * step(-1.1, 0.5, ty)
                shade *= 0.62 + 0.38 * step(0.03, 0.16, under)
                shade *= 0.75 + 0.25 * step(0.0, 0.05, over)
                _dim(shade * open_light * sided * (1.0 - 0.10 * step(0.05, 0.0, abs(x))), lit)
                for c in range(3):
                    colour[c] += cover * (colours[2, c] * lit[c] - colour[c])
            for c in range(3):
                colour[c] = colours[5, c] + (1.0 - colours[5, c] / 255.0) * colour[c]
            lower = 1.0 if rim == 0.0 else _lower_light(under, over) * open_light * sided * corner
            _dim(lower, lit)
            _blend_teeth(colour, lower_row, density, x, -(y - drop - shows[1]), lit)
            _dim(_upper_light(under, over) * open_light * sided * corner, lit)
            _blend_teeth(colour, upper_row, density, x, y - shows[0], lit)
            # The lower lip's wet inside stands before its teeth.
            wet = rim * step(min(0.032, max(0.35 * (under + over), 0.004)), 0.0, over)
            wet = wet * step(0.02, 0.15, away)
            for c in range(3):
                colour[c] += wet * (1.75 * colours[4, c] * sided - colour[c])
            for c in range(3):
                value = frame[row + top, column + left, c] * (1 - alpha) + colour[c] * alpha
                frame[row + top, column + left, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
