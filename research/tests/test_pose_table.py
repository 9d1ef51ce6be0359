"""The numbers by which head motion is compared."""

from __future__ import annotations

import numpy as np
import pytest

from research._motion import bands, describe, interval, spectrum_gap
from research.pose import faded


def walk(seed: int, frames: int = 400) -> np.ndarray:
    """A wandering head, radians."""
    return 0.004 * np.random.default_rng(seed).standard_normal((frames, 3)).cumsum(0)


def test_twice_the_motion_is_six_decibels_and_twice_the_spread() -> None:
    heads = [walk(seed) for seed in range(4)]
    double = [2.0 * head for head in heads]
    assert spectrum_gap(bands(double), bands(heads)) == pytest.approx(20 * np.log10(2.0), abs=1e-6)
    assert describe(double[0], None)[:3] == pytest.approx(2.0 * describe(heads[0], None)[:3])
    assert (
        np.isnan(describe(heads[0], None)[3:]).all()
        and np.isnan(describe(heads[0], np.zeros(400 * 640, np.float32))[3:]).all()
    )


def test_faded_windows_lose_slow_movement() -> None:
    assert describe(faded(walk(0)), None)[0] < 0.5 * describe(walk(0), None)[0]


def test_speed_that_follows_the_voice_is_seen() -> None:
    rng, loud = np.random.default_rng(0), (np.arange(400) // 25) % 2
    wave = (0.1 * np.repeat(loud, 640) * rng.standard_normal(400 * 640)).astype(np.float32)
    follows = walk(1).copy()
    follows[:, 0] = np.cumsum(
        np.where(loud, 0.01, 0.001) * np.where(np.arange(400) % 10 < 5, 1, -1)
    )
    assert describe(follows, wave)[4] > 0.3 > abs(describe(walk(2), wave)[4])


def test_intervals_leave_out_what_is_unknown() -> None:
    assert interval(np.array([np.nan, np.nan])) == "n/a"
    assert interval(np.array([1.0, np.nan])) == "1.00"
    assert interval(np.array([1.0, 2.0, 3.0])).startswith("2.00 ± 1.13")
