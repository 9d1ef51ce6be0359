"""The square crop around a head, and the transform between its pixels and crop units.

In crop units the square spans [-1, 1] in x (right) and y (down), and z has the same unit. Pixel i
covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MARGIN = 1.9
"""Side of the square over the larger extent of the landmarks: the whole head, some shoulder."""
RISE = 0.06
"""Height of the square's centre over the landmarks' centre, in landmark extents, for the hair."""
ROOM = 1.25
"""Least side of the square over the range of the landmarks in a clip."""


INPAINTED = 96
"""Pixels at which the part of a square beyond the image is inpainted."""
LEAD_OVER = 0.02
"""Share of the side over which the image's border passes into the inpainting."""


@dataclass(frozen=True)
class CropBox:
    """A square in pixels of the original image: centre and half of its side."""

    cx: float
    cy: float
    half: float


def crop_box(points: np.ndarray) -> CropBox:
    """The square that shows the whole head.

    Args:
        points: ``(N, 3)`` landmarks in pixels, or ``(T, N, 3)`` for a clip, which has one fixed
            square from their median place and size, larger where the head travels.
    """
    frames = np.asarray(points, np.float64).reshape(-1, *points.shape[-2:])[..., :2]
    if frames.shape[1] == 68:
        frames = np.concatenate([frames, _forehead_68(frames)[:, None]], 1)
    low, high = frames.min(1), frames.max(1)
    extent = float(np.median((high - low).max(1)))
    start, end = np.percentile(low, 2, axis=0), np.percentile(high, 98, axis=0)
    travel = float((end - start).max())
    # The median place for a face at rest; the middle of its path for one that travels.
    still = np.clip((travel / extent - 1.0) / 0.5, 0.0, 1.0)
    cx, cy = (1 - still) * np.median((low + high) / 2, axis=0) + still * (start + end) / 2
    return CropBox(float(cx), float(cy - RISE * extent), max(MARGIN * extent, ROOM * travel) / 2)


def crop_image(image: np.ndarray, box: CropBox, size: int) -> np.ndarray:
    """The square as ``(size, size, 3)`` uint8, antialiased, inpainted beyond the image.

    Args:
        image: ``(H, W, 3)`` uint8.
        box: the square, in pixels of ``image``.
        size: side of the result.
    """
    image, box = _shrink_first(image, box, size)
    factor = 2.0 * box.half / size
    times = max(1, int(np.ceil(factor)))
    step = factor / times
    offset = 0.5 * step - 0.5
    matrix = np.array(
        [[step, 0.0, box.cx - box.half + offset], [0.0, step, box.cy - box.half + offset]]
    )
    flags = (cv2.INTER_LINEAR if factor > 0.7 else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP
    big = cv2.warpAffine(
        image, matrix, (size * times, size * times), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    out = big if times == 1 else cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA)
    return _inpainted_outside(out, box, image.shape[1], image.shape[0])


def to_crop(points: np.ndarray, box: CropBox) -> np.ndarray:
    """Pixels ``(..., 2|3)`` to crop units, float32."""
    centre = np.array([box.cx, box.cy, 0.0])[: points.shape[-1]]
    return ((points - centre) / box.half).astype(np.float32)


def from_crop(points: np.ndarray, box: CropBox) -> np.ndarray:
    """Crop units ``(..., 2|3)`` to pixels of the original image, float32."""
    centre = np.array([box.cx, box.cy, 0.0])[: points.shape[-1]]
    return (points * box.half + centre).astype(np.float32)


def _inpainted_outside(crop: np.ndarray, box: CropBox, width: int, height: int) -> np.ndarray:
    """A crop ``(S, S, 3)`` inpainted where its square leaves an image of this size.

    Repeated borders would be streaks. The inpainting is smooth, so a small size is enough; a few
    pixels of the repeated border lead over to it.
    """
    size = len(crop)
    scale = size / (2.0 * box.half)
    centres = np.arange(size) + 0.5
    beyond = []
    for middle, length in ((box.cx, width), (box.cy, height)):
        start = (middle - box.half) * scale
        beyond.append(np.maximum(-(centres + start), centres + start - length * scale))
    if max(line.max() for line in beyond) < 1.0:
        return crop
    distance = np.maximum(beyond[0][None, :], beyond[1][:, None])
    small = cv2.resize(crop, (INPAINTED, INPAINTED), interpolation=cv2.INTER_AREA)
    reach = cv2.resize(distance.astype(np.float32), (INPAINTED, INPAINTED))
    known = (reach <= 0.0).astype(np.float32)[..., None]
    mean = (known * small).sum((0, 1)) / max(float(known.sum()), 1.0)
    filled = np.broadcast_to(mean, small.shape).astype(np.float32)
    # Normalised convolution, the wider the farther from the image.
    for sigma in (32.0, 12.0, 4.0):
        weight = cv2.GaussianBlur(known, (0, 0), sigma)[..., None]
        colours = cv2.GaussianBlur(known * small, (0, 0), sigma) / np.maximum(weight, 1e-6)
        filled += np.minimum(4.0 * weight, 1.0) * (colours - filled)
    filled = cv2.resize(filled, (size, size), interpolation=cv2.INTER_CUBIC)
    blend = np.clip(distance / (LEAD_OVER * size), 0.0, 1.0)[..., None]
    return np.rint(crop + blend * (filled.astype(np.float32) - crop)).clip(0, 255).astype(np.uint8)


def _forehead_68(frames: np.ndarray) -> np.ndarray:
    """The hairline, extrapolated from 68 points ``(T, 68, 2)``, which end at the brows."""
    brows, chin = frames[:, 17:27].mean(1), frames[:, 8]
    return brows - 0.4 * (chin - brows)


def _shrink_first(image: np.ndarray, box: CropBox, size: int) -> tuple[np.ndarray, CropBox]:
    """Shrink by a whole factor where the square is far larger than the result, to save memory."""
    times = int(box.half / size)
    if times < 2:
        return image, box
    height, width = (max(1, round(n / times)) for n in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    # The two axes round differently, by less than 0.1 % of a large picture.
    fx, fy = width / image.shape[1], height / image.shape[0]
    return small, CropBox(box.cx * fx, box.cy * fy, box.half * (fx + fy) / 2)
