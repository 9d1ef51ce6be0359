"""Tones of a mouth's interior from the light on the rest of the face; a photograph's blur."""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import FaceView

SIDES = ([205, 206, 50, 187, 214], [425, 426, 280, 411, 434])
"""Skin beside mouth and nose, about 0.6 IOD apart."""
LIPS = [0, 17, 37, 267, 84, 314]
ENAMEL = 0.45
"""Power of the skin's tint that teeth in the same light show."""
EDGES = 97.0
"""Percentile of the face's gradients whose width measures the photograph's blur."""
SOFTEST = 0.009
"""IOD of blur beyond which a face without steep edges is taken for plain, not for blurred."""
STEEP = 0.8
"""Pixels of blur that the steepest places of a sharp photograph have by themselves."""


def mouth_colours(image: np.ndarray, view: FaceView) -> np.ndarray:
    """``(6, 3)`` RGB of teeth, gums, tongue, cavity, line of closed lips, photograph's black."""
    points = view.pixels()
    skin = _inside(image, points[topology.OVAL])
    outlines = [np.concatenate([upper, lower[::-1]]) for upper, lower in topology.EYES]
    eyes = np.concatenate([_inside(image, points[outline]) for outline in outlines])
    bright = max(np.percentile(skin.mean(axis=1), 80), 0.97 * np.percentile(eyes.mean(axis=1), 88))
    light = float(np.clip(bright, 50, 235))
    tint = np.median(skin, axis=0)
    tint = np.clip(tint / max(float(tint[0]), 1.0), 0.2, 1.3)
    # Teeth stand out the more, the darker the skin is beside them.
    enamel = np.clip(tint, 0.4, 1.1) ** ENAMEL * np.array([1.0, 1.0, 0.965])
    enamel *= (1.04 + 0.35 * max(0.78 - float(tint[1]), 0.0)) * light / enamel.mean()
    enamel *= min(1.0, 246.0 / enamel.max())
    lips = lip_colour(image, view)
    gums = 0.6 * lips + 0.4 * light * np.array([0.75, 0.42, 0.42])
    tongue = 0.45 * lips + 0.55 * light * np.array([0.80, 0.44, 0.43])
    darkest = max(float(np.percentile(skin.mean(axis=1), 0.7)) - 12.0, 0.0)
    black = darkest * np.array([1.05, 0.8, 0.75]) * np.minimum(tint, 1.0) ** 0.5
    cavity = light * np.array([0.155, 0.065, 0.06])
    line = 0.42 * lips * np.array([1.05, 0.85, 0.85])
    return np.stack([enamel, gums * 0.9, tongue * 0.85, cavity, line, black])


def lip_colour(image: np.ndarray, view: FaceView) -> np.ndarray:
    """Median RGB ``(3,)`` of the lips."""
    at = np.clip(view.pixels(LIPS).astype(int), 0, view.size - 1)
    return np.median(image[at[:, 1], at[:, 0]], axis=0)


def light_slant(image: np.ndarray, view: FaceView) -> float:
    """How much brighter the skin beside mouth and nose is to the image's right, per IOD."""
    side = max(3, round(0.1 * view.pose.scale * view.size / 2))
    gray = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (side, side)).astype(np.float64)
    points = np.clip(view.pixels().astype(int), 0, view.size - 1)
    left, right = (np.median(gray[points[rows, 1], points[rows, 0]]) for rows in SIDES)
    return float(np.clip(2.0 * (right - left) / max(right + left, 1.0) / 0.6, -0.8, 0.8))


def photograph_blur(image: np.ndarray, view: FaceView) -> float:
    """Standard deviation in IOD of the Gaussian by which the photograph is less than sharp.

    Gradients of the steepest edges before and after blurring further give their width (Zhuo and
    Sim, "Defocus map estimation from a single image", 2011).
    """
    oval = view.pixels(topology.OVAL)
    corners = (oval.min(axis=0), oval.max(axis=0))
    (left, top), (right, bottom) = (np.clip(v, 0, view.size).astype(int) for v in corners)
    gray = image[top:bottom, left:right].mean(axis=2).astype(np.float32)
    if min(gray.shape) < 8:
        return 0.0
    near, far = (_steepness(gray, sigma) for sigma in (1.0, 2.0))
    found = near >= max(np.percentile(near, EDGES), 1e-3)
    if not found.any():
        return 0.0
    ratio = np.square(np.maximum(near[found] / np.maximum(far[found], 1e-6), 1.001))
    wide = float(np.median(np.maximum((4.0 - ratio) / (ratio - 1.0), 0.0)))
    return min(0.75 * float(np.sqrt(max(wide - STEEP**2, 0.0)) / view.unit), SOFTEST)


def _steepness(gray: np.ndarray, sigma: float) -> np.ndarray:
    soft = cv2.GaussianBlur(gray, (0, 0), sigma)
    return np.hypot(cv2.Sobel(soft, -1, 1, 0), cv2.Sobel(soft, -1, 0, 1))


def _inside(image: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Pixels ``(N, 3)`` float64 inside a polygon, on its outline if it holds none."""
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(outline - 0.5).astype(np.int32)], 1)
    found = image[mask > 0]
    if len(found) == 0:
        at = np.clip(outline.astype(int), 0, image.shape[0] - 1)
        found = image[at[:, 1], at[:, 0]]
    return found.astype(np.float64)
