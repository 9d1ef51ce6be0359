"""The table of lips: signed lags and closures by phone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from benchmarks import _lips
from benchmarks.lips import main, share_cell
from emo_lightning.core.errors import UserError


def lips(seed: int, frames: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).random((frames, 2))


def test_lag_is_positive_when_ours_comes_late() -> None:
    theirs = lips(0)
    late = _lips.following(np.roll(theirs, 3, axis=0) * 0.5, theirs)
    assert late.lag == 3 and late.best == pytest.approx([1.0, 1.0]) and abs(late.zero).max() < 0.5
    assert late.amplitude == pytest.approx([0.5, 0.5], abs=0.01)
    assert abs(_lips.following(lips(1), theirs).best).max() < 0.4


def test_closures_are_counted_by_phone() -> None:
    opening = np.full(50, 0.1)
    opening[10:12] = 0.005
    phones = [("", 0.0, 0.3), ("m", 0.4, 0.5), ("a", 0.5, 1.0), ("ˈb", 1.0, 1.1), ("t", 1.1, 2.0)]
    assert _lips.closures(opening, 0.0, phones) == [True, False]
    assert _lips.closures(opening + 0.05, 0.05, phones) == [True, False], "rest is the face's own"
    assert (
        share_cell([[True, False], []]).startswith("50%") and share_cell([[]]) == "phones unknown"
    )


def test_another_weight_needs_a_name() -> None:
    with pytest.raises(UserError, match="compare"):
        main(["--compare", "weights"])
