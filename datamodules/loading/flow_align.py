"""Moving a true frame by the little that a drawn one is off, so that a loss does not punish sharp pictures for lying beside it.

A network that is trained on pictures a pixel apart learns to blur. The flow between the two (DIS; Kroeger et al., ECCV 2016) is
smoothed over half an eye's width, which leaves alone what differs in content: teeth, lids, wrinkles.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

SMOOTH = 0.12
"""IOD over which the flow is smoothed."""
MOST = 0.06
"""IOD that anything is moved by at most."""
TRUST = 0.02
"""Weight of the flow inside mouth and eyes, where content appears and vanishes."""


def align(truth: np.ndarray, drawn: np.ndarray, inside: np.ndarray, unit: float) -> np.ndarray:
    """The true frame, moved onto the drawn one.

    Args:
        truth, drawn: ``(S, S, 3)`` uint8 RGB.
        inside: ``(h, h)`` in 0..1, mouth's inside and eyes of the drawn one.
        unit: pixels per IOD.
    """
    side = len(truth)
    small = (side // 2, side // 2)
    half = [
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), small, interpolation=cv2.INTER_AREA)
        for image in (drawn, truth)
    ]
    flow = _dis().calc(half[0], half[1], None)
    weight = TRUST + (1.0 - TRUST) * (
        1.0 - cv2.blur(cv2.resize(inside, small, interpolation=cv2.INTER_AREA), (3, 3))
    )
    sigma = SMOOTH * unit / 2.0
    smooth = (
        2.0
        * cv2.GaussianBlur(flow * weight[..., None], (0, 0), sigma)
        / cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    )
    length = np.linalg.norm(smooth, axis=2, keepdims=True)
    smooth = cv2.resize(
        smooth * np.minimum(1.0, MOST * unit / np.maximum(length, 1e-6)),
        (side, side),
        interpolation=cv2.INTER_LINEAR,
    )
    row, column = np.mgrid[:side, :side].astype(np.float32)
    x, y = column + smooth[..., 0], row + smooth[..., 1]
    return cv2.remap(truth, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=1)
def _dis() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
