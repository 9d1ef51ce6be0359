"""The mouth's inside: cavity, tongue and two arches of teeth in 3D, seen between the parted lips.

Upper teeth are fixed to the skull, lower teeth and tongue follow the jaw. A portrait whose mouth is open keeps its own
teeth, which go on where its lips hid them. Sizes are anatomy's in IOD (outer eye corners, about 90 mm apart).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels, smoothstep
from emo_lightning.renderers.mesh.mouth import mouth_tones, own_teeth, teeth
from emo_lightning.renderers.mesh.mouth.mouth_kernel import paint

OWN_OPEN = 0.035
"""IOD of own opening from which the portrait's own interior is used."""
JAW_SHARE = 0.85
"""How much of the chin's drop the lower teeth take: the skin of the chin moves a little more than the bone."""
CHIN = (152, 175, 199, 200, 148, 377)
SAME = 0.03
"""IOD of lip motion over which the portrait's own picture of an open mouth gives way to the one in depth."""
LEAST_GAP = 0.006
"""IOD of opening below which nothing is drawn: lips that touch."""
SHOWS = np.array([0.032, 0.052])
"""How far below the lips' seam the front teeth's edges lie with the mouth closed, unless the portrait shows otherwise: at rest
an upper lip leaves 2 to 3 mm of the incisors bare (Vig and Brundo, "The kinetics of anterior tooth display", 1978)."""
SEAM = 0.008
"""IOD by which the shadow between closed lips lies on the lower one."""
RIM = 0.75
FINER = 1.4
"""Pixels of the teeth's pictures for one of the portrait's."""


@dataclass(frozen=True)
class Mouth:
    """What is known of one portrait's mouth.

    Attributes:
        centre: ``(3,)`` model space, where the edges of the front teeth meet when the mouth is closed.
        scale: size of this mouth against the average.
        chin: height of the chin with the mouth closed, model space.
        width: between the corners without expression, IOD.
        colours: ``(6, 3)`` RGB, see :func:`emo_lightning.renderers.mesh.mouth.mouth_tones.colours`.
        shows: how far below the seam the edges of upper and lower front teeth lie, IOD of an average mouth.
        slant: how much brighter the light is per IOD to the image's right.
        blur: of the photograph, a Gaussian's deviation in IOD.
        upper, lower: the rows' pictures.
        parted: whether the portrait itself shows its mouth open.
        rim: how much the lower lip's wet inside shows: not where the portrait's own teeth come right up to the lip.
    """

    centre: np.ndarray
    scale: float
    chin: float
    width: float
    colours: np.ndarray
    shows: np.ndarray
    slant: float
    blur: float
    upper: teeth.Picture
    lower: teeth.Picture
    parted: bool
    rim: float


def read(image: np.ndarray, rest: np.ndarray, neutral: np.ndarray, pose: Pose) -> Mouth:
    """Look at the portrait's mouth.

    Args:
        image: ``(S, S, 3)`` uint8 RGB.
        rest, neutral: ``(468, 3)`` the portrait's shape as it is, and with its expression taken off.
        pose: of the portrait.
    """
    size = image.shape[0]
    corners = neutral[[topology.LIP_INNER_UPPER[0], topology.LIP_INNER_UPPER[-1]]]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    scale = float(np.clip(width / 0.5, 0.85, 1.15))
    front = neutral[[13, 82, 312]].mean(axis=0)
    centre = np.array([front[0], front[1], front[2] + 0.05])
    chin = float(neutral[list(CHIN), 1].mean())
    own_jaw = JAW_SHARE * float(rest[list(CHIN), 1].mean() - chin)
    colours, blur = mouth_tones.colours(image, rest, pose), mouth_tones.blur(image, rest, pose)
    gap = rest[topology.LIP_INNER_LOWER, 1] - rest[topology.LIP_INNER_UPPER, 1]
    shows, where, tone = SHOWS, [None, None], None
    if gap.max() > OWN_OPEN:
        split, edges = own_teeth.rows(image, rest, pose, own_jaw)
        where = [
            own_teeth.shown(size, rest, pose, *part, blur) for part in ((0.0, split), (split, 1.0))
        ]
        tone = own_teeth.tone(image, where, colours[0])
        colours[3] = np.maximum(
            np.minimum(own_teeth.throat(image, rest, pose), 3.0 * colours[3]) - colours[5],
            0.3 * colours[3],
        )
    if tone is not None:
        colours[0] = tone
        top, bottom = (float(rest[row, 1]) for row in (13, 14))
        found = (top + edges * (bottom - top) - centre[1] - np.array([0.0, own_jaw])) / scale
        shows = np.where(np.isfinite(found), np.clip(found, shows - 0.05, shows + 0.08), shows)
    unit = pose.scale * size / 2.0
    per = max(FINER * unit / scale, 40.0)
    pictures = []
    for i, (row, seen) in enumerate(zip((teeth.UPPER, teeth.LOWER), where, strict=True)):
        picture = teeth.draw(row, colours[0], colours[1], per, i)
        picture = teeth.soften(picture, float(np.hypot(blur, 0.4 / unit)) / scale, per)
        if tone is not None and seen is not None:
            edge = centre[1] + scale * float(shows[i]) + i * own_jaw
            picture = own_teeth.lay(
                picture, per, image, seen, rest, pose, centre, scale, edge, i == 0, tone
            )
        pictures.append(teeth.Picture(np.ascontiguousarray(picture[..., :4]), per))
    slant = mouth_tones.slant(image, rest, pose)
    bare = tone is not None and where[1] is not None
    return Mouth(
        centre,
        scale,
        chin,
        width,
        colours,
        shows,
        slant,
        blur,
        *pictures,
        gap.max() > OWN_OPEN,
        0.0 if bare else RIM,
    )


def draw(
    frame: np.ndarray,
    image: np.ndarray,
    mouth: Mouth,
    vertices: np.ndarray,
    pose: Pose,
    own_pose: Pose,
    moved: float,
) -> None:
    """Paint the inside over the frame, in place.

    Args:
        frame: ``(S, S, 3)`` uint8, the warped portrait.
        image: ``(S, S, 3)`` uint8, the portrait.
        mouth: from :func:`read`.
        vertices, pose: of this frame.
        own_pose: of the portrait.
        moved: IOD by which lips differ from the portrait's own; its own open mouth is kept as it is near 0.
    """
    gap = float(
        (vertices[topology.LIP_INNER_LOWER, 1] - vertices[topology.LIP_INNER_UPPER, 1]).max()
    )
    if mouth.parted:
        _shut(frame, mouth, vertices, pose, gap, float(smoothstep(0.0, SAME, moved)))
    strength = float(smoothstep(LEAST_GAP, 0.03, gap) * smoothstep(0.0, SAME, moved))
    if strength == 0.0:
        return
    size = frame.shape[0]
    rim = vertices[_ring()]
    if not mouth.parted:
        # What was the seam's shadow lies on the lower lip's edge, and would draw a second line around it.
        inner = slice(len(topology.LIP_INNER_UPPER) + 1, -1)
        rim[inner, 1] += SEAM * float(smoothstep(0.02, 0.10, gap))
    outline = _spline(pixels(pose.apply(rim), size))
    unit = pose.scale * size / 2.0
    soft = max(0.55, 0.006 * unit, 0.7 * mouth.blur * unit)
    left, top = np.maximum(np.floor(outline.min(axis=0) - 3 * soft - 1).astype(int), 0)
    right, bottom = np.minimum(np.ceil(outline.max(axis=0) + 3 * soft + 1).astype(int), size)
    if right - left < 2 or bottom - top < 2:
        return
    mask = _mask(outline, right - left, bottom - top, left, top, soft)
    middle = outline.mean(axis=0)
    camera, shift = pose.camera(size)
    turn = np.linalg.inv(camera[:, :2])
    corners = vertices[[topology.LIP_INNER_UPPER[0], topology.LIP_INNER_UPPER[-1]]]
    wide = float(np.linalg.norm(corners[1] - corners[0])) / mouth.width
    paint(
        frame, mask, left, top, strength, mouth.upper.pixels, mouth.lower.pixels, mouth.upper.per, shift, camera[:, 2].copy(), turn,
        mouth.centre, mouth.scale, mouth.shows, mouth.slant, jaw_drop(mouth, vertices), gap, float(smoothstep(0.85, 1.15, wide)),
        mouth.rim, mouth.colours, _edges(outline, turn, middle), middle,
    )  # fmt: skip


def jaw_drop(mouth: Mouth, vertices: np.ndarray) -> float:
    """How far the jaw bone hangs below its closed place, in IOD."""
    return JAW_SHARE * float(vertices[list(CHIN), 1].mean() - mouth.chin)


def _shut(
    frame: np.ndarray, mouth: Mouth, vertices: np.ndarray, pose: Pose, gap: float, strength: float
) -> None:
    """Where lips that are apart in the portrait meet, put the dark line that it does not show, in place."""
    strength *= 0.75 * float(smoothstep(0.045, 0.015, gap))
    if strength <= 0.0:
        return
    size = frame.shape[0]
    rows = [
        pixels(pose.apply(vertices[r]), size)
        for r in (topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)
    ]
    line = np.round((np.mean(rows, axis=0) - 0.5) * 16).astype(np.int32)
    unit = pose.scale * size / 2.0
    low = np.maximum(line.min(axis=0) // 16 - 8, 0)
    high = np.minimum(line.max(axis=0) // 16 + 9, size)
    if (high <= low).any():
        return
    stroke = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    thick = max(1, round(0.012 * unit))
    cv2.polylines(stroke, [line - low * 16], False, 255, thick, cv2.LINE_AA, 4)
    cover = cv2.GaussianBlur(stroke, (0, 0), max(0.6, 0.008 * unit)).astype(np.float32)[
        ..., None
    ] * (strength / 255.0)
    part = frame[low[1] : high[1], low[0] : high[0]]
    part[:] = np.round(part * (1.0 - cover) + mouth.colours[4] * cover)


def _ring() -> np.ndarray:
    return np.concatenate([topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER[-2:0:-1]])


def _spline(points: np.ndarray, parts: int = 4) -> np.ndarray:
    """A closed centripetal-like Catmull-Rom curve through the points, ``(N * parts, 2)``; corners stay sharp enough."""
    before, after, beyond = np.roll(points, 1, 0), np.roll(points, -1, 0), np.roll(points, -2, 0)
    t = (np.arange(parts) / parts)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (before, points, after, beyond))
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return curve.reshape(-1, 2)


def _mask(
    outline: np.ndarray, width: int, height: int, left: int, top: int, soft: float
) -> np.ndarray:
    """Antialiased coverage ``(height, width)`` uint8 of a polygon in pixels."""
    mask = np.zeros((height, width), np.uint8)
    fixed = np.round((outline - (left + 0.5, top + 0.5)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), soft) if soft > 0 else mask


def _edges(outline: np.ndarray, turn: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Heights of both lips' edges at 33 even places along the mouth, in the face's own axes: ``(2, 35)``, the first two of each
    the range in x."""
    half = len(outline) // 2
    flat = (outline - middle) @ turn.T
    low, high = flat[:, 0].min(), flat[:, 0].max()
    x = np.linspace(low, high, 33)
    edges = np.empty((2, 35))
    for row, part in zip(
        edges, (flat[: half + 1], np.concatenate([flat[half:], flat[:1]])), strict=True
    ):
        order = np.argsort(part[:, 0])
        row[:2], row[2:] = (low, high), np.interp(x, part[order, 0], part[order, 1])
    return edges
