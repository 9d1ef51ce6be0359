"""Glances: human rates, repeatable, the same however the frames are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.motion.gaze import GazeProcess

MINUTES, FPS = 10, 25


@pytest.fixture(scope="module")
def minutes() -> np.ndarray:
    return np.degrees(GazeProcess(0).offsets(0, MINUTES * 60 * FPS))


def test_saccades_come_at_human_rate_and_eyes_rest_between(minutes: np.ndarray) -> None:
    moving = np.linalg.norm(np.diff(minutes, axis=0), axis=1) > 0.3
    starts = np.flatnonzero(np.diff(moving.astype(int)) == 1)
    assert 0.8 < len(starts) / (60 * MINUTES) < 2.5, "a second"
    assert moving.mean() < 0.1, "mostly fixations"
    assert np.diff(starts).min() >= 0.15 * FPS


def test_most_of_the_time_goes_to_the_listener(minutes: np.ndarray) -> None:
    away = np.linalg.norm(minutes, axis=1)
    assert 0.6 < (away < 3.0).mean() < 0.95
    assert 4.0 < away.max() < 15.0
    assert np.abs(minutes.mean(axis=0)).max() < 0.6, "no side is preferred"


def test_pieces_give_the_whole_and_a_seed_its_own_glances() -> None:
    whole, pieces = GazeProcess(3).offsets(0, 500), GazeProcess(3)
    cut = np.concatenate(
        [pieces.offsets(a, b - a) for a, b in ((0, 1), (1, 7), (7, 333), (333, 500))]
    )
    np.testing.assert_array_equal(whole, cut)
    np.testing.assert_array_equal(whole[100:120], GazeProcess(3).offsets(100, 20))
    assert np.abs(whole - GazeProcess(4).offsets(0, 500)).max() > 0.01


def test_frame_rate_and_strength() -> None:
    fast, slow = GazeProcess(0, 50).offsets(0, 200), GazeProcess(0, 25).offsets(0, 100)
    np.testing.assert_allclose(fast[::2], slow, atol=1e-12)
    assert not GazeProcess(0, strength=0.0).offsets(0, 100).any()
