"""Textures of the two rows of teeth from anatomy, synthesised once a portrait.

A row's texture lies flat: x from the middle of the arch as seen from the front, y from the biting
edge of the front teeth, positive beyond it and negative towards the root, both in IOD of an average
mouth. Colours are premultiplied by cover. As teeth on a photograph are as blurred as the rest of
it, the texture is softened by the photograph's own blur.

Widths follow the apparent proportions of a smile seen from the front (Levin, "Dental esthetics and
the golden proportion", 1978: each tooth about 0.62-0.75 of its inner neighbour), heights those of
average crowns.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry.coordinates import smoothstep

REACH, ROOT, BEYOND = 0.345, 0.21, 0.12
"""The texture's extent: to each side of the middle, towards the root, beyond the edge."""
FINE = 2
"""Supersampling of shapes, so that edges come out smooth."""


@dataclass(frozen=True)
class ToothRow:
    """Measures of one row of teeth; a number a tooth, from the middle outward.

    Attributes:
        width: as seen from the front, IOD.
        tall: visible crown, IOD.
        edge: how much shorter it stands than the front tooth, IOD.
        inner, outer: by how much its edge is rounded off towards the middle and away from it, IOD.
        point: how far its tip stands out, IOD.
        tone: brightness.
        arc: curve of the whole row's edge, IOD per square IOD.
        uneven: IOD by which edges stray, and share by which tones do.
    """

    width: np.ndarray
    tall: np.ndarray
    edge: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    point: np.ndarray
    tone: np.ndarray
    arc: float
    uneven: float


UPPER = ToothRow(
    width=np.array([0.092, 0.068, 0.060, 0.047, 0.040, 0.038]),
    tall=np.array([0.118, 0.102, 0.116, 0.096, 0.086, 0.080]),
    edge=np.array([0.0, 0.009, 0.002, 0.011, 0.014, 0.016]),
    inner=np.array([0.004, 0.008, 0.010, 0.008, 0.008, 0.008]),
    outer=np.array([0.010, 0.015, 0.016, 0.008, 0.008, 0.008]),
    point=np.array([0.0, 0.001, 0.011, 0.007, 0.004, 0.0]),
    tone=np.array([1.0, 0.965, 0.90, 0.88, 0.86, 0.84]),
    arc=0.33,
    uneven=0.0025,
)
LOWER = ToothRow(
    width=np.array([0.055, 0.060, 0.062, 0.050, 0.042, 0.040]),
    tall=np.array([0.086, 0.088, 0.102, 0.082, 0.076, 0.074]),
    edge=np.array([0.0, 0.001, -0.003, 0.005, 0.009, 0.012]),
    inner=np.array([0.003, 0.004, 0.010, 0.008, 0.008, 0.008]),
    outer=np.array([0.004, 0.006, 0.012, 0.008, 0.008, 0.008]),
    point=np.array([0.0, 0.0, 0.008, 0.006, 0.003, 0.0]),
    tone=np.array([0.97, 0.97, 0.90, 0.86, 0.84, 0.82]),
    arc=0.10,
    uneven=0.0045,
)


@dataclass(frozen=True)
class TeethTexture:
    """A row's texture.

    Attributes:
        pixels: ``(H, W, 4)`` float32, RGB times cover in 0..255, and cover in 0..1.
        density: its pixels per IOD.
    """

    pixels: np.ndarray
    density: float


def grid(density: float, finer: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """``x (1, W), y (H, 1)`` of a texture's pixel centres, or of ``finer`` times as many."""
    width, height = round(2 * REACH * density) * finer, round((ROOT + BEYOND) * density) * finer
    x = (np.arange(width) + 0.5) / (density * finer) - REACH
    return x[None], ((np.arange(height) + 0.5) / (density * finer) - ROOT)[:, None]


def row_texture(
    row: ToothRow, tooth: np.ndarray, gums: np.ndarray, density: float, seed: int
) -> np.ndarray:
    """A row by anatomy alone.

    Args:
        row: its measures.
        tooth, gums: ``(3,)`` RGB of the brightest tooth and of the gums.
        density: pixels per IOD.
        seed: of what is uneven.

    Returns:
        ``(H, W, 5)`` float32 as in :class:`TeethTexture`, and the gums' cover.
    """
    x, y = grid(density, FINE)
    across, half, tall, edge, tone, index = _columns(row, x[0], seed)
    root, side = (edge[None] - y) / tall[None], np.abs(across)[None]
    cover = smoothstep(-0.5, 0.5, (edge[None] - y) * density * FINE)
    cover = cover * smoothstep(REACH - 0.002, REACH - 0.03, np.abs(x))
    # Round to both sides, a flat front, a thin translucent edge, yellower at the neck.
    light = (1.0 - 0.13 * side**3) * (1.0 - 0.055 * np.square((root - 0.45) / 0.5)) * tone[None]
    shine = -np.square((across[None] + 0.2) / 0.35) - np.square((root - 0.5) / 0.28)
    light += 0.05 * np.exp(shine) * (index < 2)[None]
    crease = np.exp(-np.square((1.0 - side) * half[None] / 0.0034)) * smoothstep(0.02, 0.14, root)
    light *= 1.0 - 0.25 * crease
    light *= 1.0 - 0.62 * smoothstep(0.12, 0.33, np.abs(x))  # the arch turns away from the light
    clear = smoothstep(0.17, 0.0, root)[..., None] * np.array([0.13, 0.105, 0.075])
    neck = (smoothstep(0.5, 1.05, root) + 0.6 * (index == 2)[None])[..., None]
    neck = neck * np.array([0.02, 0.045, 0.10])
    enamel = tooth * light[..., None] * (1.0 - clear) * (1.0 - neck)
    # Gums are brightest over the roots just above the teeth, and darken into the fold of the lip.
    above = root - (1.0 - 0.26 * side**3)
    fold = 1.0 - 0.10 * np.exp(-np.square(above / 0.06))
    fold = fold * (1.0 - 0.45 * smoothstep(0.1, 0.8, above)) * (1.0 - 0.06 * side**2)
    fold = (fold * (1.0 - 0.45 * smoothstep(0.12, 0.33, np.abs(x))))[..., None]
    flesh = gums * fold * (1.0 - (1.0 - fold) * np.array([0.0, 0.15, 0.15]))
    share = smoothstep(-0.06, 0.05, above)[..., None]
    colour = (enamel * (1.0 - share) + flesh * share) * cover[..., None]
    whole = np.concatenate([colour, cover[..., None], share * cover[..., None]], axis=2)
    shape = (len(y) // FINE, FINE, x.size // FINE, FINE, 5)
    return whole.astype(np.float32).reshape(shape).mean(axis=(1, 3))


def _columns(row: ToothRow, x: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    """Measures of each column of the texture, each ``(W,)``.

    Place across its tooth (-1 towards the middle .. 1), half width, crown, edge, tone, number of
    the tooth.
    """
    rng = np.random.default_rng(seed)
    stray = rng.uniform(-1.0, 1.0, (2, 3, len(row.width)))
    bounds = np.concatenate([[0.0], np.cumsum(row.width)])
    index = np.clip(np.searchsorted(bounds, np.abs(x), side="right") - 1, 0, len(row.width) - 1)
    own = stray[(x > 0).astype(int), :, index]
    half = row.width[index] / 2.0
    across = np.clip((np.abs(x) - bounds[index] - half) / half, -1.2, 1.2)
    lean = own[:, 1] * row.uneven
    inner, outer = np.maximum(-across, 0.0), np.maximum(across, 0.0)
    edge = -row.edge[index] - row.arc * x**2 + own[:, 0] * row.uneven * (index > 0)
    edge = edge + lean * across * (index > 0)
    rounded = row.inner[index] * inner**5 + row.outer[index] * outer**4
    edge -= rounded - row.point[index] * (0.45 - np.abs(across) ** 1.4)
    tall = row.tall[index] * (1.0 + 6.0 * row.uneven * own[:, 1])
    tone = row.tone[index] * (1.0 + 8.0 * row.uneven * own[:, 2])
    return across, half, tall, edge, tone, index


def blurred(texture: np.ndarray, blur: float, density: float) -> np.ndarray:
    """A texture blurred like the photograph; ``blur`` is a Gaussian's standard deviation in IOD."""
    sigma = blur * density
    soft = cv2.GaussianBlur(texture, (0, 0), sigma) if sigma > 0.25 else texture
    return np.ascontiguousarray(soft)
