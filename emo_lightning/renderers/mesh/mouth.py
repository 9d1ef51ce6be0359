"""The mouth's inside: cavity, tongue and two arches of teeth in 3D, seen between the parted lips.

Upper teeth are fixed to the skull, lower teeth and tongue follow the jaw. A portrait whose mouth is open keeps its own
teeth wherever they stay in view. Sizes are anatomy's in IOD (outer eye corners, about 90 mm apart).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.renderers.mesh import topology
from emo_lightning.renderers.mesh.geometry import Pose, pixels, smoothstep
from emo_lightning.renderers.mesh.mouth_kernel import LOWER_SHOW, UPPER_SHOW, paint

OWN_OPEN = 0.035
"""IOD of own opening from which the portrait's own interior is used."""
OWN_INSET = 0.013
"""IOD by which the own interior is kept away from the lips, whose edge blurs into it."""
JAW_SHARE = 0.85
"""How much of the chin's drop the lower teeth take: the skin of the chin moves a little more than the bone."""
CHIN = (152, 175, 199, 200, 148, 377)
SAME = 0.03
"""IOD of lip motion over which the portrait's own picture of an open mouth gives way to the one in depth."""
SIDES = ([205, 206, 50, 187, 214], [425, 426, 280, 411, 434])
"""Skin beside mouth and nose, about 0.6 IOD apart."""
BARE = 0.62
"""Share of the brightest row of an open mouth below which a row is no teeth."""
HIGH, DROPPED = 0.3, 0.03
"""Share of the opening below whose top teeth must begin to be the lower ones, and IOD by which the jaw must hang then."""
NOTHING = np.zeros((1, 1), np.uint8)
LEAST_GAP = 0.006
"""IOD of opening below which nothing is drawn: lips that touch."""


@dataclass(frozen=True)
class Mouth:
    """What is known of one portrait's mouth.

    Attributes:
        centre: ``(3,)`` model space, where the edges of the front teeth meet when the mouth is closed.
        scale: size of this mouth against the average.
        chin: height of the chin with the mouth closed, model space.
        colours: ``(5, 3)`` RGB of teeth, gums, tongue, cavity, and of the line between closed lips.
        shows: how far below the seam the edges of upper and lower front teeth lie, IOD of an average mouth.
        slant: how much brighter the light is per IOD to the image's right.
        own: two ``(S, S)`` uint8, where the portrait shows what is fixed to the skull and to the jaw; ``(1, 1)`` if nothing.
        own_jaw: how far its jaw hangs, IOD.
    """

    centre: np.ndarray
    scale: float
    chin: float
    colours: np.ndarray
    shows: np.ndarray
    slant: float
    own: tuple[np.ndarray, np.ndarray]
    own_jaw: float


def read(image: np.ndarray, rest: np.ndarray, neutral: np.ndarray, pose: Pose) -> Mouth:
    """Look at the portrait's mouth.

    Args:
        image: ``(S, S, 3)`` uint8 RGB.
        rest, neutral: ``(468, 3)`` the portrait's shape as it is, and with its expression taken off.
        pose: of the portrait.
    """
    corners = neutral[[topology.LIP_INNER_UPPER[0], topology.LIP_INNER_UPPER[-1]]]
    front = neutral[[13, 82, 312]].mean(axis=0)
    centre = np.array([front[0], front[1], front[2] + 0.05])
    scale = float(np.clip(np.linalg.norm(corners[1] - corners[0]) / 0.5, 0.85, 1.15))
    chin = float(neutral[list(CHIN), 1].mean())
    own_jaw = JAW_SHARE * float(rest[list(CHIN), 1].mean() - chin)
    gap = rest[topology.LIP_INNER_LOWER, 1] - rest[topology.LIP_INNER_UPPER, 1]
    shows, own, inside = np.array([UPPER_SHOW, LOWER_SHOW]), (NOTHING, NOTHING), None
    if gap.max() > OWN_OPEN:
        split, edges = _rows(image, rest, pose, own_jaw)
        own = tuple(_shown(image.shape[0], rest, pose, *part) for part in ((0.0, split), (split, 1.0)))
        inside = np.maximum(*own) if own[0].shape == own[1].shape else max(own, key=len)
        top, bottom = (float(rest[row, 1]) for row in (13, 14))
        found = (top + edges * (bottom - top) - centre[1] - np.array([0.0, own_jaw])) / scale
        shows = np.where(np.isfinite(found), np.clip(found, shows - 0.05, shows + 0.04), shows)
    return Mouth(centre, scale, chin, _colours(image, rest, pose, inside), shows, _slant(image, rest, pose), own, own_jaw)


def draw(frame: np.ndarray, image: np.ndarray, mouth: Mouth, vertices: np.ndarray, pose: Pose, own_pose: Pose, moved: float) -> None:
    """Paint the inside over the frame, in place.

    Args:
        frame: ``(S, S, 3)`` uint8, the warped portrait.
        image: ``(S, S, 3)`` uint8, the portrait.
        mouth: from :func:`read`.
        vertices, pose: of this frame.
        own_pose: of the portrait.
        moved: IOD by which lips differ from the portrait's own; its own open mouth is kept as it is near 0.
    """
    gap = float((vertices[topology.LIP_INNER_LOWER, 1] - vertices[topology.LIP_INNER_UPPER, 1]).max())
    if len(mouth.own[0]) > 1 or len(mouth.own[1]) > 1:
        _shut(frame, mouth, vertices, pose, gap, float(smoothstep(0.0, SAME, moved)))
    strength = float(smoothstep(LEAST_GAP, 0.03, gap) * smoothstep(0.0, SAME, moved))
    if strength == 0.0:
        return
    size = frame.shape[0]
    outline = _spline(pixels(pose.apply(vertices), size)[_ring()])
    unit = pose.scale * size / 2.0
    soft = max(0.55, 0.008 * unit)
    left, top = np.maximum(np.floor(outline.min(axis=0) - 3 * soft - 1).astype(int), 0)
    right, bottom = np.minimum(np.ceil(outline.max(axis=0) + 3 * soft + 1).astype(int), size)
    if right - left < 2 or bottom - top < 2:
        return
    mask = _mask(outline, right - left, bottom - top, left, top, soft)
    middle = outline.mean(axis=0)
    turn = np.linalg.inv(pose.camera(size)[0][:, :2])
    upper = _upper_edge(outline, turn, middle)
    camera, shift = pose.camera(size)
    own_camera, own_shift = own_pose.camera(size)
    jaw = jaw_drop(mouth, vertices)
    paint(
        frame, image, *mouth.own, mask, left, top, strength, camera, shift, own_camera, own_shift, turn, mouth.centre,
        mouth.scale, mouth.shows, mouth.slant, jaw, mouth.own_jaw, gap, mouth.colours, upper, middle, unit,
    )  # fmt: skip


def jaw_drop(mouth: Mouth, vertices: np.ndarray) -> float:
    """How far the jaw bone hangs below its closed place, in IOD."""
    return JAW_SHARE * float(vertices[list(CHIN), 1].mean() - mouth.chin)


def _shut(frame: np.ndarray, mouth: Mouth, vertices: np.ndarray, pose: Pose, gap: float, strength: float) -> None:
    """Where lips that are apart in the portrait meet, put the dark line that it does not show, in place."""
    strength *= 0.75 * float(smoothstep(0.045, 0.015, gap))
    if strength <= 0.0:
        return
    size = frame.shape[0]
    rows = [pixels(pose.apply(vertices[r]), size) for r in (topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)]
    line = np.round((np.mean(rows, axis=0) - 0.5) * 16).astype(np.int32)
    unit = pose.scale * size / 2.0
    low = np.maximum(line.min(axis=0) // 16 - 8, 0)
    high = np.minimum(line.max(axis=0) // 16 + 9, size)
    if (high <= low).any():
        return
    stroke = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    thick = max(1, round(0.012 * unit))
    cv2.polylines(stroke, [line - low * 16], False, 255, thick, cv2.LINE_AA, 4)
    cover = cv2.GaussianBlur(stroke, (0, 0), max(0.6, 0.008 * unit)).astype(np.float32)[..., None] * (strength / 255.0)
    part = frame[low[1] : high[1], low[0] : high[0]]
    part[:] = np.round(part * (1.0 - cover) + mouth.colours[4] * cover)


def _ring() -> np.ndarray:
    return np.concatenate([topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER[-2:0:-1]])


def _spline(points: np.ndarray, parts: int = 4) -> np.ndarray:
    """A closed centripetal-like Catmull-Rom curve through the points, ``(N * parts, 2)``; corners stay sharp enough."""
    before, after, beyond = np.roll(points, 1, 0), np.roll(points, -1, 0), np.roll(points, -2, 0)
    t = (np.arange(parts) / parts)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (before, points, after, beyond))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return curve.reshape(-1, 2)


def _mask(outline: np.ndarray, width: int, height: int, left: int, top: int, soft: float) -> np.ndarray:
    """Antialiased coverage ``(height, width)`` uint8 of a polygon in pixels."""
    mask = np.zeros((height, width), np.uint8)
    fixed = np.round((outline - (left + 0.5, top + 0.5)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), soft) if soft > 0 else mask


def _rows(image: np.ndarray, rest: np.ndarray, pose: Pose, jaw: float) -> tuple[float, np.ndarray]:
    """What an open mouth shows from the upper lip (0) to the lower (1): where the jaw's part begins, and the edges ``(2,)`` of
    upper and lower teeth, nan where they do not show."""
    steps = np.linspace(0.0, 1.0, 41)
    upper, lower = rest[topology.LIP_INNER_UPPER[3:8]], rest[topology.LIP_INNER_LOWER[3:8]]
    places = upper + steps[:, None, None] * (lower - upper)
    at = (pixels(pose.apply(places.reshape(-1, 3)), image.shape[0]) - 0.5).astype(np.float32).reshape(*places.shape[:2], 2)
    tone = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
    tone = np.median(tone[..., 1], axis=1)  # green: lips and tongue are dark in it
    bright = tone > BARE * tone[6:35].max()
    nothing = np.full(2, np.nan)
    if bright[6:35].all() or tone[6:35].min() > 0.75 * tone[6:35].max():
        return 1.0, nothing
    first = 4 + int(np.argmax(bright[4:]))
    if steps[first] > HIGH and jaw > DROPPED:
        return 0.4 * float(steps[first]), np.array([-0.05, steps[first]])
    ends = first + int(np.argmin(bright[first:])) if not bright[first:].all() else len(steps) - 1
    again = ends + int(np.argmax(bright[ends:])) if bright[ends:36].any() else 0
    if again and jaw > DROPPED:
        return float(steps[(ends + again) // 2]), np.array([steps[ends], steps[again]])
    return 1.0, np.array([steps[ends] if steps[ends] < 0.85 else np.nan, np.nan])


def _shown(size: int, rest: np.ndarray, pose: Pose, start: float, end: float) -> np.ndarray:
    """Where the portrait shows the part of its mouth between two shares of the opening, ``(S, S)`` uint8, off the lips."""
    if end - start < 0.1:
        return NOTHING
    upper, lower = rest[topology.LIP_INNER_UPPER], rest[topology.LIP_INNER_LOWER]
    rows = [upper + share * (lower - upper) for share in (start, end)]
    outline = pixels(pose.apply(np.concatenate([rows[0], rows[1][-2:0:-1]])), size)
    shown = _mask(outline, size, size, 0, 0, 0.0)
    inset = _mask(pixels(pose.apply(rest), size)[_ring()], size, size, 0, 0, 0.0)
    inset = cv2.erode(inset, np.ones((3, 3), np.uint8), iterations=max(1, round(OWN_INSET * pose.scale * size / 2)))
    return cv2.GaussianBlur(np.minimum(shown, inset), (0, 0), max(0.5, size / 400))


def _slant(image: np.ndarray, rest: np.ndarray, pose: Pose) -> float:
    """How much brighter the face is to the image's right, as a share per IOD, from the skin beside mouth and nose."""
    size = image.shape[0]
    gray = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (max(3, round(0.1 * pose.scale * size / 2)),) * 2).astype(np.float64)
    points = np.clip(pixels(pose.apply(rest), size).astype(int), 0, size - 1)
    left, right = (np.median(gray[points[rows, 1], points[rows, 0]]) for rows in SIDES)
    return float(np.clip(2.0 * (right - left) / max(right + left, 1.0) / 0.6, -0.8, 0.8))


def _upper_edge(outline: np.ndarray, turn: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Heights of the upper lip's edge at 33 even places along the mouth, in the face's own axes: ``(35,)``, the first two
    the range in x."""
    half = len(outline) // 2
    row = (outline[: half + 1] - middle) @ turn.T
    order = np.argsort(row[:, 0])
    x = np.linspace(row[order[0], 0], row[order[-1], 0], 33)
    return np.concatenate([[x[0], x[-1]], np.interp(x, row[order, 0], row[order, 1])])


def _colours(image: np.ndarray, rest: np.ndarray, pose: Pose, own: np.ndarray | None) -> np.ndarray:
    """Tones that fit the portrait's light: brightness from skin and sclera, tint from the skin."""
    size = image.shape[0]
    points = pixels(pose.apply(rest), size)
    skin = _inside(image, points[topology.OVAL])
    eyes = np.concatenate([_inside(image, points[np.concatenate([u, lo[::-1]])]) for u, lo in topology.EYES])
    bright = max(np.percentile(skin.mean(axis=1), 80), 0.97 * np.percentile(eyes.mean(axis=1), 88))
    light = float(np.clip(bright, 50, 235))
    tint = np.median(skin, axis=0) / max(float(np.median(skin.mean(axis=1))), 1.0)
    white = eyes[eyes.mean(axis=1) >= np.percentile(eyes.mean(axis=1), 80)].mean(axis=0)
    warm = np.clip(0.5 * (0.55 + 0.45 * tint) + 0.5 * white / max(white.mean(), 1.0), 0.7, 1.3)
    teeth = np.minimum(light * 1.06 * np.array([1.0, 0.955, 0.88]) * (0.15 + 0.85 * warm), 248.0)
    if own is not None and (own > 200).sum() > 12:
        inside = image[own > 200].astype(np.float64)
        value = inside.mean(axis=1)
        best = inside[value >= np.percentile(value, 75)].mean(axis=0)
        if best.mean() > 0.5 * light and best.min() > 0.6 * best.max():
            teeth = best
    lips = np.median(image[tuple(np.clip(points[[0, 17, 37, 267, 84, 314]].astype(int), 0, size - 1).T[::-1])], axis=0)
    gums = 0.6 * lips + 0.4 * light * np.array([0.75, 0.42, 0.42])
    tongue = 0.45 * lips + 0.55 * light * np.array([0.80, 0.44, 0.43])
    cavity = light * np.array([0.16, 0.065, 0.06])
    return np.stack([teeth, gums * 0.9, tongue * 0.8, cavity, 0.42 * lips * np.array([1.05, 0.85, 0.85])])


def _inside(image: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Pixels ``(N, 3)`` float64 inside a polygon; the outline's own where it is smaller than a pixel."""
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(outline - 0.5).astype(np.int32)], 1)
    found = image[mask > 0]
    if len(found) == 0:
        at = np.clip(outline.astype(int), 0, image.shape[0] - 1)
        found = image[at[:, 1], at[:, 0]]
    return found.astype(np.float64)
