"""Skin between eye and brow: a brow that goes up would stretch lashes, shadows and its own hair over it like a comb.

The strip from the lid's crease to the brow is short in most portraits, and twice as long under raised brows. So it is made
of two copies of the picture that keep their length: one hangs on the crease and holds the lashes, one on the brow and
holds its hair. Each goes on as bare skin (a harmonic membrane from what is skin in the portrait), where they are blended.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.renderers.mesh.background.inpaint import GRID, membrane
from emo_lightning.renderers.mesh.eyes.eyelid_kernel import ABOVE, ALONG, even, stretch, strip_lines
from emo_lightning.renderers.mesh.geometry.coordinates import smoothstep

BROWS = (np.array([46, 53, 52, 65, 55]), np.array([285, 295, 282, 283, 276]))
"""The lower edge of each brow, in the order of :data:`emo_lightning.renderers.mesh.geometry.topology.EYES`, left to right."""
PLACES = 33
FROM, WHOLE = 0.015, 0.09
"""Lengths of an eye by which the strip must grow for it to be painted at all, and wholly."""
PAST = 0.1
"""Lengths of an eye by which the strip goes on below the crease of a shut lid, whose own skin begins there."""
DARK = 0.72
"""Share of the bright part of the strip below which a place is hair or shadow, not plain skin."""


@dataclass(frozen=True)
class Strip:
    """What one eye has above its crease; pictures span :data:`ALONG` by :data:`ABOVE`, lengths are shares of the eye's.

    Attributes:
        own: ``(2, PLACES)`` heights of brow and crease below the corners' line in the portrait, at even places over ALONG.
        along: ``(5,)`` where the brow's vertices are.
        low, bare: ``(h, w, 3)`` float32: the picture up to the brow's hair, and the same without lashes.
        high: ``(h, w, 3)`` float32, the picture down to the crease.
    """

    own: np.ndarray
    along: np.ndarray
    low: np.ndarray
    bare: np.ndarray
    high: np.ndarray


def read(
    patch: np.ndarray, plain: np.ndarray, brow: np.ndarray, crease: np.ndarray, fold: np.ndarray
) -> Strip:
    """Take the strip of one eye apart.

    Args:
        patch: ``(h, w, 3)`` float32, the picture over ALONG by ABOVE.
        plain: the same without what is thinner than lashes.
        brow, crease, fold: ``(n, 2)`` places of vertices, along and below.
    """
    rows, columns = patch.shape[:2]
    height = np.linspace(*ABOVE, rows, dtype=np.float32)[:, None]
    top, bottom, under = (line(row, columns)[None] for row in (brow, crease, fold))
    wide = np.maximum(bottom - top, 0.02)
    light = plain.mean(axis=2)
    inside = (height > top + 0.2 * wide) & (height < bottom - 0.02)
    tone = np.percentile(light[inside], 75) if inside.any() else 0.0
    skin = inside & (light > DARK * tone)
    known = skin | ((height > under + 0.05) & (light > DARK * tone))
    bare = membrane(
        plain, cv2.resize(known.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA) < 0.9
    )
    soft = max(0.7, 0.03 * columns / (ALONG[1] - ALONG[0]))
    trust = cv2.GaussianBlur((light > DARK * tone).astype(np.float32), (0, 0), soft)
    under_brow = smoothstep(0.0, 0.7, (height - top) / wide).astype(np.float32) * trust
    # From the crease down the picture is the frame's own: nothing is painted there, and lashes must join.
    under_brow = np.maximum(under_brow, smoothstep(-0.06, 0.0, height - bottom).astype(np.float32))[
        ..., None
    ]
    over_crease = (smoothstep(0.75, 0.1, (height - top) / wide).astype(np.float32))[..., None]
    return Strip(
        own=np.stack([line(brow, PLACES), line(crease, PLACES)]), along=np.ascontiguousarray(brow[:, 0]),
        low=(bare + under_brow * (patch - bare)).astype(np.float32), bare=bare.astype(np.float32),
        high=(bare + over_crease * (patch - bare)).astype(np.float32),
    )  # fmt: skip


def line(row: np.ndarray, count: int) -> np.ndarray:
    """Places ``(n, 2)`` along and below as ``(count,)`` smooth heights at even places over ALONG."""
    out = np.empty(count)
    even(row[:, 0], row[:, 1], count, out)
    return out


def grown(rest: np.ndarray, vertices: np.ndarray, crease: np.ndarray, brow: np.ndarray) -> bool:
    """Whether a strip can have grown enough to be painted; rest and vertices ``(468, 3)`` model space."""
    falls = vertices[crease, 1] - rest[crease, 1]
    return float(falls.max() - (vertices[brow, 1] - rest[brow, 1]).min()) > 0.5 * FROM * abs(
        float(rest[crease[-1], 0] - rest[crease[0], 0])
    )


def draw(
    frame: np.ndarray, strip: Strip, corner: np.ndarray, axis: np.ndarray, down: np.ndarray, length: float, brow: np.ndarray,
    crease: np.ndarray, shut: float,
) -> None:  # fmt: skip
    """Paint one strip, in place, where it is longer than in the portrait.

    Args:
        frame: ``(S, S, 3)`` uint8.
        strip: from :func:`read`.
        corner, axis, down, length: the eye's own axes in this frame, pixels.
        brow, crease: ``(n, 2)`` places of vertices in this frame, along and below.
        shut: how far the lid is shut, 0 to 1: then its lashes are elsewhere.
    """
    lines, most = strip_lines(brow, crease, strip.own, strip.along, FROM, WHOLE)
    if most < 0.02:
        return
    ends = corner + length * np.array([[ALONG[0]], [ALONG[1]]]) * axis
    around = np.concatenate(
        [ends + length * reach * down for reach in (lines[0].min() - 0.12, lines[1].max() + PAST)]
    )
    left, upper = np.maximum(np.floor(around.min(axis=0) - 1).astype(int), 0)
    right, lower = np.minimum(np.ceil(around.max(axis=0) + 1).astype(int), frame.shape[0])
    low = strip.low if shut <= 0.0 else strip.low + np.float32(shut) * (strip.bare - strip.low)
    stretch(
        frame, left, upper, right, lower, corner, axis, down, length, lines, strip.own, low, strip.high, PAST * shut,
    )  # fmt: skip
