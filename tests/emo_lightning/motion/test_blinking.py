"""Blinks as people's: how often, how long, when."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.motion.blinking import BLINKS_PER_MINUTE, EMOTION_RATE, BlinkProcess
from emo_lightning.motion.emotions import EMOTIONS

MINUTES = 40


def shares(emotion: str = "neutral", frames: int = 1500 * MINUTES) -> np.ndarray:
    rows = np.zeros((frames, len(EMOTIONS)))
    rows[:, EMOTIONS.index(emotion)] = 1.0
    return rows


def starts(lids: np.ndarray) -> np.ndarray:
    return np.flatnonzero((lids[1:] > 0.3) & (lids[:-1] <= 0.3))


@pytest.mark.parametrize("emotion", ["neutral", "fear", "surprised"])
def test_rate_length_and_gaps_are_human(emotion: str) -> None:
    lids = BlinkProcess(4).closures(shares(emotion))
    begun = starts(lids)
    wanted = BLINKS_PER_MINUTE * EMOTION_RATE[emotion]
    assert len(begun) / MINUTES == pytest.approx(wanted, rel=0.12)
    assert 0.1 < (lids > 0.2).sum() / 25 / len(begun) < 0.4
    gaps = np.diff(begun) / 25
    assert gaps.min() >= 0.5 and np.mean(gaps) > 1.05 * np.median(gaps), (
        "skewed: many short, a few long"
    )


def test_pieces_and_seeds() -> None:
    rows = shares(frames=3000)
    lids = BlinkProcess(4).closures(rows)
    pieces = BlinkProcess(4)
    assert np.array_equal(
        np.concatenate([pieces.closures(part) for part in np.array_split(rows, 77)]), lids
    )
    assert not np.array_equal(BlinkProcess(5).closures(rows), lids)


def test_a_higher_rate_brings_blinks_to_its_moments() -> None:
    rate = np.where(np.arange(1500 * MINUTES) % 50 < 10, 3.0, 0.5)
    begun = starts(BlinkProcess(4).closures(shares(), rate))
    assert (begun % 50 < 12).mean() > 0.45
    assert len(begun) / MINUTES == pytest.approx(BLINKS_PER_MINUTE, rel=0.12)
