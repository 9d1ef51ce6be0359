"""CPBD: cumulative probability of blur detection, a sharpness measure that needs no reference.

N. Narvekar, L. Karam, "A no-reference image blur metric based on the cumulative probability of blur
detection (CPBD)", IEEE TIP 20(9), 2011. In each 64 x 64 block with edges, the width of every
vertical edge (P. Marziliano's method) is compared with the width at which blur is just noticed at
the block's contrast; CPBD is the share of edges whose blur is not noticed. Agrees with the ``cpbd``
package 1.0.7 to 1e-12, its treatment of flat gradients included; a picture without any edge, to
which that package gives 0, has no score here. It depends on the picture's size: compare at one
size.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import convolve
from skimage.feature import canny
from torch import Tensor

BLOCK = 64
EDGE_SHARE = 0.002
BETA = 3.6
NOT_NOTICED = 64
"""Edges whose blur is detected with a probability below 0.635 count as sharp."""
REACH = 100
LOW_CONTRAST, WIDE, NARROW = 50, 5.0, 3.0
"""Just noticeable blur: 5 pixels up to this contrast, 3 above."""


def grey(frames: Tensor) -> np.ndarray:
    """Luma of ITU-R 601 in whole numbers, as Pillow rounds it; ``(B, 3, H, W)`` uint8 -> ``(B, H,
    W)`` uint8."""
    r, g, b = frames.to("cpu", torch.int32).unbind(1)
    return ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16).to(torch.uint8).numpy()


def _vertical_edges(image: np.ndarray) -> np.ndarray:
    """Sobel edges, thinned: strong cells that are the strongest of their row's or of their column's
    neighbours."""
    sobel = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], np.float64) / 8
    strength = convolve(image, sobel.T) ** 2
    strength[strength <= 2 * np.sqrt(strength.mean())] = 0
    padded = np.pad(strength, 1)
    centre = padded[1:-1, 1:-1]
    in_row = (centre > padded[1:-1, :-2]) & (centre > padded[1:-1, 2:])
    in_column = (centre > padded[:-2, 1:-1]) & (centre > padded[2:, 1:-1])
    return in_row | in_column


def _runs(steps: np.ndarray) -> np.ndarray:
    """How many cells in a row, ending here, are true; along the last axis."""
    count = np.arange(1, steps.shape[1] + 1)
    broken = np.maximum.accumulate(np.where(steps, 0, count), axis=1)
    return np.minimum(count - broken, REACH)


def _walk(image: np.ndarray, sign: int) -> np.ndarray:
    """Width of an edge at each cell if brightness moves with ``sign`` to the right: both ways to
    the nearest extremum."""
    steps = np.diff(image, axis=1) * sign > 0
    left, right = np.zeros(image.shape, np.int64), np.zeros(image.shape, np.int64)
    left[:, 2:] = _runs(steps)[:, :-1]
    right[:, :-2] = _runs(steps[:, ::-1])[:, ::-1][:, 1:]
    return left + right + 2


def edge_widths(image: np.ndarray) -> np.ndarray:
    """Marziliano's edge widths in pixels, 0 where there is no vertical edge; ``(H, W)`` float64 ->
    ``(H, W)``."""
    gradient_y, gradient_x = np.gradient(image)
    # Where brightness is flat along the row the reference leaves the angle at 0, so such cells
    # count as rising.
    angle = np.where(gradient_x != 0, np.degrees(np.arctan2(gradient_y, gradient_x)), 0.0)
    widths = np.zeros(image.shape, np.int64)
    if not angle.any():
        return widths
    turned = 45 * np.round(angle / 45)
    edges = _vertical_edges(image)
    edges[[0, -1]] = edges[:, [0, -1]] = False
    rising, falling = edges & (turned == 0), edges & (np.abs(turned) == 180)
    widths[rising] = _walk(image, 1)[rising]
    widths[falling] = _walk(image, -1)[falling]
    return widths


def cpbd(image: np.ndarray) -> float:
    """Sharpness of one picture.

    Args:
        image: ``(H, W)`` grey values 0..255, at least 64 x 64.

    Returns:
        0 (blurred) to 1 (sharp); nan when no block has an edge.

    Raises:
        ValueError: another shape.
    """
    if image.ndim != 2 or min(image.shape) < BLOCK:
        raise ValueError(
            f"image has shape {image.shape}, expected (H, W), at least {BLOCK} x {BLOCK}"
        )
    image = image.astype(np.float64)
    widths, edges = edge_widths(image), canny(image)
    detected = []
    for top in range(0, image.shape[0] - BLOCK + 1, BLOCK):
        for left in range(0, image.shape[1] - BLOCK + 1, BLOCK):
            block = slice(top, top + BLOCK), slice(left, left + BLOCK)
            if np.count_nonzero(edges[block]) > BLOCK * BLOCK * EDGE_SHARE:
                found = widths[block][widths[block] > 0]
                noticed = WIDE if int(np.ptp(image[block])) <= LOW_CONTRAST else NARROW
                detected.append(1 - np.exp(-((found / noticed) ** BETA)))
    shares = np.concatenate(detected) if detected else np.zeros(0)
    return float(np.mean(np.round(shares * 100) < NOT_NOTICED)) if len(shares) else float("nan")
