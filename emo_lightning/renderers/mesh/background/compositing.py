"""The person before a wall that stays where it is.

The portrait is the person laid over a wall, ``I = P + (1 - alpha) B``. What is behind the person is filled in smoothly, and
P is what then remains of the picture: where the matte missed a strand, P holds it all the same, as what differs from the
wall, and it moves along. So the portrait comes back exactly whatever the matte is like, and a poor one shows as a little
of the wall that moves with the head, never as a cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

ABOVE = 0.3
"""How far above the frame a head that its top cuts off goes on, as a share of the frame's side."""
STRANDS = 0.05
"""Share of the frame's side around the matte in which there may be strands that it missed."""
FILL = 64
"""Pixels at which the wall behind the person is filled in."""
DOME = 0.25
"""Least share of the frame's side that a cut head's outline spans at the top."""


@dataclass(frozen=True)
class Layers:
    """A portrait taken apart.

    Attributes:
        wall: ``(S, S, 3)`` uint8, the portrait without the person.
        seen: ``(T + S, S, 4)`` uint8: how much of the wall is seen in the portrait in colour, ``(1 - alpha) B``, and alpha; the first T
            rows lie above the frame, where a head that its top cuts off goes on.
        plain: ``(T + S, S)`` uint8: 0 where there is wall alone, 2 where there is person alone, 1 elsewhere.
    """

    wall: np.ndarray
    seen: np.ndarray
    plain: np.ndarray

    def compose(self, frame: np.ndarray, flow: np.ndarray) -> None:
        """Put the wall behind a portrait ``(S, S, 3)`` uint8 that was warped by a flow ``(2, S, S)``, in place."""
        _compose(frame, flow, self.wall, self.seen, self.plain)


def build(image: np.ndarray, alpha: np.ndarray) -> Layers:
    """Take a portrait apart.

    Args:
        image: ``(S, S, 3)`` uint8.
        alpha: ``(S, S)`` float32, how much of each pixel is the person.
    """
    size = image.shape[0]
    person = (alpha > 0.02).astype(np.uint8)
    reach = max(2, round(STRANDS * size))
    near = np.clip(2.0 - cv2.distanceTransform(1 - person, cv2.DIST_L2, 3) / reach, 0.0, 1.0)
    # Above the frame there is wall alone: it must be the picture's own at the frame's top.
    near = np.where(person > 0, near, near * np.clip(np.arange(size) / reach, 0.0, 1.0)[:, None])[
        ..., None
    ]
    wall = (
        np.rint(image + near * (_filled(image, near[..., 0] > 0) - image))
        .clip(0, 255)
        .astype(np.uint8)
    )
    top = round(ABOVE * size)
    above = _dome(alpha, top)
    whole = np.concatenate([above, alpha])
    mirrored = np.concatenate([image[top:0:-1], wall])
    cover = np.rint(255.0 * whole).astype(np.uint8)
    seen = np.rint((1.0 - cover[..., None] / 255.0) * mirrored).astype(np.uint8)
    differs = np.concatenate([np.zeros((top, size), bool), (wall != image).any(axis=2)])
    alone = cv2.erode((cover == 255).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    mixed = cv2.dilate(((cover > 0) | differs).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    plain = np.where(alone, 2, np.where(mixed, 1, 0)).astype(np.uint8)
    return Layers(wall, np.dstack([seen, cover]), plain)


def _filled(image: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The picture ``(S, S, 3)`` float32 with unknown places ``(S, S)`` bool filled in smoothly from around them, coarse to fine."""
    size = image.shape[0]
    known = (~unknown).astype(np.float32)
    small = cv2.resize(
        image.astype(np.float32) * known[..., None], (FILL, FILL), interpolation=cv2.INTER_AREA
    )
    weight = cv2.resize(known, (FILL, FILL), interpolation=cv2.INTER_AREA)
    start = np.average(
        image.reshape(-1, 3), axis=0, weights=np.maximum(known.ravel(), 1e-6)
    ).astype(np.float32)
    value = np.broadcast_to(start, small.shape).copy()
    for spread in (24.0, 12.0, 6.0, 3.0, 1.5):
        there = cv2.GaussianBlur(weight, (0, 0), spread)
        mean = cv2.GaussianBlur(small, (0, 0), spread) / np.maximum(there, 1e-5)[..., None]
        value += np.clip(there / 0.08, 0.0, 1.0)[..., None] * (mean - value)
    held = weight > 0.6
    fixed = small / np.maximum(weight, 1e-5)[..., None]
    for _ in range(60):
        value[held] = fixed[held]
        value = cv2.blur(value, (3, 3), borderType=cv2.BORDER_REFLECT)
    return cv2.resize(value, (size, size), interpolation=cv2.INTER_CUBIC)


def _dome(alpha: np.ndarray, top: int) -> np.ndarray:
    """Where a head that the frame cuts off goes on above it, ``(top, S)`` float32: half an ellipse on its outline."""
    size = alpha.shape[0]
    inside = np.flatnonzero(alpha[: max(2, size // 64)].mean(axis=0) > 0.5)
    out = np.zeros((top, size), np.float32)
    if len(inside) < 2:
        return out
    left, right = inside[0] - 0.5, inside[-1] + 1.5
    width = (right - left) / 2
    height = min(0.45 * width if width > DOME * size / 2 else width, 0.9 * top)
    x, y = np.arange(size) + 0.5, top - (np.arange(top) + 0.5)
    away = np.sqrt(((x[None, :] - (left + right) / 2) / width) ** 2 + (y[:, None] / height) ** 2)
    edge = np.clip((1.0 - away) * min(width, height) / (0.01 * size) + 0.5, 0.0, 1.0)
    return (edge * edge * (3 - 2 * edge)).astype(np.float32)


@njit(cache=True)
def _compose(
    frame: np.ndarray, flow: np.ndarray, wall: np.ndarray, seen: np.ndarray, plain: np.ndarray
) -> None:
    """Outside the portrait its rim goes on: a wall stays a wall, shoulders go on as they are."""
    size, tall = frame.shape[0], seen.shape[0]
    top, wide, high = np.float32(tall - size), np.float32(size - 1.01), np.float32(tall - 1.01)
    half, zero, one = np.float32(0.5), np.float32(0.0), np.float32(1.0)
    for row in range(size):
        for column in range(size):
            x = min(max(flow[0, row, column], zero), wide)
            y = min(max(flow[1, row, column] + top, zero), high)
            kind = plain[int(y + half), int(x + half)]
            if kind == 2:
                continue
            if kind == 0:
                frame[row, column, 0] = wall[row, column, 0]
                frame[row, column, 1] = wall[row, column, 1]
                frame[row, column, 2] = wall[row, column, 2]
                continue
            i, j = int(x), int(y)
            a, b = x - np.float32(i), y - np.float32(j)
            w00, w01, w10, w11 = (one - a) * (one - b), a * (one - b), (one - a) * b, a * b
            cover = (
                w00 * seen[j, i, 3]
                + w01 * seen[j, i + 1, 3]
                + w10 * seen[j + 1, i, 3]
                + w11 * seen[j + 1, i + 1, 3]
            )
            if (
                flow[0, row, column] < -one
                or flow[0, row, column] > size
                or flow[1, row, column] > size
            ):
                if cover < np.float32(127.0):
                    frame[row, column, 0] = wall[row, column, 0]
                    frame[row, column, 1] = wall[row, column, 1]
                    frame[row, column, 2] = wall[row, column, 2]
                continue
            behind = one - cover / np.float32(255.0)
            for c in range(3):
                shown = (
                    w00 * seen[j, i, c]
                    + w01 * seen[j, i + 1, c]
                    + w10 * seen[j + 1, i, c]
                    + w11 * seen[j + 1, i + 1, c]
                )
                value = frame[row, column, c] - shown + behind * wall[row, column, c] + half
                frame[row, column, c] = np.uint8(min(max(value, zero), np.float32(255.0)))
