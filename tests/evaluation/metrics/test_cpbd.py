"""CPBD against values that the ``cpbd`` package 1.0.7 gave for these pictures (it needs a SciPy too
old to install here)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut, camera

from evaluation.metrics.cpbd import cpbd, edge_widths, grey


def luma() -> np.ndarray:
    return grey(torch.from_numpy(astronaut()).permute(2, 0, 1)[None])[0]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (lambda: luma()[:256, :256], 0.3510601320820299),
        (lambda: camera()[100:356, 100:356], 0.593586185630589),
        (
            lambda: np.random.default_rng(0).integers(0, 256, (130, 200)).astype(np.uint8),
            0.9055829228243022,
        ),
    ],
    ids=["astronaut", "camera", "noise"],
)
def test_the_share_is_the_packages(picture, expected: float) -> None:
    assert cpbd(picture()) == pytest.approx(expected, abs=1e-12)


def test_blur_lowers_it_step_by_step() -> None:
    values = [
        cpbd(cv2.GaussianBlur(luma()[:256, :256], (0, 0), s) if s else luma()[:256, :256])
        for s in (0, 0.8, 1.2, 2, 4)
    ]
    assert values == sorted(values, reverse=True) and values[0] > 10 * values[-1]


def test_the_width_of_a_ramp_is_its_length() -> None:
    image = np.tile(np.interp(np.arange(64), [25, 33], [20.0, 200.0]), (64, 1))
    image += 0.01 * np.sin(np.arange(64))[:, None]
    found = edge_widths(image)
    assert set(found[found > 0].tolist()) <= {8, 9, 10} and found.any()
    assert not edge_widths(image.T.copy()).any(), "only vertical edges are measured"


def test_a_flat_picture_has_no_score_and_a_small_one_is_refused() -> None:
    assert np.isnan(cpbd(np.full((64, 64), 7, np.uint8)))
    with pytest.raises(ValueError, match="at least 64 x 64"):
        cpbd(np.zeros((63, 64)))
