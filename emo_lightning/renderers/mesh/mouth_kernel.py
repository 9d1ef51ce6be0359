"""The pixel loop of :mod:`emo_lightning.renderers.mesh.mouth`."""

from __future__ import annotations

import numpy as np
from numba import njit

ARCH = 1.9
"""Curvature of the dental arch: depth behind the front teeth in IOD is ARCH * x^2."""
UPPER = np.array([0.0, 0.082, 0.145, 0.21, 0.262, 0.305, 0.35])
LOWER = np.array([0.0, 0.054, 0.112, 0.178, 0.236, 0.285, 0.33])
"""Where teeth end, from the middle outward, as seen from the front."""
UPPER_HEIGHT, LOWER_HEIGHT = 0.115, 0.095
UPPER_SHOW, LOWER_SHOW = 0.036, 0.05
"""How far below the lips' seam the front teeth's edges lie with the mouth closed, unless the portrait shows otherwise."""
DIM = np.array([1.0, 1.14, 1.22])
"""Powers of a shadow inside the mouth in red, green and blue: what light there is has passed through lips and gums."""
UPPER_EDGE = np.array([0.0, -0.007, -0.002, -0.010, -0.018, -0.026])
"""How each upper tooth's edge lies against the central incisor's (negative: shorter)."""


@njit(cache=True, inline="always")
def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, inline="always")
def _sample(image: np.ndarray, x: float, y: float, channel: int) -> float:
    """Bilinear, at a pixel position; the border is repeated."""
    height, width = image.shape[0], image.shape[1]
    x, y = min(max(x - 0.5, 0.0), width - 1.001), min(max(y - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    a, b = x - i, y - j
    top = image[j, i, channel] * (1 - a) + image[j, i + 1, channel] * a
    return top * (1 - b) + (image[j + 1, i, channel] * (1 - a) + image[j + 1, i + 1, channel] * a) * b


@njit(cache=True, inline="always")
def _sample_mask(mask: np.ndarray, x: float, y: float) -> float:
    height, width = mask.shape
    x, y = min(max(x - 0.5, 0.0), width - 1.001), min(max(y - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    a, b = x - i, y - j
    top = mask[j, i] * (1 - a) + mask[j, i + 1] * a
    return (top * (1 - b) + (mask[j + 1, i] * (1 - a) + mask[j + 1, i + 1] * a) * b) / 255.0


@njit(cache=True)
def _tooth(
    x: float, y: float, bounds: np.ndarray, edges: np.ndarray, tall: float, relief: float, pixel: float
) -> tuple[float, float, float]:
    """Cover, brightness and gum share of a row of teeth at ``x`` from the middle and ``y`` from the biting edge (negative
    towards the root), all in IOD of an average mouth."""
    side = abs(x)
    if side >= bounds[-1]:
        return 0.0, 0.0, 0.0
    index = 0
    while side > bounds[index + 1]:
        index += 1
    half = (bounds[index + 1] - bounds[index]) / 2.0
    across = (side - bounds[index] - half) / half
    edge = edges[index] - 0.011 * across**4
    cover = _step(pixel, -pixel, y - edge) if pixel > 0 else 1.0
    groove = 1.0 - 0.10 * relief * _step(0.70, 1.0, abs(across)) * min(1.0, 0.012 / pixel)
    root = -y / tall
    body = 1.0 - 0.10 * root * root - 0.05 * _step(0.25, 0.0, root)
    gum = _step(0.92, 1.06, root + 0.10 * across * across)
    return cover, groove * body, gum


@njit(cache=True, inline="always")
def _own(
    colour: np.ndarray, image: np.ndarray, own: np.ndarray, camera: np.ndarray, shift: np.ndarray, x: float, y: float, z: float
) -> None:
    """Cover ``colour`` by the portrait's own picture of a place in model space, as far as ``own`` shows it."""
    if own.shape[0] <= 1:
        return
    u = camera[0, 0] * x + camera[0, 1] * y + camera[0, 2] * z + shift[0]
    v = camera[1, 0] * x + camera[1, 1] * y + camera[1, 2] * z + shift[1]
    keep = _sample_mask(own, u, v)
    if keep > 0.004:
        for c in range(3):
            colour[c] += keep * (_sample(image, u, v, c) - colour[c])


@njit(cache=True)
def paint(
    frame: np.ndarray, image: np.ndarray, own_upper: np.ndarray, own_lower: np.ndarray, mask: np.ndarray, left: int, top: int,
    strength: float, camera: np.ndarray, shift: np.ndarray, own_camera: np.ndarray, own_shift: np.ndarray, turn: np.ndarray,
    centre: np.ndarray, scale: float, shows: np.ndarray, slant: float, jaw: float, own_jaw: float, gap: float,
    colours: np.ndarray, upper: np.ndarray, middle: np.ndarray, unit: float,
) -> None:  # fmt: skip
    """Blend the mouth's inside into ``frame`` under ``mask`` (its top left corner at ``left, top``).

    ``camera (2, 3), shift (2,)`` carry model space to pixels, ``own_*`` the portrait's; ``turn (2, 2)`` carries pixel
    offsets from ``middle`` back; ``upper`` is the lip's edge in those axes; ``unit`` is pixels per IOD. For the rest see
    :class:`emo_lightning.renderers.mesh.mouth.Mouth`.
    """
    pixel = 0.6 / unit
    flat = np.zeros(6)
    open_light = 0.86 + 0.14 * _step(0.02, 0.12, gap)
    relief = 0.4 + 0.6 * _step(0.02, 0.08, gap)  # in a narrow slit no light falls between the teeth
    span = max(upper[1] - upper[0], 1e-6)
    colour = np.zeros(3)
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            alpha = mask[row, column] / 255.0 * strength
            if alpha < 0.004:
                continue
            px, py = left + column + 0.5, top + row + 0.5
            dx, dy = px - middle[0], py - middle[1]
            fx, fy = turn[0, 0] * dx + turn[0, 1] * dy, turn[1, 0] * dx + turn[1, 1] * dy
            place = min(max((fx - upper[0]) / span * 32.0, 0.0), 31.999)
            k = int(place)
            lip = upper[2 + k] * (1 - place + k) + upper[3 + k] * (place - k)
            under = fy - lip
            # Where the line of sight meets the arch: three rounds suffice, the arch is shallow against the turn.
            z, x, y = centre[2], 0.0, 0.0
            for _ in range(3):
                ex, ey = px - shift[0] - camera[0, 2] * z, py - shift[1] - camera[1, 2] * z
                x, y = turn[0, 0] * ex + turn[0, 1] * ey - centre[0], turn[1, 0] * ex + turn[1, 1] * ey - centre[1]
                z = centre[2] + ARCH * min(x * x, 0.12)
            x, y = x / scale, y / scale
            sided = max(1.0 + slant * x, 0.3)
            depth = (1.0 - 0.70 * _step(0.12, 0.36, abs(x))) * sided
            shadow = (0.74 + 0.26 * _step(-0.015, 0.035, under)) * open_light * depth
            back = (0.70 + 0.60 * _step(0.0, 0.25, under)) * sided
            for c in range(3):
                colour[c] = colours[3, c] * back
            drop = jaw / scale
            # Tongue: the front of a dome between the lower teeth.
            tx, ty = x / 0.25, (y - 0.62 * drop - 0.12) / 0.12
            dome = tx * tx + ty * ty
            if dome < 1.4:
                cover = _step(1.4, 0.6, dome)
                light = (0.58 + 0.42 * _step(-1.0, 0.3, ty)) * open_light * sided * (1.0 - 0.12 * _step(0.06, 0.0, abs(x)))
                for c in range(3):
                    colour[c] += cover * (colours[2, c] * light ** DIM[c] - colour[c])
            cover, light, gum = _tooth(x, -(y - drop - shows[1]), LOWER, flat, LOWER_HEIGHT, relief, pixel)
            if cover > 0:
                light *= (0.62 + 0.26 * _step(0.02, 0.12, under)) * open_light * depth
                for c in range(3):
                    tone = (colours[0, c] * (1 - gum) + colours[1, c] * gum) * light ** DIM[c]
                    colour[c] += cover * (tone - colour[c])
            x3, y3 = x * scale + centre[0], y * scale + centre[1]
            _own(colour, image, own_lower, own_camera, own_shift, x3, y3 - jaw + own_jaw, z)
            cover, light, gum = _tooth(x, y - shows[0], UPPER, UPPER_EDGE, UPPER_HEIGHT, relief, pixel)
            if cover > 0:
                light *= shadow
                for c in range(3):
                    tone = (colours[0, c] * (1 - gum) + colours[1, c] * gum) * light ** DIM[c]
                    colour[c] += cover * (tone - colour[c])
            _own(colour, image, own_upper, own_camera, own_shift, x3, y3, z)
            for c in range(3):
                value = frame[row + top, column + left, c] * (1 - alpha) + colour[c] * alpha
                frame[row + top, column + left, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
