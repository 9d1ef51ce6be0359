"""Glasses: rims are rigid, so the skin that carries them in the picture must not bend them.

A rim is a thin structure across the nose's bridge and below both eyes, darker or lighter than skin.
"""

from __future__ import annotations

import cv2
import numpy as np

from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import FaceView, smoothstep

THICK = 0.09
"""IOD of the thickest rim that is found."""
BRIDGE, BELOW = 0.24, 0.12
"""Least contrast against the skin of a rim across the nose, and of one below each eye."""
NEAR, FAR = 0.03, 0.13
"""IOD from a rim up to which vertices are rigid, and from which on they are free."""
BROW_MOST = 0.6
"""Rigidity of brows at most: they go up behind glasses."""


def glasses_rigidity(image: np.ndarray, view: FaceView) -> np.ndarray | None:
    """Share ``(468,)`` of the motion that vertices do not take; None without glasses."""
    vertices, unit = view.vertices, view.unit
    sigma = max(0.6, 0.008 * unit)
    gray = cv2.GaussianBlur(image.mean(axis=2).astype(np.float32), (0, 0), sigma)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, round(THICK * unit)) | 1,) * 2)
    light = gray - cv2.morphologyEx(gray, cv2.MORPH_OPEN, disc)
    thin = np.maximum(light, cv2.morphologyEx(gray, cv2.MORPH_CLOSE, disc) - gray)

    def along(picture: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        places = start + np.linspace(0.0, 1.0, 40)[:, None] * (end - start)
        at = view.sampling_map(places[:, None])
        return cv2.remap(picture, *cv2.split(at), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    tone = max(float(np.median(along(gray, vertices[9], vertices[195]))), 20.0)
    thin /= tone
    nasion = vertices[topology.NASION] - (0.0, 0.1, 0.0)
    if along(thin, nasion, vertices[195]).max() < BRIDGE:
        return None
    for _, fold in topology.LID_ROWS:
        starts = vertices[fold[2:7]] + (0.0, 0.05, 0.0)
        found = [along(thin, start, start + np.array([0.0, 0.32, 0.0])).max() for start in starts]
        if np.median(found) < BELOW:
            return None
    return _rigidity((thin > BELOW).astype(np.uint8), view)


def _rigidity(rim: np.ndarray, view: FaceView) -> np.ndarray:
    """Rigidity ``(468,)`` by the distance from a mask ``(S, S)`` of thin structures."""
    points, unit = view.pixels(), view.unit
    brows = np.concatenate(topology.BROWS)
    for upper, lower in topology.EYES:
        outline = np.concatenate([points[upper], points[lower][::-1]])
        cv2.fillPoly(rim, [np.round(outline).astype(np.int32)], 0)
        thick = 2 * max(1, round(0.07 * unit))
        cv2.polylines(rim, [np.round(outline).astype(np.int32)], True, 0, thick)
    top, bottom = points[brows, 1].min(), points[[50, 280], 1].max() + 0.1 * unit
    rim[: max(int(top), 0)] = 0
    rim[max(int(bottom), 0) :] = 0
    away = cv2.distanceTransform(1 - rim, cv2.DIST_L2, 5) / unit
    at = np.clip(points.astype(int), 0, view.size - 1)
    rigid = smoothstep(FAR, NEAR, away[at[:, 1], at[:, 0]])
    rigid[brows] = np.minimum(rigid[brows], BROW_MOST)
    lids = [row for eye in (*topology.EYES, *topology.LID_ROWS) for row in eye]
    rigid[np.concatenate(lids)] = 0.0
    rigid[points[:, 1] > bottom] = 0.0
    return rigid
