"""The square around a head."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.face.crop import CropBox, crop_box, crop_image, from_crop, to_crop


def _face(centre: tuple[float, float], size: float, rng: np.random.Generator) -> np.ndarray:
    points = rng.uniform(-0.5, 0.5, (478, 3)) * [0.8, 1.0, 0.5] * size
    points[:4, :2] = np.array([[-0.4, 0], [0.4, 0], [0, -0.5], [0, 0.5]]) * size
    return points + np.array([*centre, 0.0])


def test_crop_units_and_pixels_are_inverse() -> None:
    box, points = CropBox(120.0, 90.0, 64.0), np.random.default_rng(0).uniform(0, 200, (10, 478, 3))
    np.testing.assert_allclose(from_crop(to_crop(points, box), box), points, atol=1e-3)
    np.testing.assert_allclose(to_crop(np.array([[184.0, 26.0]]), box), [[1.0, -1.0]])


def test_box_holds_the_head_and_does_not_follow_jitter() -> None:
    rng = np.random.default_rng(1)
    face = _face((200, 150), 100, rng)
    box = crop_box(face)
    assert box.half == pytest.approx(95.0) and box.cx == pytest.approx(200.0) and box.cy < 150.0
    clip = face + rng.normal(0, 0.5, (50, 1, 3))
    fixed = crop_box(clip)
    assert (
        abs(fixed.cx - box.cx) < 0.5
        and abs(fixed.cy - box.cy) < 0.5
        and abs(fixed.half - box.half) < 2.0
    )


def test_box_grows_with_a_head_that_travels() -> None:
    face = _face((200, 150), 100, np.random.default_rng(2))
    clip = face + np.linspace([-100, 0, 0], [100, 0, 0], 50)[:, None]
    box = crop_box(clip)
    assert (np.abs(to_crop(clip, box)[..., :2]) < 1.0).all() and box.half > 150


def test_crop_keeps_continuous_pixel_positions_at_any_scale() -> None:
    """A spot stays where to_crop says, whether the square is enlarged, kept or shrunk far."""
    image = np.zeros((600, 600, 3), np.uint8)
    image[280:320, 380:420] = 255
    for size in (24, 64, 200, 256, 900):
        box = CropBox(330.0, 270.0, 200.0)
        out = crop_image(image, box, size)[..., 0].astype(float)
        assert out.shape == (size, size)
        x, y = (
            (np.arange(size) + 0.5) @ out / out.sum()
            for out in (out.T @ np.eye(size), out @ np.eye(size))
        )
        centre = np.array([x.sum(), y.sum()]) / size * 2 - 1
        np.testing.assert_allclose(centre, to_crop(np.array([400.0, 300.0]), box), atol=0.02)


def test_beyond_the_image_its_colours_go_on_and_fine_patterns_do_not_alias() -> None:
    image = np.full((50, 50, 3), 7, np.uint8)
    assert (crop_image(image, CropBox(0.0, 0.0, 80.0), 64) == 7).all()
    checks = np.indices((512, 512)).sum(0) % 2 * 255
    out = crop_image(
        np.repeat(checks[..., None], 3, 2).astype(np.uint8), CropBox(256.0, 256.0, 250.0), 96
    )
    assert abs(out.astype(float) - 127.5).max() < 12


def test_what_lies_beyond_the_image_has_no_streaks():
    image = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    inner = crop_image(image, CropBox(30, 30, 30), 60)
    assert np.array_equal(inner, image)
    wide = crop_image(image, CropBox(30, 42, 30), 60).astype(float)
    assert np.abs(wide[:46] - image[12:58]).mean() < 1.0, "the image itself is kept"
    below = wide[-8:]
    across = np.abs(np.diff(below, axis=1)).mean()
    assert across < 0.25 * np.abs(np.diff(image[-8:].astype(float), axis=1)).mean()
