"""Small real videos: a public-domain photograph of a face, moved about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from emo_lightning.media.video_writer import write_video

ClipMaker = Callable[..., Path]


def wobble(frames: int, size: tuple[int, int], seed: int, blur: float) -> Iterator[np.ndarray]:
    """The astronaut's head, swaying; the same seed sways alike at any size."""
    picture = astronaut()[:300, 75:375]
    phase = np.random.default_rng(seed).uniform(0, 6, 2)
    for t in range(frames):
        x, y = 6 * np.sin(phase[0] + t / 4), 4 * np.sin(phase[1] + t / 5)
        moved = cv2.warpAffine(
            picture, np.float32([[1, 0, x], [0, 1, y]]), (300, 300), borderMode=cv2.BORDER_REPLICATE
        )
        moved = cv2.GaussianBlur(moved, (0, 0), blur) if blur else moved
        yield cv2.resize(moved, size, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def make_clip() -> ClipMaker:
    """Write ``path`` with ``frames`` frames of a swaying head; blurred, resized or with another
    sway on request."""

    def make(
        path: Path,
        frames: int = 10,
        size: tuple[int, int] = (192, 192),
        seed: int = 0,
        blur: float = 0.0,
        fps: float = 25.0,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, wobble(frames, size, seed, blur), fps=fps, crf=4)
        return path

    return make
