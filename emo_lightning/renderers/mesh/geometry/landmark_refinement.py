"""Corrects tracked landmarks by the picture: the seam of closed lips, and the outline of the face.

Trackers are off by a pixel or two. A lip edge on the wrong side of the seam shows as soon as the
mouth opens; an outline on the background is stretched into a stripe along the cheek as the head
turns.
"""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import FaceView, Pose

CLOSED = 0.03
"""IOD of mean gap below which a mouth counts as closed."""
CLEAR = 0.016
"""IOD by which an open mouth's edges are moved apart, into the lips."""
SEARCH = 0.035
"""IOD searched up and down from the tracked seam."""
OUTLINE_SEARCH = 0.14
"""IOD searched inwards from the tracked outline."""
INSIDE = 0.02
"""IOD of person that must lie beyond a vertex: the width of the outline's mixed pixels."""


def snap_lips(rest: np.ndarray, pose: Pose, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move both inner lip rows onto the darkest seam of a closed mouth, else apart, off the teeth.

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
        middle[:, 1] += _seam_shift(middle, pose, image)
        gap, cleared = np.zeros_like(gap), np.zeros_like(gap)
    else:
        # A tracked edge that lies on the teeth would carry them along on the lip.
        cleared = CLEAR * np.minimum(1.0, gap / 0.04)
        gap = gap + cleared
    for rows, sign in ((upper, -0.5), (lower, 0.5)):
        rest[rows, 1] = middle[:, 1] + sign * gap
        rest[rows, 0] = middle[:, 0]
    return rest, cleared


def _seam_shift(middle: np.ndarray, pose: Pose, image: np.ndarray) -> np.ndarray:
    """Shift down in IOD, one a column, to the darkest line near each; smooth along the mouth."""
    view = FaceView(middle, pose, image.shape[0])
    sigma = max(0.6, 0.006 * pose.scale * view.size / 2)
    gray = cv2.GaussianBlur(image.mean(axis=2).astype(np.float32), (0, 0), sigma)
    steps = np.linspace(-SEARCH, SEARCH, 29)
    places = np.repeat(middle[:, None], len(steps), axis=1)
    places[..., 1] += steps
    at = view.sampling_map(places)
    tone = cv2.remap(gray, *cv2.split(at), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    contrast = np.maximum(np.ptp(tone, axis=1, keepdims=True), 8.0)
    cost = (tone - tone.min(axis=1, keepdims=True)) / contrast + 0.5 * np.square(steps / SEARCH)
    weight = np.exp(-8.0 * cost)
    shift = (weight * steps).sum(axis=1) / weight.sum(axis=1)
    return np.convolve(np.pad(shift, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")


def pull_onto_person(rest: np.ndarray, pose: Pose, alpha: np.ndarray) -> np.ndarray:
    """Move vertices on the background towards the face's middle until they lie on the person.

    Args:
        rest: ``(468, 3)`` model space.
        pose: of the portrait.
        alpha: ``(S, S)``, how much of each pixel is the person.
    """
    view = FaceView(rest, pose, alpha.shape[0])
    size, radius = view.size, max(1, round(INSIDE * view.unit))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    inner = cv2.erode((alpha > 0.97).astype(np.uint8), disc)
    places = view.pixels()
    away = places[[topology.NASION, topology.CHIN]].mean(axis=0) - places
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    steps = np.linspace(0.0, OUTLINE_SEARCH * view.unit, 29)
    tried = places[:, None] + steps[:, None] * away[:, None]
    column, row = (np.clip(tried[..., axis].astype(int), 0, size - 1) for axis in (0, 1))
    on = inner[row, column] > 0
    # Where no person lies within reach the matte is wrong; beyond the frame it is unknown.
    seen = ((places >= 0) & (places < size)).all(axis=1)
    moved = np.where(on.any(axis=1) & seen, steps[np.argmax(on, axis=1)], 0.0)
    offset = np.pad(moved[:, None] * away / (size / 2), ((0, 0), (0, 1)))
    return rest + pose.undo(pose.shift + offset)
