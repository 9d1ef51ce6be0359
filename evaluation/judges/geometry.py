"""Readable distances on the 478-point face, the features over which a level response is drawn.

All are in units of the outer eye-corner distance of the same frame, measured in the picture plane.
Heights are along the face's own axis, from the chin (152) to the forehead (10), so a tilted head
changes nothing.
"""

from __future__ import annotations

import numpy as np

from evaluation.judges.base import JudgeInfo

FEATURES: dict[str, str] = {
    "corner_width": "mouth width",
    "corner_height": "height of the mouth corners over the lips' centre",
    "lip_open": "distance between the lips",
    "brow_in": "height of the inner brows over the eye corners",
    "brow_out": "height of the outer brows over the eye corners",
    "brow_gap": "distance between the brows",
    "eye_open": "distance between the eyelids",
    "jaw": "distance from chin to nose",
    "nose_lip": "distance from nose to upper lip",
}
LEFT_EYE, RIGHT_EYE = 33, 263


def describe(tracker: JudgeInfo) -> JudgeInfo:
    """Who this judge is; the hash is the tracker's, because the rest is arithmetic."""
    about = "distances between landmarks in inter-ocular distances"
    return JudgeInfo(f"geometry on {tracker.name}", tracker.sha256, about)


def interocular(points: np.ndarray) -> np.ndarray:
    """Outer eye-corner distance in the picture plane; ``(T, P, 2 or more)`` -> ``(T,)``."""
    return np.linalg.norm(points[:, LEFT_EYE, :2] - points[:, RIGHT_EYE, :2], axis=-1)


def measure(points: np.ndarray) -> np.ndarray:
    """The features of each frame.

    Args:
        points: ``(T, 468 or more, 2 or more)`` in pixels or any other unit with square axes, y
            down.

    Returns:
        ``(T, 9)`` float64 in the order of :data:`FEATURES`.

    Raises:
        ValueError: another shape.
    """
    if points.ndim != 3 or points.shape[1] < 468 or points.shape[2] < 2:
        raise ValueError(f"points have shape {points.shape}, expected (T, 468 or more, 2 or more)")
    p = points[..., :2].astype(np.float64)
    axis = p[:, 10] - p[:, 152]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)

    def distance(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(p[:, a] - p[:, b], axis=-1)

    def height(upper: tuple[int, int], lower: tuple[int, int]) -> np.ndarray:
        return ((p[:, upper].mean(axis=1) - p[:, lower].mean(axis=1)) * axis).sum(axis=-1)

    columns = [
        distance(61, 291),
        height((61, 291), (13, 14)),
        distance(13, 14),
        height((55, 285), (133, 362)),
        height((46, 276), (33, 263)),
        distance(55, 285),
        (distance(159, 145) + distance(386, 374)) / 2,
        distance(152, 1),
        distance(2, 0),
    ]
    return np.stack(columns, axis=1) / interocular(p)[:, None]
