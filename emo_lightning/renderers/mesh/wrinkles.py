"""Wrinkles that action units deepen: frown, forehead, nose, nasolabial fold, crow's feet.

A fold is a soft dark valley beside a faint bulge, multiplied into the portrait's own picture before
it is warped, so it moves with the skin. Its depth is linear in the action units and relative to the
portrait's own: nothing changes where they do not. Which unit makes which fold: Ekman, Friesen &
Hager, *FACS Investigator's Guide*, 2002.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.renderers.mesh.geometry.coordinates import FaceView, smoothstep

Point = tuple[tuple[int, float], ...]
"""A place on the face: vertices and their shares."""
FADE = 0.9
"""How much of a fold that the portrait has already is taken away as its muscle relaxes."""
OWN = 0.1
"""Depth of a portrait's own fold from which its relief is measured in the picture."""
VALLEY, DEEPEST = 0.17, 0.9
"""IOD of the widest valley that is a fold, and logarithm of the most light that it loses."""
CHEEKS = [50, 280, 101, 330, 205, 425, 118, 347]
ROUGH, YOUNG = (0.006, 0.02), 0.4
"""Median relief of smooth and of lined cheeks as a share of brightness; depth on smooth ones."""
RED = np.array([0.85, 1.05, 1.1])
"""Powers of a fold's shade in red, green and blue: light in a fold has passed through skin."""
LEAST = 0.01
"""Change of intensity below which a fold is left alone: less than half a grey level."""


@dataclass(frozen=True)
class Fold:
    """A line on the face.

    Attributes:
        units: names of expression coefficients and what each adds to the depth.
        line: places along it; it fades towards both ends.
        width: IOD, standard deviation of the valley.
        depth: share of the light that its deepest point loses at intensity 1.
        bulge: share of that depth by which the skin on its left, going along, gets lighter.
    """

    units: Mapping[str, float]
    line: Sequence[Point]
    width: float
    depth: float
    bulge: float = 0.4


def _at(vertex: int) -> Point:
    return ((vertex, 1.0),)


def _mix(a: int, b: int, share: float) -> Point:
    return ((a, 1.0 - share), (b, share))


_BROW_ROW = (105, 66, 107, 9, 336, 296, 334)
_LOW_FOREHEAD = (104, 69, 108, 151, 337, 299, 333)
_HIGH_FOREHEAD = (103, 67, 109, 10, 338, 297, 332)


def _forehead(units: Mapping[str, float], part: slice, depth: float) -> list[Fold]:
    """Three lines across the forehead, each between two rows of vertices."""
    rows = (
        (_BROW_ROW, _LOW_FOREHEAD, 0.62),
        (_LOW_FOREHEAD, _HIGH_FOREHEAD, 0.08),
        (_LOW_FOREHEAD, _HIGH_FOREHEAD, 0.55),
    )
    lines = [
        [_mix(a, b, share) for a, b in zip(low[part], high[part], strict=True)]
        for low, high, share in rows
    ]
    return [Fold(units, line, 0.011, depth, 0.5) for line in lines]


_MIRROR = {
    49: 279, 203: 423, 36: 266, 206: 426, 205: 425, 216: 436, 207: 427, 212: 432, 186: 410, 57: 287,
    43: 273, 202: 422, 210: 430, 69: 299, 108: 337, 107: 336, 55: 285, 245: 465, 122: 351, 188: 412,
    196: 419, 174: 399, 226: 446, 113: 342, 124: 353, 156: 383, 35: 265, 143: 372, 31: 261,
    111: 340,
}  # fmt: skip
"""The other side's vertex of those that lie on the subject's right."""


def _pair(
    units: Mapping[str, float], line: Sequence[Point], width: float, depth: float, bulge: float
) -> tuple[Fold, Fold]:
    """A fold on the subject's right and its mirror image, with that side's units."""

    def of_side(side: str) -> dict[str, float]:
        names = {name: name if name in EXP_NAMES else f"{name}_{side}" for name in units}
        return {names[name]: share for name, share in units.items()}

    mirrored = [tuple((_MIRROR.get(vertex, vertex), share) for vertex, share in p) for p in line]
    left = Fold(of_side("L"), mirrored, width, depth, -bulge)
    return Fold(of_side("R"), line, width, depth, bulge), left


_CHEEK_LINE = [_mix(203, 36, 0.12), _mix(206, 205, 0.08), _mix(216, 207, 0.05)]
_SMILE_LINE = [_at(49), *_CHEEK_LINE, _mix(216, 212, 0.6)]
_FROWN_LINE = [_mix(108, 107, 0.5), _mix(107, 9, 0.4), _mix(55, 9, 0.45), _mix(55, 8, 0.5)]
_NOSE_BRIDGE = [_mix(193, 122, 0.2), _mix(168, 6, 0.35), _mix(417, 351, 0.2)]
_NOSE_SIDE = [_mix(245, 122, 0.3), _mix(188, 122, 0.5), _mix(188, 196, 0.5), _mix(174, 196, 0.6)]
_DIMPLE_LINE = [_mix(216, 186, 0.3), _mix(57, 212, 0.35), _mix(43, 212, 0.4)]
_MARIONETTE_LINE = [_mix(57, 43, 0.3), _mix(43, 202, 0.5), _mix(202, 210, 0.6)]
_CROWS_FEET = (
    [_mix(226, 113, 0.6), _mix(124, 156, 0.6)],
    [_mix(226, 35, 0.4), _mix(35, 143, 0.8)],
    [_mix(226, 31, 0.6), _mix(35, 111, 0.6)],
)
_CHEEK_RAISER = {"AU6": 0.8, "AU12": 0.3, "AU7": 0.1}
FOLDS: tuple[Fold, ...] = (
    *_pair({"AU12": 0.75, "AU10": 0.5, "AU9": 0.45, "AU6": 0.25}, _SMILE_LINE, 0.024, 0.12, -0.08),
    *_pair({"AU4": 1.0, "AU9": 0.3}, _FROWN_LINE, 0.015, 0.15, -0.6),
    *_forehead({"AU1_L": 0.5, "AU1_R": 0.5, "AU4": -0.3}, slice(1, 6), 0.08),
    *_forehead({"AU2_R": 0.9}, slice(0, 4), 0.06),
    *_forehead({"AU2_L": 0.9}, slice(3, 7), 0.06),
    Fold({"AU9": 1.0}, _NOSE_BRIDGE, 0.014, 0.08, 0.6),
    *_pair({"AU9": 1.0}, _NOSE_SIDE, 0.016, 0.10, 0.6),
    *(fold for line in _CROWS_FEET for fold in _pair(_CHEEK_RAISER, line, 0.011, 0.09, 0.5)),
    *_pair({"AU14": 1.0, "AU12": 0.25}, _DIMPLE_LINE, 0.024, 0.085, -0.3),
    *_pair({"AU15": 0.8, "AU17": 0.2}, _MARIONETTE_LINE, 0.019, 0.11, -0.5),
)


@dataclass(frozen=True)
class Wrinkles:
    """The folds of one portrait.

    Attributes:
        units: ``(K, E)`` from expression coefficients to depths.
        own: ``(E,)`` the portrait's own expression.
        places: ``(K, 2)`` int64, row and column of each field's corner.
        fields: one ``(h, w)`` float32 a fold: the logarithm of what it does to the light at
            intensity 1.
        reliefs: likewise ``(h, w, 3)`` of what the portrait's own fold does, where it has one.
    """

    units: np.ndarray
    own: np.ndarray
    places: np.ndarray
    fields: tuple[np.ndarray, ...]
    reliefs: tuple[np.ndarray | None, ...]

    def apply(self, image: np.ndarray, exp: np.ndarray) -> np.ndarray:
        """The portrait ``(S, S, 3)`` uint8 with the folds of an expression ``(E,)``."""
        own = np.maximum(self.units @ self.own, 0.0)
        change = np.maximum(self.units @ exp, 0.0) - own
        active = np.flatnonzero(np.abs(change) > LEAST)
        if len(active) == 0:
            return image
        image = image.copy()
        for k in active:
            (top, left), relief = self.places[k], self.reliefs[k]
            if change[k] > 0.0 or relief is None:
                amount = change[k] * (1.0 if change[k] > 0.0 else FADE)
                _shade(image, self.fields[k], top, left, amount)
                continue
            part = image[top : top + relief.shape[0], left : left + relief.shape[1]]
            lit = part * np.exp(np.float32(FADE * change[k] / own[k]) * relief)
            part[:] = np.minimum(lit + np.float32(0.5), np.float32(255.0))
        return image


def prepare_wrinkles(image: np.ndarray, view: FaceView, exp: np.ndarray) -> Wrinkles:
    """Place the folds' lines on a portrait.

    Args:
        image: ``(S, S, 3)`` uint8.
        view: of the portrait.
        exp: ``(E,)`` its own expression.
    """
    points, unit = view.pixels(), view.unit
    skin = _skin_depth(image, points, unit)
    relief = _valleys(image, unit)
    units, places, fields, reliefs = [], [], [], []
    for fold in FOLDS:
        line = [sum(share * points[vertex] for vertex, share in place) for place in fold.line]
        width = max(fold.width * unit, 0.6)
        corner, field = _fold_field(_smooth_curve(np.array(line)), width, fold, view.size)
        (top, left), (height, wide) = corner, field.shape
        part = np.s_[top : top + height, left : left + wide]
        units.append([fold.units.get(name, 0.0) for name in EXP_NAMES])
        band = np.clip(field * (-1.5 / fold.depth), 0.0, 1.0) * (skin[part] > 0.02)
        bent = float(np.dot(units[-1], exp)) > OWN
        reliefs.append((band[..., None] * relief[part]).astype(np.float32) if bent else None)
        places.append(corner)
        fields.append(field * skin[part])
    own = exp.astype(np.float64)
    return Wrinkles(np.array(units), own, np.array(places), tuple(fields), tuple(reliefs))


def _valleys(image: np.ndarray, unit: float) -> np.ndarray:
    """Logarithm ``(S, S, 3)`` float32, at most 0, of the light that narrow dark valleys lose."""
    soft = cv2.GaussianBlur(image.astype(np.float32) + 4.0, (0, 0), max(0.7, 0.012 * unit))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, round(VALLEY * unit)) | 1,) * 2)
    filled = cv2.GaussianBlur(cv2.morphologyEx(soft, cv2.MORPH_CLOSE, disc), (0, 0), 0.03 * unit)
    lost = np.minimum(np.log(soft / filled), 0.0)
    # All channels in proportion, or what stays of a deep fold would be tinted.
    return lost * np.minimum(DEEPEST / np.maximum(-lost.min(axis=2, keepdims=True), 1e-3), 1.0)


def _skin_depth(image: np.ndarray, points: np.ndarray, unit: float) -> np.ndarray:
    """Depth of folds ``(S, S)`` float32: none in hair or on a rim, less on smooth skin."""
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft = cv2.GaussianBlur(light, (0, 0), max(0.7, 0.012 * unit))
    at = np.clip(points[CHEEKS].astype(int), 0, image.shape[0] - 1)
    tone = max(float(np.median(soft[at[:, 1], at[:, 0]])), 1.0)
    rough = np.abs(soft - cv2.GaussianBlur(soft, (0, 0), max(1.4, 0.035 * unit))) / tone
    rough = cv2.GaussianBlur(rough, (0, 0), max(2.0, 0.06 * unit))
    age = float(smoothstep(*ROUGH, np.median(rough[at[:, 1], at[:, 0]])))
    bare = cv2.erode(soft, np.ones((3, 3), np.uint8), iterations=max(1, round(0.02 * unit)))
    clear = smoothstep(0.35, 0.55, bare / tone).astype(np.float32)
    clear = cv2.GaussianBlur(clear, (0, 0), max(0.7, 0.02 * unit))
    return clear * np.float32(YOUNG + (1.0 - YOUNG) * age)


def _smooth_curve(line: np.ndarray, count: int = 24) -> np.ndarray:
    """A Catmull-Rom curve through the places, ``(count, 2)``."""
    ends = [2 * line[0] - line[1], *line, 2 * line[-1] - line[-2]]
    at = np.linspace(0, len(line) - 1, count)
    k = np.minimum(at.astype(int), len(line) - 2)
    t = (at - k)[:, None]
    p0, p1, p2, p3 = (np.array(ends)[k + i] for i in range(4))
    squared = (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
    return 0.5 * (2 * p1 + (p2 - p0) * t + squared + (3 * p1 - p0 - 3 * p2 + p3) * t**3)


def _fold_field(
    line: np.ndarray, width: float, fold: Fold, size: int
) -> tuple[tuple[int, int], np.ndarray]:
    """Corner (row, column) and logarithm of the shade of one fold around its line in pixels."""
    low = np.clip(np.floor(line.min(axis=0) - 7 * width).astype(int), 0, size - 1)
    high = np.clip(np.ceil(line.max(axis=0) + 7 * width).astype(int), low + 1, size)
    distance, along = _distance(line, low[0], low[1], high[0] - low[0], high[1] - low[1])
    distance /= width
    distance *= np.sign(fold.bulge)
    valley = np.exp(-0.5 * distance**2) + 0.35 * np.exp(-0.5 * ((distance + 1.2) / 2.2) ** 2)
    lobe = abs(fold.bulge) * np.exp(-0.5 * ((distance - 2.8) / 2.0) ** 2)
    taper = smoothstep(0.0, 0.35, along) * smoothstep(1.0, 0.6, along)
    return (int(low[1]), int(low[0])), (fold.depth * taper * (lobe - valley)).astype(np.float32)


@njit(cache=True)
def _distance(
    line: np.ndarray, left: int, top: int, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each pixel from a line ``(N, 2)``, positive on its left, and share along it."""
    distance, along = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    parts = len(line) - 1
    for row in range(height):
        for column in range(width):
            best = 1e30
            for k in range(parts):
                x, y = left + column + 0.5 - line[k, 0], top + row + 0.5 - line[k, 1]
                dx, dy = line[k + 1, 0] - line[k, 0], line[k + 1, 1] - line[k, 1]
                share = min(max((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-9), 0.0), 1.0)
                away = (x - share * dx) ** 2 + (y - share * dy) ** 2
                if away < best:
                    best = away
                    side = 1.0 if dy * x - dx * y >= 0.0 else -1.0
                    distance[row, column] = np.sqrt(away) * side
                    along[row, column] = (k + share) / parts
    return distance, along


@njit(cache=True)
def _shade(image: np.ndarray, field: np.ndarray, top: int, left: int, amount: float) -> None:
    """Multiply the light of ``image`` by ``exp(amount * field)``, in place."""
    for row in range(field.shape[0]):
        for column in range(field.shape[1]):
            x = amount * field[row, column]
            if abs(x) > 0.002:
                for c in range(3):
                    power = x * RED[c]
                    value = image[top + row, left + column, c] * (1.0 + power * (1.0 + 0.5 * power))
                    image[top + row, left + column, c] = np.uint8(min(value + 0.5, 255.0))
