"""A portrait's own teeth: where they end, and their continuation where lips hide the rest."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import (
    FaceView,
    fill_outline,
    pixels,
    smoothstep,
)
from emo_lightning.renderers.mesh.mouth.interior_kernel import ARCH, DEEPEST, upper_teeth_light
from emo_lightning.renderers.mesh.mouth.teeth import grid
from emo_lightning.renderers.mesh.mouth.tones import lip_colour

INSET = 0.013
"""IOD by which the own interior is kept away from the lips, whose edge blurs into it."""
BARE = 0.62
"""Share of the brightest row of an open mouth below which a row is no teeth."""
HIGH, HIGHER, DROPPED = 0.3, 0.34, 0.03
"""Shares of the opening from which teeth are lower ones, jaw dropped or not; IOD of a drop."""
PAST = 1.1
"""Share of the opening at which upper teeth end that go on behind the lower lip."""
PALE, BRIGHT = 0.58, 0.5
"""Teeth's least ratio of darkest to brightest channel, and of brightness to the enamel expected."""
FLESH = (0.3, 0.7)
"""Redness between the teeth's (0) and the lips' (1) at which flesh begins, and is certain."""
APART = 0.11
"""IOD of a gap between teeth that still belongs to the row."""
DEEPER = 0.8
"""Light on what of the lower teeth lies behind the lip against what stands out of it."""
SURE = 0.2
"""Weight of a row's mean tone against that of the places around."""
SHADED = 0.7
"""How much of the upper lip's assumed shadow lies on a photograph's upper teeth."""
EVEN = 0.035
"""IOD over which tones along a row are even, contacts between teeth aside."""


@dataclass(frozen=True)
class RowPlace:
    """Place of a row's texture: the mouth's centre and scale, the height of the row's edge in model
    space, whether it is the upper row, and the texture's pixels per IOD of an average mouth."""

    centre: np.ndarray
    scale: float
    edge: float
    upper: bool
    density: float


def tooth_edges(image: np.ndarray, view: FaceView, jaw: float) -> tuple[float, np.ndarray]:
    """Rows of an open mouth, as shares of its opening from the upper lip (0) to the lower (1).

    Returns:
        where the jaw's part begins, and the edges ``(2,)`` of upper and lower teeth, nan where
        hidden.
    """
    steps = np.linspace(0.0, 1.0, 41)
    rest = view.vertices
    upper, lower = rest[topology.LIP_INNER_UPPER[3:8]], rest[topology.LIP_INNER_LOWER[3:8]]
    at = view.sampling_map(upper + steps[:, None, None] * (lower - upper))
    tone = cv2.remap(image, *cv2.split(at), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Lips and tongue are dark in green.
    green = np.median(tone[..., 1].astype(np.float64), axis=1)
    bright = green > BARE * green[6:35].max()
    if bright[6:35].all() or green[6:35].min() > 0.75 * green[6:35].max():
        return 1.0, np.array([PAST, np.nan])
    first = 4 + int(np.argmax(bright[4:]))
    if steps[first] > (HIGH if jaw > DROPPED else HIGHER):
        return 0.0, np.array([-0.05, steps[first]])
    ends = first + int(np.argmin(bright[first:])) if not bright[first:].all() else len(steps) - 1
    again = ends + int(np.argmax(bright[ends:])) if bright[ends:36].any() else 0
    if again and jaw > DROPPED:
        return float(steps[(ends + again) // 2]), np.array([steps[ends], steps[again]])
    return 1.0, np.array([steps[ends] if steps[ends] < 0.85 else PAST, np.nan])


def visible_part(view: FaceView, start: float, end: float, blur: float) -> np.ndarray | None:
    """Mask ``(S, S)`` uint8 of the mouth between two shares of its opening, off the lips."""
    if end - start < 0.1:
        return None
    rest = view.vertices
    upper, lower = rest[topology.LIP_INNER_UPPER], rest[topology.LIP_INNER_LOWER]

    def filled(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        outline = np.concatenate([top, bottom[-2:0:-1]])
        return fill_outline(pixels(view.pose.apply(outline), view.size), (view.size,) * 2)

    part = filled(*(upper + share * (lower - upper) for share in (start, end)))
    rounds = max(1, round((INSET + 0.8 * blur) * view.pose.scale * view.size / 2))
    inset = cv2.erode(filled(upper, lower), np.ones((3, 3), np.uint8), iterations=rounds)
    return cv2.GaussianBlur(np.minimum(part, inset), (0, 0), max(0.5, view.size / 400))


def teeth_tone(
    image: np.ndarray, where: list[np.ndarray | None], enamel: np.ndarray
) -> np.ndarray | None:
    """RGB ``(3,)`` of the brightest teeth visible; None if it is no tone of teeth."""
    masks = [mask for mask in where if mask is not None]
    cover = np.max(masks, axis=0, initial=0) if masks else np.zeros(1)
    if (cover > 200).sum() < 12:
        return None
    inside = image[cover > 200].astype(np.float64)
    value = inside.mean(axis=1)
    best = inside[value >= np.percentile(value, 75)].mean(axis=0)
    return best if best.mean() > BRIGHT * enamel.mean() and best.min() > PALE * best.max() else None


def throat_tone(image: np.ndarray, view: FaceView) -> np.ndarray:
    """RGB ``(3,)`` of the darkest part of an open mouth."""
    where = visible_part(view, 0.0, 1.0, 0.0)
    inside = image[where > 128] if where is not None and (where > 128).any() else image[:1, 0]
    value = inside.mean(axis=1)
    return inside[value <= np.percentile(value, 30)].mean(axis=0)


def with_own_teeth(
    texture: np.ndarray, place: RowPlace, image: np.ndarray, where: np.ndarray, view: FaceView,
    tone: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """A synthesised row with the portrait's own teeth, continued in their own tones where hidden.

    Args:
        texture: ``(H, W, 5)`` from :func:`emo_lightning.renderers.mesh.mouth.teeth.row_texture`.
        place: of the row.
        image, where: the portrait and :func:`visible_part`.
        view: of the portrait.
        tone: ``(3,)`` RGB of its brightest teeth.

    Returns:
        ``(H, W, 4)`` float32.
    """
    rest, density = view.vertices, place.density
    x, y = (np.broadcast_to(v * place.scale, texture.shape[:2]) for v in grid(density))
    down = place.edge + (y if place.upper else -y)
    deep = place.centre[2] + np.minimum(ARCH * x**2, DEEPEST)
    across = place.centre[0] + x
    at = cv2.split(view.sampling_map(np.stack([across, down, deep], axis=2)))
    own = cv2.remap(image, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    seen = cv2.remap(where, *at, cv2.INTER_LINEAR).astype(np.float32) / 255.0
    seen = seen * _flesh_free(own, image, tone, view, place, np.broadcast_to(y, seen.shape))
    if place.upper:
        rows = (topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)
        lips = [np.interp(across, rest[r, 0], rest[r, 1]) for r in rows]
        left, right = (rest[topology.LIP_INNER_UPPER[i], 0] for i in (0, -1))
        away = np.maximum(np.minimum(across - left, right - across), 0.0)
        own /= upper_teeth_light(down - lips[0], lips[1] - down, away)[..., None] ** SHADED
    value = own.mean(axis=2)
    if (seen > 0.5).sum() < 12:
        return texture[..., :4]
    value /= np.percentile(value[seen > 0.5], 85)
    white = (smoothstep(0.42, 0.65, value) * seen).astype(np.float32)
    # From the lip down to the first of the teeth there is nothing but its shadow.
    side = 2 * round(0.5 * APART * density) + 1
    whole = cv2.morphologyEx(white, cv2.MORPH_CLOSE, np.ones((1, side), np.uint8))
    seen = seen * smoothstep(0.6, 1.0, np.maximum.accumulate(whole, axis=0))
    light = 1.0 if place.upper else DEEPER
    white = smoothstep(0.55, 0.85, value) * seen
    beyond = _in_own_tones(texture, own, white, seen, density, light)
    # The dark between the rows is no part of either.
    near = smoothstep(-0.035, -0.015, y)
    bright = 1.0 - near + near * smoothstep(0.3, 0.55, value)
    cover = texture[..., 3] * (1.0 - seen) + seen * bright
    colour = beyond + seen[..., None] * (own - beyond)
    return np.concatenate([colour * cover[..., None], cover[..., None]], axis=2).astype(np.float32)


def _flesh_free(
    own: np.ndarray, image: np.ndarray, tone: np.ndarray, view: FaceView, place: RowPlace,
    y: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Share ``(H, W)`` float32 that is no lip; beyond lower teeth it may be tongue."""
    lip = lip_colour(image, view)
    teeth, lips = (float(c[0]) / max(float(c[1]), 1.0) for c in (tone, lip))
    redness = own[..., 0] / np.maximum(own[..., 1], 1.0) - teeth
    keep = smoothstep(FLESH[1], FLESH[0], redness / max(lips - teeth, 0.1))
    keep = np.maximum(keep, smoothstep(0.6, 0.45, own.mean(axis=2) / tone.mean()))
    edge = smoothstep(0.03, 0.01, y) if place.upper else smoothstep(0.0, 0.02, y)
    keep = keep * edge if place.upper else np.maximum(keep, edge)
    keep = cv2.erode(keep.astype(np.float32), np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(keep, (0, 0), max(0.6, 0.004 * place.density))


def _in_own_tones(
    texture: np.ndarray, own: np.ndarray, white: np.ndarray, seen: np.ndarray, density: float,
    light: float,
) -> np.ndarray:  # fmt: skip
    """The synthesised row ``(H, W, 3)`` in the own one's tones, column by column."""
    blur = (0.02 * density, 0.004 * density)
    plain = cv2.GaussianBlur(texture[..., :5], (0, 0), sigmaX=blur[0], sigmaY=blur[1])
    gums = plain[..., 4:] / np.maximum(plain[..., 3:4], 1e-3)
    flat = plain[..., :3] / np.maximum(plain[..., 3:4], 1e-3)
    white = white * (1.0 - gums[..., 0])
    columns, model = ((white[..., None] * v).sum(axis=0) for v in (own, flat))
    wide = [gaussian_filter1d(v, EVEN * density, axis=0) for v in (columns, model)]
    known = wide[0] + SURE * columns.mean(axis=0)
    expected = np.maximum(wide[1] + SURE * model.mean(axis=0), 1e-3)
    ratio = np.clip(known / expected, 0.3, 3.0)
    sure = seen.max(axis=0)
    best = (own.mean(axis=2) * seen).max(axis=0)
    weight = np.maximum(gaussian_filter1d(sure, EVEN * density), 1e-3)
    even = gaussian_filter1d(best, EVEN * density) / weight
    fine = np.clip(best / np.maximum(even * sure, 1.0), 0.25, 1.05)
    enamel = light * flat * ratio * (1.0 + smoothstep(0.5, 0.9, sure) * (fine - 1.0))[:, None]
    return enamel + gums * (flat - enamel)
