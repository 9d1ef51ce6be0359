"""Where a closed mouth's lips meet: trackers are off by a pixel or two, and an opening mouth shows it."""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels

CLOSED = 0.03
"""IOD of mean gap below which a mouth counts as closed."""
CLEAR = 0.016
"""IOD by which an open mouth's edges are moved apart, into the lips."""
SEARCH = 0.035
"""IOD up and down from the tracked seam."""


def snap(rest: np.ndarray, pose: Pose, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shape with both inner lip rows on the darkest seam, if the mouth is closed; else moved apart, off the teeth.

    Args:
        rest: ``(468, 3)`` model space.
        pose: of the portrait.
        image: ``(S, S, 3)`` uint8.

    Returns:
        the shape, and by how much each pair was moved apart ``(9,)``.
    """
    upper, lower = topology.LIP_INNER_UPPER[1:-1], topology.LIP_INNER_LOWER[1:-1]
    rest = rest.copy()
    middle = (rest[upper] + rest[lower]) / 2
    gap = np.maximum(rest[lower, 1] - rest[upper, 1], 0.0)
    if gap.mean() < CLOSED:
        middle[:, 1] += _darkest(middle, pose, image)
        gap, cleared = np.zeros_like(gap), np.zeros_like(gap)
    else:
        # A tracked edge that lies on the teeth would carry them along on the lip.
        cleared = CLEAR * np.minimum(1.0, gap / 0.04)
        gap = gap + cleared
    for rows, sign in ((upper, -0.5), (lower, 0.5)):
        rest[rows, 1] = middle[:, 1] + sign * gap
        rest[rows, 0] = middle[:, 0]
    return rest, cleared


def _darkest(middle: np.ndarray, pose: Pose, image: np.ndarray) -> np.ndarray:
    """Shift down in IOD, one a column, of the darkest line near each column; smooth along the mouth."""
    size = image.shape[0]
    gray = cv2.GaussianBlur(
        image.mean(axis=2).astype(np.float32), (0, 0), max(0.6, 0.006 * pose.scale * size / 2)
    )
    steps = np.linspace(-SEARCH, SEARCH, 29)
    places = np.repeat(middle[:, None], len(steps), axis=1)
    places[..., 1] += steps
    at = (
        pixels(pose.apply(places.reshape(-1, 3)), size)
        .astype(np.float32)
        .reshape(*places.shape[:2], 2)
        - 0.5
    )
    tone = cv2.remap(
        gray, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    depth = (tone - tone.min(axis=1, keepdims=True)) / np.maximum(
        np.ptp(tone, axis=1, keepdims=True), 8.0
    )
    cost = depth + 0.5 * np.square(steps / SEARCH)
    weight = np.exp(-8.0 * cost)
    shift = (weight * steps).sum(axis=1) / weight.sum(axis=1)
    return np.convolve(np.pad(shift, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
