"""Foreground/background compositing over a static, inpainted background.

The portrait is ``I = P + (1 - alpha) B``: the person over a background B that is inpainted smoothly
behind the person. P is what remains of the picture: where the matte missed a strand, P holds it as
a difference from the background, and it moves along. So the portrait is reproduced exactly whatever
the matte is like, and an error of the matte shows as a little background that moves with the head,
never as a cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from emo_lightning.renderers.mesh.background.inpaint import harmonic_fill

ABOVE = 0.3
"""Share of the frame's side by which a head is continued above its top."""
STRANDS = 0.05
"""Share of the frame's side around the matte in which there may be strands that it missed."""
FILL = 48
"""Pixels at which the background behind the person is inpainted."""
ROUND = 0.3
"""Radius of a head as a share of the frame's side."""


@dataclass(frozen=True)
class PortraitLayers:
    """A portrait separated into person and background; T rows lie above the frame.

    Attributes:
        background: ``(S, S, 3)`` uint8, the portrait without the person.
        visible: ``(T + S, S, 4)`` uint8: the background's visible part ``(1 - alpha) B``, and
            alpha.
        kind: ``(T + S, S)`` uint8: 0 for background alone, 2 for person alone, 1 elsewhere.
    """

    background: np.ndarray
    visible: np.ndarray
    kind: np.ndarray

    def composite(self, frame: np.ndarray, flow: np.ndarray) -> None:
        """Put the background behind a portrait warped by a flow ``(2, S, S)``, in place."""
        _composite(frame, flow, self.background, self.visible, self.kind)


def separate_layers(image: np.ndarray, alpha: np.ndarray) -> PortraitLayers:
    """Separate a portrait into person and background.

    Args:
        image: ``(S, S, 3)`` uint8.
        alpha: ``(S, S)`` float32, how much of each pixel is the person.
    """
    size = image.shape[0]
    person = (alpha > 0.02).astype(np.uint8)
    reach = max(2, round(STRANDS * size))
    near = np.clip(2.0 - cv2.distanceTransform(1 - person, cv2.DIST_L2, 3) / reach, 0.0, 1.0)
    # Above the frame there is background alone: it must be the picture's own at the frame's top,
    # but not below a head that comes near the top: strands would stay behind there.
    beside = (
        cv2.blur(person[:reach].max(axis=0).astype(np.float32)[None], (4 * reach + 1, 1)) == 0.0
    )
    rise = np.where(beside, np.clip(np.arange(size) / reach, 0.0, 1.0)[:, None], 1.0)
    near = np.where(person > 0, near, near * rise)[..., None]
    filled = image + near * (_inpainted(image, near[..., 0] > 0) - image)
    background = np.rint(filled).clip(0, 255).astype(np.uint8)
    top = round(ABOVE * size)
    cover = np.rint(255.0 * np.concatenate([_head_top(alpha, top), alpha])).astype(np.uint8)
    mirrored = np.concatenate([image[top:0:-1], background])
    visible = np.rint((1.0 - cover[..., None] / 255.0) * mirrored).astype(np.uint8)
    differs = np.concatenate([np.zeros((top, size), bool), (background != image).any(axis=2)])
    alone = cv2.erode((cover == 255).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    mixed = cv2.dilate(((cover > 0) | differs).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    kind = np.where(alone, 2, np.where(mixed, 1, 0)).astype(np.uint8)
    return PortraitLayers(background, np.dstack([visible, cover]), kind)


def _inpainted(image: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The picture ``(S, S, 3)`` float32 with unknown places filled in smoothly."""
    known = (~unknown).astype(np.float32)
    masked = image.astype(np.float32) * known[..., None]
    small = cv2.resize(masked, (FILL, FILL), interpolation=cv2.INTER_AREA)
    weight = cv2.resize(known, (FILL, FILL), interpolation=cv2.INTER_AREA)
    sure = weight > min(0.6, 0.9 * float(weight.max()))
    if not sure.any():
        return image.astype(np.float32)
    value = harmonic_fill(small / np.maximum(weight, 1e-5)[..., None], sure).astype(np.float32)
    return cv2.resize(value, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _head_top(alpha: np.ndarray, top: int) -> np.ndarray:
    """Cover ``(top, S)`` float32 of a head above the frame that cuts it off: half an ellipse."""
    size = alpha.shape[0]
    inside = np.flatnonzero(alpha[: max(2, size // 64)].mean(axis=0) > 0.5)
    if len(inside) < 2:
        return np.zeros((top, size), np.float32)
    left, right = inside[0] - 0.5, inside[-1] + 1.5
    width = (right - left) / 2
    # A head that only touches the top ends there: the arc over a chord of a round head is low.
    height = max(min(0.45 * width, width**2 / (2.0 * ROUND * size), 0.9 * top), 1.0)
    x, y = np.arange(size) + 0.5, top - (np.arange(top) + 0.5)
    away = np.sqrt(((x[None, :] - (left + right) / 2) / width) ** 2 + (y[:, None] / height) ** 2)
    edge = np.clip((1.0 - away) * min(width, height) / (0.01 * size) + 0.5, 0.0, 1.0)
    return (edge * edge * (3 - 2 * edge)).astype(np.float32)


@njit(cache=True)
def _composite(
    frame: np.ndarray, flow: np.ndarray, background: np.ndarray, visible: np.ndarray,
    kind: np.ndarray,
) -> None:  # fmt: skip
    """Outside the portrait its border is continued: background stays, shoulders go on."""
    size, tall = frame.shape[0], visible.shape[0]
    top, wide, high = np.float32(tall - size), np.float32(size - 1.01), np.float32(tall - 1.01)
    half, zero, one, full = np.float32(0.5), np.float32(0.0), np.float32(1.0), np.float32(255.0)
    for row in range(size):
        for column in range(size):
            from_x, from_y = flow[0, row, column], flow[1, row, column]
            x = min(max(from_x, zero), wide)
            y = min(max(from_y + top, zero), high)
            seen = kind[int(y + half), int(x + half)]
            if seen == 2:
                continue
            if seen == 0:
                for c in range(3):
                    frame[row, column, c] = background[row, column, c]
                continue
            i, j = int(x), int(y)
            a, b = x - np.float32(i), y - np.float32(j)
            w00, w01, w10, w11 = (one - a) * (one - b), a * (one - b), (one - a) * b, a * b
            cover = w00 * visible[j, i, 3] + w01 * visible[j, i + 1, 3]
            cover = cover + w10 * visible[j + 1, i, 3] + w11 * visible[j + 1, i + 1, 3]
            if from_x < -one or from_x > size or from_y > size:
                if cover < np.float32(127.0):
                    for c in range(3):
                        frame[row, column, c] = background[row, column, c]
                continue
            behind = one - cover / full
            for c in range(3):
                shown = w00 * visible[j, i, c] + w01 * visible[j, i + 1, c]
                shown = shown + w10 * visible[j + 1, i, c] + w11 * visible[j + 1, i + 1, c]
                value = frame[row, column, c] - shown + behind * background[row, column, c] + half
                frame[row, column, c] = np.uint8(min(max(value, zero), full))
