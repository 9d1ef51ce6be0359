"""Which pixels belong to the person, with nothing but colours and the landmarks' outline to go by.

GrabCut (Rother, Kolmogorov & Blake, SIGGRAPH 2004) from an ellipse of skull and hair. It decides how far out the head is
rigid and no more: cutting the person out along it leaves halos on busy backgrounds, where a background that gives a
little beside the head does not show.
"""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh import topology

WORK = 128
ROUNDS = 4
LEAST_RIM = 0.55
"""Share of the skull's rim just outside the ellipse taken for granted that must be person: else the hair was missed."""
LOPSIDED = 2.6
"""Ratio of hair beside the two cheeks above which one side was missed or a piece of background was taken."""


def person(image: np.ndarray, points: np.ndarray) -> np.ndarray | None:
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
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(small, guess, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return None  # every pixel was given to one side: the frame is all face
    mask = ((guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)).astype(np.uint8)
    mask = _largest(mask)
    if not _plausible(mask, x, y, middle, half):
        return None
    return mask


def _trimap(x: np.ndarray, y: np.ndarray, oval: np.ndarray, middle: np.ndarray, half: np.ndarray) -> np.ndarray:
    def ellipse(rise: float, width: float, height: float) -> np.ndarray:
        return ((x - middle[0]) / (width * half[0])) ** 2 + ((y - middle[1] + rise * half[1]) / (height * half[1])) ** 2

    chin = oval[:, 1].max()
    hair = ellipse(0.25, 1.45, 1.45)
    body = y > chin + 0.15 * half[1]
    neck = (np.abs(x - middle[0]) < 0.5 * half[0]) & (y > middle[1])
    guess = np.full(x.shape, cv2.GC_PR_BGD, np.uint8)
    guess[(hair < 1) | body] = cv2.GC_PR_FGD
    guess[(ellipse(0.15, 1.02, 1.2) < 1) | neck] = cv2.GC_FGD
    face = np.zeros(x.shape, np.uint8)
    cv2.fillPoly(face, [np.round((oval + 1) / 2 * WORK - 0.5).astype(np.int32)], 1)
    guess[face > 0] = cv2.GC_FGD
    side = ((1 - np.abs(x) < 0.04) & (y < middle[1])) | (y < -0.97)
    guess[((hair > 3.2) & (y < chin)) | (side & (hair > 1.3))] = cv2.GC_BGD
    return guess


def _largest(mask: np.ndarray) -> np.ndarray:
    """The piece that holds the most pixels, its holes filled."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    mask = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    small = [i for i in range(1, len(stats)) if stats[i, cv2.CC_STAT_AREA] < 0.01 * mask.size]
    mask[np.isin(labels, small) & (mask == 0)] = 1
    return mask


def _plausible(mask: np.ndarray, x: np.ndarray, y: np.ndarray, middle: np.ndarray, half: np.ndarray) -> bool:
    turn = np.linspace(np.pi * 1.1, np.pi * 1.9, 24)
    rim_x = middle[0] + 1.02 * 1.07 * half[0] * np.cos(turn)
    rim_y = middle[1] - 0.15 * half[1] + 1.2 * 1.05 * half[1] * np.sin(turn)
    column, row = (((np.clip(v, -0.99, 0.99) + 1) / 2 * WORK).astype(int) for v in (rim_x, rim_y))
    if mask[row, column].mean() < LEAST_RIM:
        return False
    band = (mask > 0) & (np.abs(y - middle[1]) < half[1])
    left, right = ((band & side).sum() + 0.04 * WORK * WORK for side in (x < middle[0] - 0.9 * half[0], x > middle[0] + 0.9 * half[0]))
    return bool(max(left, right) / min(left, right) < LOPSIDED)
