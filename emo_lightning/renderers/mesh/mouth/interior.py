"""The mouth's interior: cavity, tongue and two arches of teeth in 3D, seen between the parted lips.

Upper teeth are fixed to the skull, lower teeth and tongue follow the jaw. A portrait whose mouth is
open keeps its own teeth, which are continued where its lips hid them. Sizes are anatomy's in IOD
(outer eye corners, about 90 mm apart).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import FaceView, smoothstep
from emo_lightning.renderers.mesh.mouth import portrait_teeth, teeth, tones
from emo_lightning.renderers.mesh.mouth.interior_kernel import paint_interior

OWN_OPEN = 0.035
"""IOD of own opening from which the portrait's own interior is used."""
JAW_SHARE = 0.85
"""Share of the chin's drop that the jaw bone takes: skin moves a little more."""
CHIN = [152, 175, 199, 200, 148, 377]
SAME = 0.03
"""IOD of lip motion over which the portrait's own open mouth gives way to the synthesised one."""
LEAST_GAP = 0.006
"""IOD of opening below which nothing is painted: lips that touch."""
SHOWS = np.array([0.032, 0.052])
"""IOD of the front teeth's edges below the closed lips' seam, unless the portrait shows otherwise.

At rest an upper lip leaves 2 to 3 mm of the incisors bare (Vig and Brundo, "The kinetics of
anterior tooth display", 1978)."""
SEAM = 0.008
"""IOD by which the shadow between closed lips lies on the lower one."""
RIM = 0.75
"""How much of the lower lip's wet inside shows before synthesised teeth."""
FINER = 1.4
"""Pixels of the teeth's textures for one of the portrait's."""


@dataclass(frozen=True)
class MouthInterior:
    """What is known of one portrait's mouth.

    Attributes:
        centre: ``(3,)`` model space, where the front teeth's edges meet when the mouth is closed.
        scale: size of this mouth against the average.
        chin: height of the chin with the mouth closed, model space.
        width: between the corners without expression, IOD.
        colours: ``(6, 3)`` RGB, see :func:`emo_lightning.renderers.mesh.mouth.tones.mouth_colours`.
        shows: IOD of an average mouth, upper and lower front teeth's edges below the seam.
        slant: how much brighter the light is per IOD to the image's right.
        blur: of the photograph, a Gaussian's standard deviation in IOD.
        upper, lower: textures of the rows.
        parted: whether the portrait itself shows its mouth open.
        rim: how much the lower lip's wet inside shows.
    """

    centre: np.ndarray
    scale: float
    chin: float
    width: float
    colours: np.ndarray
    shows: np.ndarray
    slant: float
    blur: float
    upper: teeth.TeethTexture
    lower: teeth.TeethTexture
    parted: bool
    rim: float

    def jaw_drop(self, vertices: np.ndarray) -> float:
        """How far the jaw bone hangs below its closed place, in IOD."""
        return JAW_SHARE * float(vertices[CHIN, 1].mean() - self.chin)


def prepare_mouth(image: np.ndarray, view: FaceView, neutral: np.ndarray) -> MouthInterior:
    """Geometry, tones and teeth of a portrait's mouth.

    Args:
        image: ``(S, S, 3)`` uint8 RGB.
        view: of the portrait.
        neutral: ``(468, 3)`` its shape with its expression taken off.
    """
    rest, unit = view.vertices, view.unit
    corners = neutral[[topology.LIP_INNER_UPPER[0], topology.LIP_INNER_UPPER[-1]]]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    scale = float(np.clip(width / 0.5, 0.85, 1.15))
    front = neutral[[13, 82, 312]].mean(axis=0)
    centre = np.array([front[0], front[1], front[2] + 0.05])
    chin = float(neutral[CHIN, 1].mean())
    own_jaw = JAW_SHARE * float(rest[CHIN, 1].mean() - chin)
    colours, blur = tones.mouth_colours(image, view), tones.photograph_blur(image, view)
    parted = bool(_gaps(rest).max() > OWN_OPEN)
    shows, where, tone = SHOWS, [None, None], None
    if parted:
        split, edges = portrait_teeth.tooth_edges(image, view, own_jaw)
        parts = ((0.0, split), (split, 1.0))
        where = [portrait_teeth.visible_part(view, *part, blur) for part in parts]
        tone = portrait_teeth.teeth_tone(image, where, colours[0])
        throat = np.minimum(portrait_teeth.throat_tone(image, view), 3.0 * colours[3])
        colours[3] = np.maximum(throat - colours[5], 0.3 * colours[3])
    if tone is not None:
        colours[0] = tone
        top, bottom = (float(rest[row, 1]) for row in (13, 14))
        found = (top + edges * (bottom - top) - centre[1] - np.array([0.0, own_jaw])) / scale
        shows = np.where(np.isfinite(found), np.clip(found, shows - 0.05, shows + 0.08), shows)
    density = max(FINER * unit / scale, 40.0)
    textures = []
    for i, (row, seen) in enumerate(zip((teeth.UPPER, teeth.LOWER), where, strict=True)):
        texture = teeth.row_texture(row, colours[0], colours[1], density, i)
        texture = teeth.blurred(texture, float(np.hypot(blur, 0.4 / unit)) / scale, density)
        if tone is not None and seen is not None:
            edge = centre[1] + scale * float(shows[i]) + i * own_jaw
            place = portrait_teeth.RowPlace(centre, scale, edge, i == 0, density)
            texture = portrait_teeth.with_own_teeth(texture, place, image, seen, view, tone)
        textures.append(teeth.TeethTexture(np.ascontiguousarray(texture[..., :4]), density))
    slant = tones.light_slant(image, view)
    rim = 0.0 if tone is not None and where[1] is not None else RIM
    return MouthInterior(
        centre, scale, chin, width, colours, shows, slant, blur, *textures, parted, rim
    )


def paint_mouth(frame: np.ndarray, mouth: MouthInterior, rest: np.ndarray, view: FaceView) -> None:
    """Paint the interior over the frame, in place; the portrait's own open mouth stays as it is.

    Args:
        frame: ``(S, S, 3)`` uint8, the warped portrait.
        mouth: of the portrait.
        rest: ``(468, 3)`` model space, the portrait's own shape.
        view: of this frame.
    """
    vertices, size, unit = view.vertices, view.size, view.unit
    moved = float(np.abs(vertices[topology.LIP_INNER, 1] - rest[topology.LIP_INNER, 1]).max())
    gap, changed = float(_gaps(vertices).max()), float(smoothstep(0.0, SAME, moved))
    if mouth.parted:
        _paint_seam(frame, mouth, view, changed * (0.75 * float(smoothstep(0.045, 0.015, gap))))
    strength = float(smoothstep(LEAST_GAP, 0.03, gap) * smoothstep(0.0, SAME, moved))
    if strength == 0.0:
        return
    ring = np.concatenate([topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER[-2:0:-1]])
    rim = vertices[ring]
    if not mouth.parted:
        # The seam's shadow lies on the lower lip's edge, and would be a second line around it.
        inner = slice(len(topology.LIP_INNER_UPPER) + 1, -1)
        rim[inner, 1] += SEAM * float(smoothstep(0.02, 0.10, gap))
    outline = _spline(FaceView(rim, view.pose, size).pixels())
    soft = max(0.55, 0.006 * unit, 0.7 * mouth.blur * unit)
    low = np.maximum(np.floor(outline.min(axis=0) - 3 * soft - 1).astype(int), 0)
    width, height = np.ceil(outline.max(axis=0) + 3 * soft + 1).astype(int).clip(max=size) - low
    if width < 2 or height < 2:
        return
    mask = np.zeros((height, width), np.uint8)
    fixed = np.round((outline - (low + 0.5)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
    mask, middle = cv2.GaussianBlur(mask, (0, 0), soft), outline.mean(axis=0)
    camera, shift = view.pose.camera(size)
    turn = np.linalg.inv(camera[:, :2])
    corners = vertices[[topology.LIP_INNER_UPPER[0], topology.LIP_INNER_UPPER[-1]]]
    wide = float(np.linalg.norm(corners[1] - corners[0])) / mouth.width
    paint_interior(
        frame, mask, low[0], low[1], strength, mouth.upper.pixels, mouth.lower.pixels,
        mouth.upper.density, shift, camera[:, 2].copy(), turn, mouth.centre, mouth.scale,
        mouth.shows, mouth.slant, mouth.jaw_drop(vertices), gap,
        float(smoothstep(0.85, 1.15, wide)), mouth.rim, mouth.colours,
        _lip_edges(outline, turn, middle), middle,
    )  # fmt: skip


def _gaps(vertices: np.ndarray) -> np.ndarray:
    """IOD between the inner lip rows, ``(11,)``."""
    return vertices[topology.LIP_INNER_LOWER, 1] - vertices[topology.LIP_INNER_UPPER, 1]


def _paint_seam(frame: np.ndarray, mouth: MouthInterior, view: FaceView, strength: float) -> None:
    """Where lips that are apart in the portrait meet, paint the dark line that it does not show."""
    if strength <= 0.0:
        return
    rows = [view.pixels(r) for r in (topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)]
    line = np.round((np.mean(rows, axis=0) - 0.5) * 16).astype(np.int32)
    low = np.maximum(line.min(axis=0) // 16 - 8, 0)
    high = np.minimum(line.max(axis=0) // 16 + 9, view.size)
    if (high <= low).any():
        return
    stroke = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    thick = max(1, round(0.012 * view.unit))
    cv2.polylines(stroke, [line - low * 16], False, 255, thick, cv2.LINE_AA, 4)
    cover = cv2.GaussianBlur(stroke, (0, 0), max(0.6, 0.008 * view.unit)).astype(np.float32)
    cover = cover[..., None] * (strength / 255.0)
    part = frame[low[1] : high[1], low[0] : high[0]]
    part[:] = np.round(part * (1.0 - cover) + mouth.colours[4] * cover)


def _spline(points: np.ndarray, parts: int = 4) -> np.ndarray:
    """A closed Catmull-Rom curve through the points, ``(N * parts, 2)``."""
    before, after, beyond = np.roll(points, 1, 0), np.roll(points, -1, 0), np.roll(points, -2, 0)
    t = (np.arange(parts) / parts)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (before, points, after, beyond))
    squared = (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + squared + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return curve.reshape(-1, 2)


def _lip_edges(outline: np.ndarray, turn: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Heights of both lips' edges at 33 even places along the mouth, in the face's own axes.

    ``(2, 35)``, the first two of each the range in x.
    """
    half = len(outline) // 2
    flat = (outline - middle) @ turn.T
    low, high = flat[:, 0].min(), flat[:, 0].max()
    x = np.linspace(low, high, 33)
    edges = np.empty((2, 35))
    lips = (flat[: half + 1], np.concatenate([flat[half:], flat[:1]]))
    for row, part in zip(edges, lips, strict=True):
        order = np.argsort(part[:, 0])
        row[:2], row[2:] = (low, high), np.interp(x, part[order, 0], part[order, 1])
    return edges
