"""Level response: order, evenness, range and share at the middle, on curves whose answers are
known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from evaluation.metrics.level_response import level_response

LEVELS = list(range(1, 16))


def test_an_even_response_is_a_straight_line() -> None:
    found = level_response(LEVELS, [0.1 * level for level in LEVELS])
    assert (found.rho, found.r2, found.range, found.half) == pytest.approx((1.0, 1.0, 1.4, 0.5))


def test_a_falling_response_has_a_negative_range_and_the_same_share() -> None:
    found = level_response(LEVELS[::-1], [0.1 * level for level in LEVELS])
    assert (found.rho, found.range, found.half) == pytest.approx((-1.0, -1.4, 0.5))


def test_a_saturating_response_reaches_most_by_the_middle() -> None:
    found = level_response(LEVELS, [min(level, 8) for level in LEVELS])
    assert found.half == pytest.approx(1.0) and found.r2 < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_order_and_evenness_agree_with_scipy_with_ties(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 6, 15).astype(float)
    found = level_response(LEVELS, values)
    assert found.rho == pytest.approx(stats.spearmanr(LEVELS, values).statistic, abs=1e-12)
    assert found.r2 == pytest.approx(stats.pearsonr(LEVELS, values).statistic ** 2, abs=1e-12)


def test_clips_of_one_level_count_once() -> None:
    found = level_response([1, 1, 8, 15], [0.0, 0.2, 0.5, 0.9])
    assert found == level_response([1, 8, 15], [0.1, 0.5, 0.9])


def test_the_middle_is_read_between_measured_levels() -> None:
    assert level_response([3, 6, 10, 13], [0.0, 0.2, 0.6, 1.0]).half == pytest.approx(0.4)
    assert math.isnan(level_response([1, 2, 3], [0.0, 0.1, 0.2]).half)


def test_a_face_that_never_moves_has_no_order() -> None:
    found = level_response(LEVELS, [0.4] * 15)
    assert math.isnan(found.rho) and math.isnan(found.half) and found.range == 0.0


@pytest.mark.parametrize(
    ("levels", "values"),
    [([1, 1, 2], [0.0, 1.0, 2.0]), ([1, 2, 3], [0.0, float("nan"), 1.0]), ([1, 2, 3], [0.0, 1.0])],
)
def test_too_little_or_no_number_is_refused(levels: list[float], values: list[float]) -> None:
    with pytest.raises(ValueError):
        level_response(levels, values)
