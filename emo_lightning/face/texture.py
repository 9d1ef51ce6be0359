"""TEX: twenty-four numbers of a face's appearance in the crop: regional tones and light.

CIELAB means of forehead, both cheeks, nose, chin, lips and brows (L, a, b each; L scaled to 0..1, a
and b over 100), then the slope of lightness to the right and downwards, and its deviation over the
skin. The regions are ours.
"""

from __future__ import annotations

import cv2
import numpy as np

REGIONS: dict[str, tuple[int, ...]] = {
    "forehead": (151, 9, 108, 337, 107, 336, 69, 299),
    "cheek_right": (50, 101, 205, 36, 118, 117, 123),
    "cheek_left": (280, 330, 425, 266, 347, 346, 352),
    "nose": (5, 195, 197, 4, 45, 275),
    "chin": (199, 200, 175, 208, 428, 18),
    "lips": (0, 17, 37, 267, 84, 314, 39, 269),
    "brows": (105, 334, 66, 296, 63, 293, 52, 282),
}
"""Vertices of each region; right and left are the subject's."""
SKIN = tuple(REGIONS)[:5]
WIDTH = 24
_VERTICES = np.concatenate([np.array(rows) for rows in REGIONS.values()])
_ENDS = np.cumsum([len(rows) for rows in REGIONS.values()])[:-1]


def read_texture(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Appearance of one face.

    Args:
        image: the square crop, ``(S, S, 3)`` uint8 RGB.
        points: ``(468|478, 3)`` landmarks in crop units.

    Returns:
        ``(24,)`` float32.
    """
    size = image.shape[0]
    soft = cv2.blur(image, (max(3, size // 64),) * 2)
    pixels = np.clip(((points[_VERTICES, :2] + 1.0) * size / 2.0).astype(int), 0, size - 1)
    colours = soft[pixels[:, 1], pixels[:, 0]][None].astype(np.float32) / 255.0
    lab = cv2.cvtColor(colours, cv2.COLOR_RGB2LAB)[0] / 100.0
    samples = dict(zip(REGIONS, np.split(lab, _ENDS), strict=True))
    tones = np.concatenate([samples[name].mean(0) for name in REGIONS])
    skin = np.concatenate([samples[name][:, 0] for name in SKIN])
    places = np.concatenate([points[list(REGIONS[name]), :2] for name in SKIN])
    slope = np.linalg.lstsq(
        np.column_stack([places - places.mean(0), np.ones(len(skin))]), skin, rcond=None
    )[0][:2]
    return np.concatenate([tones, slope, [skin.std()]]).astype(np.float32)
