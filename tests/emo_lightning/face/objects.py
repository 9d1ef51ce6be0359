"""Pictures without a face in which the landmark network finds one, or might."""

from __future__ import annotations

import cv2
import numpy as np
from skimage import data


def canvas(grey: int) -> np.ndarray:
    return np.full((400, 400, 3), grey, np.uint8)


def soft_disc() -> np.ndarray:
    image = canvas(60)
    cv2.circle(image, (200, 200), 140, (230, 180, 150), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 8)


def sharp_disc() -> np.ndarray:
    image = canvas(200)
    cv2.circle(image, (200, 200), 120, (220, 170, 140), -1, cv2.LINE_AA)
    return image


def coin() -> np.ndarray:
    image = canvas(120)
    cv2.circle(image, (200, 200), 150, (200, 190, 120), -1)
    cv2.circle(image, (200, 200), 130, (180, 170, 100), 6)
    cv2.putText(image, "25", (140, 230), cv2.FONT_HERSHEY_COMPLEX, 3, (140, 130, 80), 8)
    return cv2.GaussianBlur(image, (0, 0), 2)


def headlights() -> np.ndarray:
    image = canvas(170)
    cv2.rectangle(image, (40, 170), (360, 300), (150, 30, 30), -1)
    cv2.ellipse(image, (200, 170), (120, 70), 0, 180, 360, (140, 30, 30), -1)
    cv2.ellipse(image, (200, 165), (90, 45), 0, 180, 360, (80, 100, 120), -1)
    for x in (90, 310):
        cv2.circle(image, (x, 225), 26, (240, 240, 230), -1, cv2.LINE_AA)
        cv2.circle(image, (x, 225), 12, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.rectangle(image, (130, 250), (270, 280), (40, 40, 40), -1)
    return cv2.GaussianBlur(image, (0, 0), 1.5)


def collar() -> np.ndarray:
    image = canvas(40)
    corners = [[100, 80], [200, 300], [300, 80], [260, 60], [200, 200], [140, 60]]
    cv2.fillPoly(image, [np.array(corners, np.int32)], (230, 230, 235), cv2.LINE_AA)
    cv2.circle(image, (200, 330), 12, (180, 180, 190), -1)
    return cv2.GaussianBlur(image, (0, 0), 2)


def blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((12, 12, 3))
    field = cv2.resize(noise, (400, 400), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 50 * field, 0, 255).astype(np.uint8)


def circles() -> np.ndarray:
    image, rng = canvas(220), np.random.default_rng(0)
    for _ in range(40):
        x, y = (int(v) for v in rng.integers(0, 400, 2))
        colour = tuple(int(v) for v in rng.integers(60, 230, 3))
        cv2.circle(image, (x, y), int(rng.integers(10, 50)), colour, -1, cv2.LINE_AA)
    return image


def colour_wheel() -> np.ndarray:
    y, x = np.mgrid[-1:1:400j, -1:1:400j]
    hue = (np.degrees(np.arctan2(y, x)) / 2 + 90).astype(np.uint8)
    radius = np.hypot(x, y)
    hsv = np.stack(
        [hue, np.clip(255 * radius, 0, 255).astype(np.uint8), np.full_like(hue, 230)], -1
    )
    image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    image[radius > 0.9] = 20
    return image


def of_package(name: str) -> np.ndarray:
    image = np.asarray(getattr(data, name)())
    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    image = image if image.ndim == 3 else np.stack([image] * 3, -1)
    return np.ascontiguousarray(image[..., :3])


PACKAGED = (
    "coins", "rocket", "cat", "coffee", "clock", "hubble_deep_field", "immunohistochemistry", "moon",
    "page", "text", "checkerboard", "brick", "grass", "gravel", "horse", "colorwheel", "logo", "cell",
)  # fmt: skip


def pictures() -> dict[str, np.ndarray]:
    """Forty pictures by name, ``(H, W, 3)`` uint8 RGB."""
    y, x = np.mgrid[0:400, 0:400]
    stripes = np.repeat((((x // 20) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    gradient = np.stack([x * 255 // 400, y * 255 // 400, (x + y) * 255 // 800], -1)
    made = {
        "soft_disc": soft_disc(),
        "sharp_disc": sharp_disc(),
        "coin": coin(),
        "headlights": headlights(),
        "collar": collar(),
        "circles": circles(),
        "colour_wheel": colour_wheel(),
        "stripes": stripes,
        "gradient": gradient.astype(np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8),
        "black": canvas(0),
        "white": canvas(255),
        **{f"blobs {seed}": blobs(seed) for seed in range(10)},
    }
    return made | {name: of_package(name) for name in PACKAGED}
