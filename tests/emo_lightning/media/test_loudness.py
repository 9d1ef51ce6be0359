"""The level of speech is that of its spoken parts, in pieces as in one, and the gain brings it to the target."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.media.loudness import MAX_GAIN_DB, TARGET_DB, SpeechLevel

RNG = np.random.default_rng(0)
SPOKEN = RNG.standard_normal(32_000).astype(np.float32) * 0.05


def measured(*pieces: np.ndarray) -> SpeechLevel:
    """A meter that has heard these."""
    meter = SpeechLevel()
    for piece in pieces:
        meter.add(piece)
    return meter


def test_noise_of_known_power():
    assert measured(SPOKEN).level() == pytest.approx(20 * np.log10(0.05), abs=0.3)


def test_pauses_do_not_count():
    pause = RNG.standard_normal(64_000).astype(np.float32) * 0.0005
    assert measured(pause, SPOKEN, pause).level() == pytest.approx(
        measured(SPOKEN).level(), abs=0.3
    )


def test_pieces_give_the_same_as_the_whole():
    assert measured(*np.array_split(SPOKEN, 77)).level() == measured(SPOKEN).level()


@pytest.mark.parametrize("factor", [0.1, 0.3, 1.0, 4.0])
def test_gain_reaches_the_target(factor):
    gain = measured(factor * SPOKEN).gain()
    assert measured(gain * factor * SPOKEN).level() == pytest.approx(TARGET_DB, abs=0.3)


def test_gain_is_bounded():
    assert measured(1e-5 * SPOKEN).gain() == pytest.approx(10 ** (MAX_GAIN_DB / 20))
    assert SpeechLevel().gain() == pytest.approx(10 ** (MAX_GAIN_DB / 20))
