"""The skin of a shut lid, from the picture around an open eye in the eye's own axes.

Coordinates run along the line between the eye's corners and below it, in lengths of the eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from emo_lightning.renderers.mesh.background.inpaint import harmonic_fill
from emo_lightning.renderers.mesh.geometry.coordinates import smoothstep

ALONG = (-0.22, 1.22)
HEIGHT = (-0.6, 0.75)
"""Extent of a lid's texture, along the eye and below the corners' line."""
SHADE = 0.75
"""Least light of a shut lid's skin against the cheek below."""
TONE, TONE_FADE = 0.6, 0.12
"""Share of the cheek's tone in a shut lid's skin, and lengths of an eye over which it fades in."""
COLUMNS = 33
"""Even places along the eye at which its lines are sampled."""
OVER = 0.05
"""How far above the crease a shut lid covers lashes; more would hide low brows."""
WING = 0.16
"""How far beside and above the corners open lashes are covered."""
GRID = (32, 48)
"""Rows and columns on which membranes are solved."""
DARK = 0.6
"""Share of the brightness around an eye below which a place is hair or a rim."""
HANGING, LEAST_OVER = 0.33, 0.04
"""Share of the brightest skin below which a lid is occluded, and least share of it."""
THIN = 0.12
"""Dark structures thinner than this are lashes."""
GRAIN = 7.0
"""Most grey levels by which the cheek's pores and freckles change a lid's tone."""


@dataclass(frozen=True)
class EyeAxes:
    """An eye's axes in pixels: its left corner, along, down, and its length."""

    corner: np.ndarray
    along: np.ndarray
    down: np.ndarray
    length: float

    @staticmethod
    def of(margin: np.ndarray) -> EyeAxes:
        """The axes from the pixels ``(n, 2)`` of a lid's margin, corner to corner."""
        along = margin[-1] - margin[0]
        length = float(np.hypot(*along))
        along = along / max(length, 1e-6)
        return EyeAxes(margin[0], along, np.array([-along[1], along[0]]), length)

    def places(self, points: np.ndarray) -> np.ndarray:
        """Pixels ``(n, 2)`` as places along and below, in lengths."""
        return (points - self.corner) @ np.stack([self.along, self.down], axis=1) / self.length

    def heights(self, points: np.ndarray) -> np.ndarray:
        """A row of pixels ``(n, 2)`` as smooth heights in pixels at COLUMNS even places along."""
        offsets = points - self.corner
        return _smooth_heights(offsets @ self.along / self.length, offsets @ self.down, COLUMNS)

    def texture(self, image: np.ndarray, span: tuple[float, float]) -> np.ndarray:
        """The upright picture ``(h, w, 3)`` float32 over ALONG by a span of heights."""
        fine = max(self.length, 24.0)
        along = np.linspace(*ALONG, round((ALONG[1] - ALONG[0]) * fine))
        height = np.linspace(*span, round((span[1] - span[0]) * fine))
        at = along[None, :, None] * self.along + height[:, None, None] * self.down
        at = (self.corner + self.length * at - 0.5).astype(np.float32)
        return remap_clamped(image, at[..., 0], at[..., 1]).astype(np.float32)


def remap_clamped(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear samples of a picture, its border repeated."""
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def without_lashes(texture: np.ndarray) -> np.ndarray:
    """A texture around an eye without thin dark structures."""
    unit = texture.shape[1] / (ALONG[1] - ALONG[0])
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, round(THIN * unit)) | 1,) * 2)
    bare = cv2.morphologyEx(texture, cv2.MORPH_CLOSE, disc)
    return cv2.GaussianBlur(bare, (0, 0), max(0.7, 0.03 * unit))


def lid_texture(
    texture: np.ndarray, crease: np.ndarray, margin: np.ndarray, fold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Skin and ink of a shut lid from the picture around an open eye.

    Args:
        texture: ``(h, w, 3)`` float32 over ALONG by HEIGHT.
        crease, margin, fold: ``(COLUMNS,)`` heights of the crease, the margin and the fold below.

    Returns:
        the attributes of these names of :class:`emo_lightning.renderers.mesh.eyes.eyelids.Lid`.
    """
    rows, columns = texture.shape[:2]
    bare = without_lashes(texture)
    along, height = np.linspace(*ALONG, columns), np.linspace(*HEIGHT, rows)[:, None]
    place = np.clip(along, 0.0, 1.0) * (COLUMNS - 1)
    lines = (np.interp(place, np.arange(COLUMNS), line) for line in (crease, margin, fold))
    crease, margin, fold = lines
    unit = columns / (ALONG[1] - ALONG[0])
    lid = (height > crease - OVER) & (height < fold) & (along > -0.04) & (along < 1.04)
    beside = np.abs(along - 0.5) > 0.46
    wing = beside & (height > margin - WING - 0.06) & (height < margin + 0.3 * WING)
    inside = lid | (wing & (along > -0.2) & (along < 1.2))
    cover = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(0.7, 0.03 * unit))[..., None]
    cheek = bare[(height > fold + 0.06) & (along > 0.1) & (along < 0.9)]
    tone = np.median(cheek, axis=0) if len(cheek) else bare.mean(axis=(0, 1))
    filled = _membrane(bare, inside)
    soft = cv2.GaussianBlur(lid.astype(np.float32), (0, 0), TONE_FADE * unit)[..., None]
    inner = np.clip(2.0 * soft - 0.7, 0.0, 1.0)
    light = filled.mean(axis=2, keepdims=True) / max(float(tone.mean()), 1.0)
    filled *= 1.0 + TONE * inner * (np.maximum(SHADE / np.maximum(light, 0.1), 1.0) - 1.0)
    pale = smoothstep(0.0, 0.12, _saturation(tone) - _saturation(filled))[..., None]
    filled += TONE * inner * pale * (tone * np.clip(light, SHADE, 1.1) - filled)
    skin = texture + np.clip(2.0 * cover, 0.0, 1.0) * (filled - texture)
    skin += cover * _grain(texture, fold, unit)
    clear = 1.0 - _occluded(bare, along, height, crease, margin)
    dark = texture[(np.abs(height - margin) < 0.04) & (along > 0) & (along < 1)]
    dark = dark[np.argsort(dark.mean(axis=1))[: max(1, len(dark) // 4)]].mean(axis=0)
    ink = np.clip(dark, 0.22 * tone, 0.5 * tone)
    return np.dstack([skin, clear]).astype(np.float32), ink.astype(np.float64)


def _saturation(colours: np.ndarray) -> np.ndarray:
    """Share ``(...,)`` of a colour's brightest channel that its darkest lacks."""
    return 1.0 - colours.min(axis=-1) / np.maximum(colours.max(axis=-1), 1.0)


def _membrane(bare: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Inpainting of a lid ``(h, w, 3)`` float32 from the skin around it, not from hair or rims."""
    small = cv2.resize(bare, GRID[::-1], interpolation=cv2.INTER_AREA)
    light = small.mean(axis=2)
    unknown = cv2.resize(inside.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA) > 0.0
    rim = cv2.dilate(unknown.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~unknown
    if rim.any():
        unknown |= rim & (light < DARK * np.percentile(light[rim], 65))
    if unknown.all():
        return bare
    solved = harmonic_fill(small, ~unknown).astype(np.float32)
    return cv2.resize(solved, bare.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _occluded(
    bare: np.ndarray, along: np.ndarray, height: np.ndarray, crease: np.ndarray, margin: np.ndarray
) -> np.ndarray:
    """Where hair or rims from above the crease hide the lid, ``(h, w)`` in [0, 1]."""
    light = bare.mean(axis=2)
    thin = max(3, round(THIN * bare.shape[1] / (ALONG[1] - ALONG[0]))) | 1
    dark = (light < HANGING * np.percentile(light, 95)) & (height < margin - 0.03)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thin + 2, thin + 2))
    dark = cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
    _, labels = cv2.connectedComponents(dark.astype(np.uint8))
    hanging = np.isin(labels, np.unique(labels[dark & (height < crease - 0.12)])) & dark
    lid = (height > crease - 0.12) & (height < margin) & (along > 0.0) & (along < 1.0)
    if hanging[lid].mean() < LEAST_OVER:
        return np.zeros(light.shape, np.float32)
    return cv2.GaussianBlur(hanging.astype(np.float32), (0, 0), 0.25 * thin)


def _grain(texture: np.ndarray, fold: np.ndarray, unit: float) -> np.ndarray:
    """Fine texture for the hidden skin ``(h, w, 3)``: that below the eye, mirrored up."""
    rows, columns = texture.shape[:2]
    fine = texture - cv2.GaussianBlur(texture, (0, 0), max(0.7, 0.06 * unit))
    edge = (fold + 0.04 - HEIGHT[0]) / (HEIGHT[1] - HEIGHT[0]) * rows
    row = np.arange(rows, dtype=np.float32)[:, None]
    mirrored = edge + np.abs(edge - row)
    span = np.maximum(rows - 1.0 - edge, 1.0)
    mirrored = edge + span - np.abs(np.mod(mirrored - edge, 2.0 * span) - span)
    across = np.repeat(np.arange(columns, dtype=np.float32)[None], rows, axis=0)
    return GRAIN * np.tanh(remap_clamped(fine, across, mirrored.astype(np.float32)) / GRAIN)


@njit(cache=True)
def _smooth_heights(along: np.ndarray, below: np.ndarray, count: int) -> np.ndarray:
    """Smooth heights at ``count`` even places 0..1 of heights ``below`` at places ``along``."""
    order = np.argsort(along)
    x, y = along[order], below[order]
    rough = np.interp(np.linspace(0.0, 1.0, count), x, y)
    padded = np.empty(count + 4)
    padded[2:-2] = rough
    for i in range(1, 3):  # mirrored through the ends, so that they stay where they are
        padded[2 - i] = 2.0 * rough[0] - rough[i]
        padded[count + 1 + i] = 2.0 * rough[-1] - rough[-1 - i]
    out = np.empty(count)
    for i in range(count):
        near = 0.2 * (padded[i + 1] + padded[i + 3])
        out[i] = 0.1 * (padded[i] + padded[i + 4]) + near + 0.4 * padded[i + 2]
    return out
