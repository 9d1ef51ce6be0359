"""Four of THEval's eight measures, from landmarks and speech segments alone.

N. Quignon et al., "THEval", arXiv 2511.04520, as its public code computes them (Newbyl/THEval): lip
dynamics, eyebrow dynamics, head motion dynamics and silent lip stability. Points are MediaPipe's
478; frames without a face are skipped. With equal points, angles and segments the numbers are those
of that code. Its head pose comes from FaceXFormer and its face box from RetinaFace; what is passed
here is the caller's choice. The score of a measure is ``1 - |x - GT| / |GT|`` against the ground
truth.
"""

from __future__ import annotations

import numpy as np

SIDE = 256
"""Pixels of the square frame in which lengths are measured."""
LIPS = sorted(
    {61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409}
    | {78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415}
)
BROWS = (
    (276, 282, 283, 285, 293, 295, 296, 300, 334, 336),
    (46, 52, 53, 55, 63, 65, 66, 70, 105, 107),
)
EYES = (
    (249, 263, 362, 373, 374, 380, 381, 382, 384, 385, 386, 387, 388, 390, 398, 466),
    (7, 33, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161, 163, 173, 246),
)
"""Left and right of the person, as the brows."""
UPPER_LIP = (191, 80, 81, 82, 13, 312, 311, 310)
LOWER_LIP = (95, 88, 178, 87, 14, 317, 402, 318)
EYE_CORNERS = (33, 263)
LEAST_SILENCE = 0.3
"""Seconds."""


def _check(points: np.ndarray, least: int) -> np.ndarray:
    """The frames ``(T, 478, 2)`` with a face, float64; ValueError for fewer than ``least``."""
    if points.ndim != 3 or points.shape[1] < 468 or points.shape[2] < 2:
        raise ValueError(f"points have shape {points.shape}, expected (T, 468 or more, 2 or more)")
    seen = points[np.isfinite(points[:, 0, 0]), :, :2].astype(np.float64)
    if len(seen) < least:
        raise ValueError(f"{len(seen)} frames show a face, at least {least} are needed")
    return seen


def lip_dynamics(points: np.ndarray) -> float:
    """Deviation over time of the distance of two lip points, mean over all pairs of 40 points.

    Args:
        points: ``(T, 468 or more, 2 or more)`` in pixels of a frame resized to 256 x 256.

    Raises:
        ValueError: another shape, or no frame with a face.
    """
    lips = _check(points, 1)[:, LIPS]
    first, second = np.triu_indices(len(LIPS), 1)
    distances = np.linalg.norm(lips[:, first] - lips[:, second], axis=-1)
    return float(distances.std(axis=0).mean())


def eyebrow_dynamics(points: np.ndarray) -> float:
    """Mean absolute change from frame to frame of the brow's distance from the eye, left and right.

    Distances are those of the centres, over the distance of the two eyes' centres.

    Args:
        points: ``(T, 468 or more, 2 or more)`` in pixels of the frame.

    Raises:
        ValueError: another shape, or fewer than two frames with a face.
    """
    seen = _check(points, 2)
    eyes, brows = ([seen[:, i].mean(axis=1) for i in sides] for sides in (EYES, BROWS))
    unit = np.linalg.norm(eyes[0] - eyes[1], axis=-1)
    raised = [np.linalg.norm(b - e, axis=-1) / unit for b, e in zip(brows, eyes, strict=True)]
    return float(np.abs(np.diff(raised, axis=1)).mean())


def head_motion_dynamics(angles: np.ndarray, centres: np.ndarray) -> float:
    """``sqrt(mean std of the angles * mean variance of their changes + mean variance of the
    centre)``.

    Args:
        angles: ``(T, 3)`` degrees, T at least 3.
        centres: ``(T, 2)`` centre of the face in pixels.

    Raises:
        ValueError: other shapes, or fewer than three frames.
    """
    if angles.shape != (len(centres), 3) or centres.shape[1:] != (2,) or len(angles) < 3:
        shapes = f"angles have shape {angles.shape}, centres {centres.shape}"
        raise ValueError(f"{shapes}; expected (T, 3) and (T, 2), T at least 3")
    changes = np.diff(angles, axis=0).var(axis=0).mean()
    return float(np.sqrt(angles.std(axis=0).mean() * changes + centres.var(axis=0).mean()))


def silent_frames(speech: np.ndarray, frames: int, fps: float = 25.0) -> np.ndarray:
    """Frames inside silences of at least 0.3 s.

    Args:
        speech: ``(S, 2)`` start and end of each speech segment in seconds.
        frames: number of frames.
        fps: frames a second.

    Returns:
        ``(frames,)`` bool.
    """
    silent = np.ones(frames, bool)
    for start, end in speech:
        silent[int(start * fps) : int(end * fps) + 1] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], silent.astype(int), [0]])))
    for start, end in edges.reshape(-1, 2):
        if end - start < LEAST_SILENCE * fps:
            silent[start:end] = False
    return silent


def lip_openings(points: np.ndarray) -> np.ndarray:
    """Mean vertical gap of eight inner lip pairs over the distance of the outer eye corners.

    Args:
        points: ``(T, 468 or more, 2 or more)`` in pixels of a frame resized to 256 x 256.

    Returns:
        ``(T,)`` float64 for the frames with a face.
    """
    seen = _check(points, 0)
    unit = np.linalg.norm(seen[:, EYE_CORNERS[0]] - seen[:, EYE_CORNERS[1]], axis=-1)
    return np.abs(seen[:, UPPER_LIP, 1] - seen[:, LOWER_LIP, 1]).mean(axis=1) / unit


def silent_lip_stability(openings: np.ndarray) -> float:
    """Median absolute deviation of the lip openings in silence from their mean.

    Args:
        openings: ``(N,)`` from :func:`lip_openings`, silent frames alone, N at least 2.

    Raises:
        ValueError: fewer than two openings.
    """
    if len(openings) < 2:
        raise ValueError(f"{len(openings)} silent frames show a face, at least 2 are needed")
    return float(np.median(np.abs(openings - openings.mean())))


def score(value: float, truth: float) -> float:
    """``1 - |x - GT| / |GT|``; ValueError for a ground truth of 0."""
    if abs(truth) <= 1e-9:
        raise ValueError("the ground truth is 0")
    return 1.0 - abs(value - truth) / abs(truth)
