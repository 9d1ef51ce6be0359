"""Frames kept small give the crop that the whole frames would, or say that they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import astronaut

from datamodules.preprocessing import cropping
from datamodules.preprocessing.cropping import FrameBuffer
from emo_lightning.face.crop import CropBox, crop_image

BOX = CropBox(300.0, 260.0, 190.0)
FACE = np.array([[200.0, 160.0, 0.0], [400.0, 360.0, 0.0]])
"""Landmarks 200 pixels wide, whose crop is 380."""


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(cropping, "HOLD_BYTES", 0)


def test_whole_frames_are_kept_where_they_fit():
    frames = FrameBuffer((512, 512), 2, 96)
    frames.add(astronaut(), None)
    frames.add(astronaut(), FACE)
    for crop in frames.crops(BOX):
        np.testing.assert_array_equal(crop, crop_image(astronaut(), BOX, 96))


@pytest.mark.parametrize(("memory", "error"), ((0, 100), (10**6, 10)))
def test_the_part_that_is_kept_gives_the_same_crop(monkeypatch, memory, error):
    monkeypatch.setattr(cropping, "SMALL", 0)
    monkeypatch.setattr(cropping, "HOLD_BYTES", memory)
    frames = FrameBuffer((512, 512), 3, 96)
    frames.add(astronaut(), None)
    frames.add(astronaut(), FACE)
    frames.add(astronaut(), None)
    assert max(frame.nbytes for frame in frames._kept) < astronaut().nbytes / (
        6 if memory == 0 else 3
    )
    whole = crop_image(astronaut(), BOX, 96).astype(float)
    crops = frames.crops(BOX)
    assert len(crops) == 3
    for crop in crops:
        errors = [((np.roll(crop, shift, 1) - whole)[:, 2:-2] ** 2).mean() for shift in (-1, 0, 1)]
        assert errors[1] < error and errors[1] < 0.2 * min(errors[0], errors[2])


def test_a_head_that_left_the_part_is_said_so(small_memory):
    frames = FrameBuffer((2000, 2000), 2, 96)
    frames.add(np.zeros((2000, 2000, 3), np.uint8), FACE)
    frames.add(np.zeros((2000, 2000, 3), np.uint8), None)
    assert frames.crops(CropBox(300.0, 260.0, 190.0)) is not None
    assert frames.crops(CropBox(900.0, 260.0, 190.0)) is None


def test_a_long_wait_for_a_face_keeps_little(small_memory):
    frames = FrameBuffer((512, 512), 50, 96)
    for _ in range(20):
        frames.add(astronaut(), None)
    assert len(frames._waiting) == cropping.MAX_WAIT and not frames._kept
    frames.add(astronaut(), FACE)
    assert frames.crops(BOX) is None


@pytest.mark.parametrize(("face", "side"), ((420, 598), (640, 608)))
def test_the_kept_part_is_shrunk_by_whole_factors(face, side):
    frames = FrameBuffer((4000, 4000), 2, 256)
    frames.add(
        np.zeros((4000, 4000, 3), np.uint8),
        np.array([[1500.0, 1500.0, 0.0], [1500.0 + face, 1500.0 + face, 0.0]]),
    )
    assert abs(frames._kept[0].shape[0] - side) < 8
