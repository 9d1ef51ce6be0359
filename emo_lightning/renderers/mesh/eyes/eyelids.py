"""Closing eyelids: a lid that comes down shows skin that the open eye hides, and takes its lashes along.

When a portrait is prepared, each upper lid's hidden skin is made: the skin around the eye carried smoothly across it
(a harmonic membrane, so it meets its surroundings without a seam), with the pores of the cheek below. The lashes are
read as what darkens the skin above the lid's margin; as the lid closes they swing from up to down.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.renderers.mesh.background.inpaint import GRID, membrane
from emo_lightning.renderers.mesh.eyes import brow_skin
from emo_lightning.renderers.mesh.eyes.eyelid_kernel import (
    ABOVE,
    ALONG,
    HEIGHT,
    LASH,
    heights,
    paint,
)
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels, smoothstep
from emo_lightning.renderers.mesh.geometry.raster import soften

COLUMNS = 33
LEAST = 0.02
"""Share of closing below which nothing is painted."""
FULL = 0.3
"""Share of closing from which the lid is wholly its hidden skin."""
DARK = 0.6
"""Share of the typical brightness around an eye below which a place is hair or the rim of glasses, not skin."""
HANGING, LEAST_OVER = 0.33, 0.04
"""Share of the brightest skin below which a thing that reaches over a lid is no brow, and the least share of the lid it hides."""
THIN = 0.12
"""Lengths of an eye: dark structures thinner than this are lashes."""
SUNK = 0.2
"""Share of closing from which the eyeball has sunk enough to show."""
STEP = 1.0
"""Pixels by which neighbours on both sides of a lid's edge lie apart where it would be jagged."""
GRAIN = 7.0
"""Most that the cheek's pores and freckles change a lid's tone."""


@dataclass(frozen=True)
class Lid:
    """One upper lid of a portrait; lengths are shares of the eye's, corner to corner.

    Attributes:
        skin: ``(h, w, 4)`` float32 over :data:`ALONG` by :data:`HEIGHT`: RGB of the shut lid, and 0 instead of 1 where hair
            or the rim of glasses lies over it.
        crease: ``(COLUMNS,)`` height of the crease in the portrait, below the line between the corners.
        lashes: ``(n, w)`` float32 in [0, 1], what is left of the light at :data:`LASH` above the margin, 0 first.
        ink: ``(3,)`` RGB of the line where the lids meet.
        open: IOD of its own opening.
        hung: whether hair or a rim lies over it, which must not come down with it.
        strip: what is between it and the brow.
    """

    skin: np.ndarray
    crease: np.ndarray
    lashes: np.ndarray
    ink: np.ndarray
    open: float
    hung: bool
    strip: brow_skin.Strip


def read(image: np.ndarray, rest: np.ndarray, pose: Pose) -> tuple[Lid, Lid]:
    """Look at the portrait's two upper lids; arguments as in :func:`emo_lightning.renderers.mesh.mouth.mouth.read`."""
    points = pixels(pose.apply(rest), image.shape[0])
    lids = []
    for eye, folds, brow in zip(topology.EYES, topology.LID_ROWS, brow_skin.BROWS, strict=True):
        corner, axis, down, length = _frame(points[eye[0]])
        lines = [
            _height(points[row] - corner, axis, down, length) / length
            for row in (folds[0], eye[0], folds[1])
        ]
        patch, above = (_patch(image, corner, axis, down, length, span) for span in (HEIGHT, ABOVE))
        opening = float((rest[eye[1][1:-1], 1] - rest[eye[0][1:-1], 1]).max())
        skin, lashes, ink = _shut(patch, _plain(patch), *lines)
        rows = (_places(points[row], corner, axis, down, length) for row in (brow, *folds))
        strip = brow_skin.read(above, _plain(above), *rows)
        lids.append(
            Lid(skin, lines[0], lashes, ink, opening, bool(skin[..., 3].min() < 0.5), strip)
        )
    return lids[0], lids[1]


def held(lids: tuple[Lid, Lid], rest: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The vertices ``(468, 3)`` by which the picture is warped: what lies over a lid stays where it is when it closes."""
    for lid, (upper, _), (crease, _) in zip(lids, topology.EYES, topology.LID_ROWS, strict=True):
        closed = _closed(lid, rest, vertices, upper)
        if not lid.hung or closed <= LEAST:
            continue
        vertices = vertices.copy()
        follow = 1.0 - float(smoothstep(LEAST, FULL, closed))
        for rows in (upper, crease):
            fall = vertices[rows, 1] - rest[rows, 1]
            vertices[rows, 1] = rest[rows, 1] + np.where(fall > 0, follow * fall, fall)
    return vertices


def soften_rims(
    frame: np.ndarray,
    flow: np.ndarray,
    lids: tuple[Lid, Lid],
    rest: np.ndarray,
    vertices: np.ndarray,
    pose: Pose,
) -> None:
    """Take the steps off the lower lid's edge, in place, where a closing eye sinks behind it; arguments as for :func:`draw`, and the
    flow ``(2, S, S)`` by which the frame was warped."""
    for lid, eye in zip(lids, topology.EYES, strict=True):
        if _closed(lid, rest, vertices, eye[0]) > SUNK:
            around = pixels(pose.apply(vertices[np.concatenate(eye)]), frame.shape[0])
            (left, top), (right, bottom) = np.maximum(
                np.stack([around.min(axis=0) - 3, around.max(axis=0) + 4]).astype(int), 0
            )
            soften(frame[top:bottom, left:right], flow[:, top:bottom, left:right], STEP)


def draw(
    frame: np.ndarray, lids: tuple[Lid, Lid], rest: np.ndarray, vertices: np.ndarray, pose: Pose
) -> None:
    """Paint both lids over the frame, in place, as far as they came down from the portrait's own place, and what is above them.

    Args:
        frame: ``(S, S, 3)`` uint8, the warped portrait.
        lids: from :func:`read`.
        rest, vertices: ``(468, 3)`` model space, the portrait's own and this frame's.
        pose: of this frame.
    """
    size = frame.shape[0]
    seen = held(lids, rest, vertices)
    for lid, (upper, _), (crease, _), brow in zip(
        lids, topology.EYES, topology.LID_ROWS, brow_skin.BROWS, strict=True
    ):
        closed = _closed(lid, rest, vertices, upper)
        grown = not lid.hung and brow_skin.grown(rest, seen, crease, brow)
        if closed <= LEAST and not grown:
            continue
        margin, fold = (
            pixels(pose.apply(vertices[upper]), size),
            pixels(pose.apply(seen[crease]), size),
        )
        corner, axis, down, length = _frame(margin)
        if length < 3.0:
            continue
        shut = float(smoothstep(LEAST, FULL, closed))
        if grown:
            rows = (
                _places(row, corner, axis, down, length)
                for row in (pixels(pose.apply(seen[brow]), size), fold)
            )
            brow_skin.draw(frame, lid.strip, corner, axis, down, length, *rows, shut)
        if closed <= LEAST:
            continue
        lines = np.stack([_height(p - corner, axis, down, length) for p in (fold, margin)])
        ends = corner + length * np.array([[ALONG[0]], [ALONG[1]]]) * axis
        around = np.concatenate([fold - 0.2 * length * down, margin + LASH * length * down, ends])
        low = np.maximum(np.floor(around.min(axis=0) - 2).astype(int), 0)
        high = np.minimum(np.ceil(around.max(axis=0) + 2).astype(int), size)
        paint(
            frame, low[0], low[1], high[0], high[1], corner, axis, down, length, lines, lid.crease, lid.skin, lid.lashes,
            lid.ink, closed, shut,
        )  # fmt: skip


def _closed(lid: Lid, rest: np.ndarray, vertices: np.ndarray, upper: np.ndarray) -> float:
    """How far the lid came down between the eye's corners, as a share of its own opening; eyes that move as a whole do not close."""
    move = vertices[upper, 1] - rest[upper, 1]
    fall = float(move[1:-1].max() - move[[0, -1]].mean())
    return min(fall / max(lid.open, 0.03), 1.0)


def _frame(margin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """An eye's own axes from its margin's pixels: a corner, along, down, and the length between the corners."""
    axis = margin[-1] - margin[0]
    length = float(np.hypot(*axis))
    axis = axis / max(length, 1e-6)
    return margin[0], axis, np.array([-axis[1], axis[0]]), length


def _height(offsets: np.ndarray, axis: np.ndarray, down: np.ndarray, length: float) -> np.ndarray:
    """A row of vertices as heights below the line between the eye's corners, at COLUMNS even places along it."""
    return heights(offsets @ axis / length, offsets @ down, COLUMNS)


def _places(
    points: np.ndarray, corner: np.ndarray, axis: np.ndarray, down: np.ndarray, length: float
) -> np.ndarray:
    """Pixels ``(n, 2)`` in an eye's own axes, along and below, in its lengths."""
    return (points - corner) @ np.stack([axis, down], axis=1) / length


def _patch(
    image: np.ndarray,
    corner: np.ndarray,
    axis: np.ndarray,
    down: np.ndarray,
    length: float,
    span: tuple[float, float],
) -> np.ndarray:
    """The picture around an eye, upright, ``(h, w, 3)`` float32 over ALONG by the span of heights."""
    fine = max(length, 24.0)
    along = np.linspace(*ALONG, round((ALONG[1] - ALONG[0]) * fine))
    height = np.linspace(*span, round((span[1] - span[0]) * fine))
    at = corner + length * (along[None, :, None] * axis + height[:, None, None] * down) - 0.5
    at = at.astype(np.float32)
    return cv2.remap(
        image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)


def _plain(patch: np.ndarray) -> np.ndarray:
    """The picture around an eye without thin dark things like lashes."""
    unit = patch.shape[1] / (ALONG[1] - ALONG[0])
    thin = max(3, round(THIN * unit)) | 1
    bare = cv2.morphologyEx(
        patch, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thin, thin))
    )
    return cv2.GaussianBlur(bare, (0, 0), max(0.7, 0.03 * unit))


def _shut(
    patch: np.ndarray, bare: np.ndarray, crease: np.ndarray, margin: np.ndarray, fold: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skin, lashes and ink of :class:`Lid` from the picture around an open eye, without thin dark things, and its lines."""
    rows, columns = patch.shape[:2]
    along, height = np.linspace(*ALONG, columns), np.linspace(*HEIGHT, rows)[:, None]
    place = np.clip(along, 0.0, 1.0) * (COLUMNS - 1)
    crease, margin, fold = (
        np.interp(place, np.arange(COLUMNS), line) for line in (crease, margin, fold)
    )
    unit = columns / (ALONG[1] - ALONG[0])
    thin = max(3, round(THIN * unit)) | 1
    inside = (height > crease) & (height < fold) & (along > -0.04) & (along < 1.04)
    cover = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(0.7, 0.03 * unit))[..., None]
    skin = bare + np.clip(2.0 * cover, 0.0, 1.0) * (_membrane(bare, inside) - bare)
    skin += cover * _grain(patch, fold, unit)
    clear = 1.0 - _over(bare, along, height, crease, margin, thin)
    light, lit = patch.mean(axis=2), np.maximum(skin.mean(axis=2), 8.0)
    steps = np.linspace(0.0, LASH, max(6, round(LASH * unit)))
    at = (
        (margin[None] - steps[:, None] - HEIGHT[0]) / (HEIGHT[1] - HEIGHT[0]) * rows - 0.5
    ).astype(np.float32)
    across = np.repeat(np.arange(columns, dtype=np.float32)[None], len(steps), axis=0)
    left = cv2.remap(
        np.clip(light / lit, 0.1, 1.0),
        across,
        at,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    fade = (
        smoothstep(LASH, 0.4 * LASH, steps)[:, None]
        * smoothstep(-0.12, 0.04, along)
        * smoothstep(1.12, 0.96, along)
    )
    lashes = 1.0 - fade * (1.0 - left)
    dark = patch[(np.abs(height - margin) < 0.04) & (along > 0) & (along < 1)]
    dark = dark[np.argsort(dark.mean(axis=1))[: max(1, len(dark) // 4)]].mean(axis=0)
    ink = np.minimum(dark, 0.55 * skin[inside].mean(axis=0) if inside.any() else dark)
    skin = np.dstack([skin, clear])
    return skin.astype(np.float32), lashes.astype(np.float32), ink.astype(np.float64)


def _membrane(bare: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The harmonic function inside that meets the picture around; hair and rims at the edge have no say."""
    small = cv2.resize(bare, GRID[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
    unknown = cv2.resize(inside.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA) > 0.0
    light = small.mean(axis=2)
    rim = cv2.dilate(unknown.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~unknown
    skin = light >= DARK * np.percentile(light[rim], 65) if rim.any() else light >= 0
    unknown |= rim & ~skin
    return membrane(bare, unknown)


def _over(
    bare: np.ndarray,
    along: np.ndarray,
    height: np.ndarray,
    crease: np.ndarray,
    margin: np.ndarray,
    thin: int,
) -> np.ndarray:
    """Where dark things that come from well above the crease hang over the lid, ``(h, w)`` in [0, 1]; 0 if hardly any do."""
    light = bare.mean(axis=2)
    dark = (light < HANGING * np.percentile(light, 95)) & (height < margin - 0.03)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thin + 2, thin + 2))
    dark = cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
    _, labels = cv2.connectedComponents(dark.astype(np.uint8))
    hanging = np.isin(labels, np.unique(labels[dark & (height < crease - 0.12)])) & dark
    lid = (height > crease - 0.12) & (height < margin) & (along > 0.0) & (along < 1.0)
    if hanging[lid].mean() < LEAST_OVER:
        return np.zeros(light.shape, np.float32)
    return cv2.GaussianBlur(hanging.astype(np.float32), (0, 0), 0.25 * thin)


def _grain(patch: np.ndarray, fold: np.ndarray, unit: float) -> np.ndarray:
    """Fine texture for the hidden skin ``(h, w, 3)``: that below the eye, mirrored up."""
    rows, columns = patch.shape[:2]
    fine = patch - cv2.GaussianBlur(patch, (0, 0), max(0.7, 0.06 * unit))
    edge = (fold + 0.04 - HEIGHT[0]) / (HEIGHT[1] - HEIGHT[0]) * rows
    row = np.arange(rows, dtype=np.float32)[:, None]
    mirrored = edge + np.abs(edge - row)
    span = np.maximum(rows - 1.0 - edge, 1.0)
    mirrored = edge + span - np.abs(np.mod(mirrored - edge, 2.0 * span) - span)
    across = np.repeat(np.arange(columns, dtype=np.float32)[None], rows, axis=0)
    found = cv2.remap(
        fine, across, mirrored.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return GRAIN * np.tanh(found / GRAIN)
