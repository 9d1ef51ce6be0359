"""Segmentation of the person from colours and the landmarks' outline alone.

GrabCut (Rother, Kolmogorov & Blake, SIGGRAPH 2004) from an ellipse of skull and hair, helped by a
smooth fit of the background where it is plain. A guided filter (He, Sun & Tang, *PAMI* 35, 2013)
gives its edge the picture's strands.
"""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology

WORK = 128
FINE = 512
"""Pixels at which the person's edge is refined at most."""
ROUNDS = 4
CUT, GOES_ON = 3, 24
"""Rows at the top that take the label of the one below, and grey levels of most difference."""
LEAST_RIM = 0.55
"""Least share of person on the skull's rim: else the hair was missed."""
PLAIN, PLAIN_SHARE = 9.0, 0.6
"""Most grey levels of scatter of a plain background around its smooth fit, and least share."""
UNLIKE, LIKE = 7.0, 2.5
"""Scatters from a plain background's colour above which a place is person, below background."""
MOST_AROUND = 0.4
"""Most share of person well beside and above the hair: more is the background itself."""
LOPSIDED = 2.6
"""Ratio of hair beside the two cheeks above which one side was missed or background was taken."""


def person_mask(image: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """Mask ``(WORK, WORK)`` uint8 of the person, or None where it does not look like a head.

    Args:
        image: ``(S, S, 3)`` uint8.
        points: ``(468, 3)`` crop units.
    """
    small = cv2.resize(image, (WORK, WORK), interpolation=cv2.INTER_AREA)
    axis = (np.arange(WORK) + 0.5) / WORK * 2 - 1
    x, y = np.meshgrid(axis, axis)
    oval = points[topology.OVAL, :2]
    middle, half = oval.mean(axis=0), np.ptp(oval, axis=0) / 2
    guess = _trimap(x, y, oval, middle, half)
    _mark_plain_background(small, guess, x, y)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(small, guess, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return None  # every pixel was given to one side: the frame is all face
    mask = ((guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)).astype(np.uint8)
    # The trimap takes the uppermost rows for background, also where hair goes on through them.
    alike = np.abs(small[:CUT].astype(int) - small[CUT]).max(axis=2) < GOES_ON
    mask[:CUT] = np.where(alike, mask[CUT], mask[:CUT])
    mask = _largest_piece(mask)
    return mask if _plausible(mask, x, y, middle, half) else None


def _ellipse(
    x: np.ndarray, y: np.ndarray, middle: np.ndarray, half: np.ndarray, shape: tuple[float, ...]
) -> np.ndarray:
    """Below 1 inside an ellipse of (rise, width, height) in half sizes of the face."""
    rise, width, height = shape
    across = (x - middle[0]) / (width * half[0])
    return across**2 + ((y - middle[1] + rise * half[1]) / (height * half[1])) ** 2


def _trimap(
    x: np.ndarray, y: np.ndarray, oval: np.ndarray, middle: np.ndarray, half: np.ndarray
) -> np.ndarray:
    """GrabCut's starting labels ``(WORK, WORK)`` from the face's outline."""
    chin = oval[:, 1].max()
    hair = _ellipse(x, y, middle, half, (0.25, 1.45, 1.45))
    body = y > chin + 0.15 * half[1]
    neck = (np.abs(x - middle[0]) < 0.5 * half[0]) & (y > middle[1])
    guess = np.full(x.shape, cv2.GC_PR_BGD, np.uint8)
    guess[(hair < 1) | body] = cv2.GC_PR_FGD
    # Beside the cheeks of a turned head the ellipse and the outline may be background.
    skull = _ellipse(x, y, middle, half, (0.15, 1.02, 1.2)) < 1
    guess[(skull & (y < oval[:, 1].min() + 0.6 * half[1])) | neck] = cv2.GC_FGD
    face = np.zeros(x.shape, np.uint8)
    cv2.fillPoly(face, [np.round((oval + 1) / 2 * WORK - 0.5).astype(np.int32)], 1)
    guess[(face > 0) & (guess != cv2.GC_FGD)] = cv2.GC_PR_FGD
    guess[cv2.erode(face, np.ones((3, 3), np.uint8)) > 0] = cv2.GC_FGD
    side = ((1 - np.abs(x) < 0.04) & (y < middle[1])) | (y < -0.97)
    guess[((hair > 3.2) & (y < chin)) | (side & (hair > 1.3))] = cv2.GC_BGD
    return guess


def _mark_plain_background(
    small: np.ndarray, guess: np.ndarray, x: np.ndarray, y: np.ndarray
) -> None:
    """Where the background is plain, label what is like it and what is not, in place."""
    background = (guess == cv2.GC_BGD) | (guess == cv2.GC_PR_BGD)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    colours = cv2.GaussianBlur(small, (0, 0), 0.8).astype(np.float64)
    near = background.copy()
    for _ in range(6):
        if near.sum() < 0.3 * background.sum() or near.sum() < 64:
            return
        fit = terms @ np.linalg.lstsq(terms[near], colours[near], rcond=None)[0]
        away = np.abs(colours - fit).max(axis=2)
        scatter = 1.48 * float(np.median(away[near]))
        near = background & (away < 2.5 * max(scatter, 1.0))
    scatter = max(scatter, 1.5)
    if scatter > PLAIN or (away[guess == cv2.GC_BGD] < LIKE * scatter).mean() < PLAIN_SHARE:
        return
    far = (away > UNLIKE * scatter).astype(np.uint8)
    unlike = cv2.morphologyEx(far, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0
    undecided = (guess == cv2.GC_PR_BGD) | (guess == cv2.GC_PR_FGD)
    guess[undecided & (away < LIKE * scatter)] = cv2.GC_PR_BGD
    guess[((guess == cv2.GC_BGD) | undecided) & unlike] = cv2.GC_PR_FGD


def person_alpha(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How much of each pixel is person, ``(S, S)`` float32 in [0, 1], from :func:`person_mask`."""
    size = image.shape[0]
    work = min(size, FINE)
    small = image if work == size else cv2.resize(image, (work, work), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(mask.astype(np.float32), (work, work), interpolation=cv2.INTER_CUBIC)
    coarse = np.clip(coarse, 0.0, 1.0)
    radius = max(2, round(0.012 * work))
    fine = _guided_filter(small.astype(np.float32) / 255.0, coarse, radius, 1e-4)
    fine = np.clip((fine - 0.12) / 0.76, 0.0, 1.0)
    soft = cv2.blur(coarse, (4 * radius + 1,) * 2)  # no strand reaches further
    fine = np.where(soft > 0.98, 1.0, np.where(soft < 0.02, 0.0, fine)).astype(np.float32)
    return fine if work == size else cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR)


def _guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, smooth: float) -> np.ndarray:
    """The values ``(H, W)`` as locally linear functions of the guide's colours ``(H, W, 3)``."""

    def mean(of: np.ndarray) -> np.ndarray:
        return cv2.blur(of, (2 * radius + 1,) * 2)

    middle, average = mean(guide), mean(values)
    products = guide[..., :, None] * guide[..., None, :]
    squares = mean(products.reshape(*values.shape, 9)).reshape(products.shape)
    spread = squares - middle[..., :, None] * middle[..., None, :]
    along = mean(guide * values[..., None]) - middle * average[..., None]
    slope = np.linalg.solve(spread + smooth * np.eye(3, dtype=np.float32), along[..., None])[..., 0]
    offset = average - (slope * middle).sum(axis=2)
    return (mean(slope) * guide).sum(axis=2) + mean(offset)


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """The piece that holds the most pixels, its holes filled."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    mask = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    small = [i for i in range(1, len(stats)) if stats[i, cv2.CC_STAT_AREA] < 0.01 * mask.size]
    mask[np.isin(labels, small) & (mask == 0)] = 1
    return mask


def _plausible(
    mask: np.ndarray, x: np.ndarray, y: np.ndarray, middle: np.ndarray, half: np.ndarray
) -> bool:
    """Whether a mask is shaped like a head: a full skull, little beside it, both sides alike."""
    turn = np.linspace(np.pi * 1.1, np.pi * 1.9, 24)
    rim_x = middle[0] + 1.02 * 1.07 * half[0] * np.cos(turn)
    rim_y = middle[1] - 0.15 * half[1] + 1.2 * 1.05 * half[1] * np.sin(turn)
    column, row = (((np.clip(v, -0.99, 0.99) + 1) / 2 * WORK).astype(int) for v in (rim_x, rim_y))
    if mask[row, column].mean() < LEAST_RIM:
        return False
    hair = _ellipse(x, y, middle, half, (0.25, 1.45, 1.45))
    if mask[(hair > 1.5) & (hair < 3.0) & (y < middle[1])].mean() > MOST_AROUND:
        return False
    band = (mask > 0) & (np.abs(y - middle[1]) < half[1])
    sides = (x < middle[0] - 0.9 * half[0], x > middle[0] + 0.9 * half[0])
    left, right = ((band & side).sum() + 0.04 * WORK * WORK for side in sides)
    return bool(max(left, right) / min(left, right) < LOPSIDED)
