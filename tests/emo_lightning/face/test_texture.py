"""The look of a face as numbers."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.face.crop import crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import open_landmarker
from emo_lightning.face.texture import REGIONS, read_texture

FOREHEAD_L, SLOPE_X, SLOPE_Y = 0, 21, 22


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    backend, image = open_landmarker(), data.astronaut()
    points = backend.detect(image)[0].points
    backend.close()
    box = crop_box(points)
    return crop_image(image, box, 256), to_crop(points, box)


def test_numbers_fit_the_layout_and_say_skin_and_lips(face) -> None:
    texture = read_texture(*face)
    assert texture.shape == (BUILTIN.width("tex"),) and texture.dtype == np.float32
    tone = dict(zip(REGIONS, texture[:21].reshape(7, 3), strict=True))
    assert tone["lips"][1] > tone["forehead"][1] > 0  # lips are redder than skin


def test_darker_brows_change_the_brows_alone(face) -> None:
    image, points = face
    painted = image.copy()
    for x, y in ((points[list(REGIONS["brows"]), :2] + 1) * 128).astype(int):
        painted[y - 3 : y + 4, x - 3 : x + 4] = 20
    change = (read_texture(painted, points) - read_texture(image, points))[:21].reshape(7, 3)[:, 0]
    brows = list(REGIONS).index("brows")
    assert change[brows] < -0.3 and np.abs(np.delete(change, brows)).max() < 0.08


def test_light_is_read_by_its_direction(face) -> None:
    image, points = face
    ramp = np.linspace(0.5, 1.0, 256)
    right, down = ((image * r).astype(np.uint8) for r in (ramp[None, :, None], ramp[:, None, None]))
    plain = read_texture(image, points)
    assert read_texture(right, points)[SLOPE_X] > plain[SLOPE_X] + 0.05
    assert read_texture(down, points)[SLOPE_Y] > plain[SLOPE_Y] + 0.05
    assert read_texture((image * 0.7).astype(np.uint8), points)[FOREHEAD_L] < plain[FOREHEAD_L]


def test_size_of_the_crop_hardly_matters(face) -> None:
    image, points = face
    half = image.reshape(128, 2, 128, 2, 3).mean((1, 3)).astype(np.uint8)
    assert np.abs(read_texture(half, points) - read_texture(image, points)).max() < 0.04
