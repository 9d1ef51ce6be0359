"""The geometric features: what a moved, turned and enlarged face does to them."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.judges.geometry import FEATURES, measure

NAMES = list(FEATURES)


def face() -> np.ndarray:
    """A random but face-like set of points: eye corners level, chin below, forehead above."""
    points = np.random.default_rng(0).normal(0, 30, (1, 478, 2))
    for index, place in {
        33: (-50, 0),
        263: (50, 0),
        10: (0, -90),
        152: (0, 110),
        61: (-30, 60),
        291: (30, 60),
        13: (0, 58),
        14: (0, 66),
    }.items():
        points[0, index] = place
    return points


def test_features_are_in_interocular_distances_along_the_faces_axis() -> None:
    values = dict(zip(NAMES, measure(face())[0], strict=True))
    assert values["corner_width"] == pytest.approx(0.6)
    assert values["lip_open"] == pytest.approx(0.08)
    assert values["corner_height"] == pytest.approx(0.02)


def test_a_shift_a_turn_in_the_picture_and_a_zoom_change_nothing() -> None:
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(
        measure(2.5 * face() @ turn.T + [120, -40]), measure(face()), atol=1e-9
    )


def test_raised_mouth_corners_raise_their_height_alone() -> None:
    smiling = face()
    smiling[0, [61, 291], 1] -= 10
    change = measure(smiling)[0] - measure(face())[0]
    assert change[NAMES.index("corner_height")] == pytest.approx(0.1)
    assert np.abs(np.delete(change, NAMES.index("corner_height"))).max() == pytest.approx(
        0.0, abs=1e-12
    )
