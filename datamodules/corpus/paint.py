"""Soft-edged shapes on a float picture: the few brushes that a drawn head needs.

Pictures are ``(H, W, 3)`` float32 in 0..1, masks ``(H, W)`` in 0..1, places in pixels ``(x, y)``.
"""

from __future__ import annotations

import cv2
import numpy as np

_SHIFT = 4
WARM_SHADOW = np.array([0.88, 0.95, 0.97], np.float32)


def polygon(shape: tuple[int, int], points: np.ndarray, soft: float = 0.0) -> np.ndarray:
    """A filled polygon ``(N, 2)``; ``soft`` is the blur of its edge in pixels."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(points * (1 << _SHIFT)).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
    return _soften(mask, soft)


def line(shape: tuple[int, int], points: np.ndarray, width: float, soft: float = 0.0) -> np.ndarray:
    """An open polyline of a width in pixels."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(mask, [fixed], False, 255, max(1, round(width)), cv2.LINE_AA, _SHIFT)
    return _soften(mask, soft)


def ellipse(
    shape: tuple[int, int],
    centre: np.ndarray,
    axes: tuple[float, float],
    soft: float = 0.0,
    degrees: float = 0.0,
) -> np.ndarray:
    """A filled ellipse with half axes along x and y before it is turned."""
    mask = np.zeros(shape, np.uint8)
    fixed = [tuple(round(float(v) * (1 << _SHIFT)) for v in pair) for pair in (centre, axes)]
    cv2.ellipse(mask, fixed[0], fixed[1], degrees, 0, 360, 255, -1, cv2.LINE_AA, _SHIFT)
    return _soften(mask, soft)


def cover(picture: np.ndarray, mask: np.ndarray, colour: np.ndarray, opacity: float = 1.0) -> None:
    """Paint a colour ``(3,)`` or a picture over ``picture`` in place."""
    share = (mask * opacity)[..., None].astype(np.float32)
    picture *= 1.0 - share
    picture += share * np.asarray(colour, np.float32)


def darken(picture: np.ndarray, mask: np.ndarray, amount: float) -> None:
    """Multiply towards a warm shadow in place: blue and green go a little sooner than red."""
    picture *= 1.0 - (mask * amount)[..., None].astype(np.float32) * WARM_SHADOW


def smooth(points: np.ndarray, times: int = 3) -> np.ndarray:
    """Round an open polyline's corners by Chaikin's cutting; its ends stay."""
    for _ in range(times):
        near, far = points[:-1], points[1:]
        cut = np.stack([0.75 * near + 0.25 * far, 0.25 * near + 0.75 * far], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points


def noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Smooth noise of unit spread with grains of ``scale`` pixels."""
    small = (max(2, int(shape[0] / scale) + 2), max(2, int(shape[1] / scale) + 2))
    field = cv2.resize(
        rng.standard_normal(small).astype(np.float32),
        (shape[1], shape[0]),
        interpolation=cv2.INTER_CUBIC,
    )
    return field / max(float(field.std()), 1e-6)


def _soften(mask: np.ndarray, soft: float) -> np.ndarray:
    field = mask.astype(np.float32) / 255.0
    return cv2.GaussianBlur(field, (0, 0), soft) if soft > 0.3 else field
