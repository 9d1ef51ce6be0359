"""The visemes' openings and widths: what the units make of them, and what a fit finds again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from datamodules.corpus.visemes import (
    LIPS,
    OPENING_BY,
    TARGETS,
    UNITS,
    VISEMES,
    WIDTH_BY,
    prior,
    reach,
)
from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.losses.lips import OPENING, WIDTH
from tools.fit_visemes import (
    NAMES,
    SPREADS,
    FitClip,
    agreement,
    fit,
    normalised,
    phones_of,
    rescaled,
)


def test_units_reach_the_fitted_lips() -> None:
    assert dict(zip(UNITS, OPENING_BY, strict=True)) == pytest.approx(
        {unit: OPENING.get(unit, 0.0) for unit in UNITS}
    )
    assert dict(zip(UNITS, WIDTH_BY, strict=True)) == pytest.approx(
        {unit: WIDTH.get(unit, 0.0) for unit in UNITS}
    )
    for name, (opening, width) in LIPS.items():
        made = TARGETS[name] @ OPENING_BY, TARGETS[name] @ WIDTH_BY
        assert made[0] == pytest.approx(opening, abs=0.002)
        assert (
            made[1] == pytest.approx(width, abs=0.002)
            or TARGETS[name][UNITS.index("pucker")] == 1.0
        )
        assert (TARGETS[name] >= 0.0).all() and (TARGETS[name] <= 1.0).all()
    assert set(UNITS) <= set(EXP_NAMES)


def test_lips_keep_what_phonetics_says() -> None:
    opening, width = ({name: lips[k] for name, lips in LIPS.items()} for k in range(2))
    assert opening["m"] == opening["rest"] == 0.0 < opening["w"]
    assert opening["a"] > opening["e"] > opening["ee"] > opening["u"]
    assert width["ee"] > width["e"] > width["o"] and width["u"] < width["schwa"]


def test_a_closed_rounded_mouth_needs_no_jaw() -> None:
    units = reach(VISEMES["u"], 0.01, -0.1)
    assert units[UNITS.index("AU26")] == 0.0 and units[UNITS.index("pucker")] > 0.8
    assert reach(VISEMES["ee"], 0.08, 0.08)[UNITS.index("AU20")] > 0.3


def test_a_fit_finds_the_table_that_moved_the_lips() -> None:
    rng = np.random.default_rng(0)
    start = np.array([prior(viseme) for viseme in VISEMES.values()])
    truth = start + rng.normal(0.0, 0.03, start.shape)
    clips = []
    for _ in range(20):
        shares = rng.dirichlet(np.full(len(NAMES), 0.1), 100)
        shares -= shares.mean(axis=0)
        clips.append(
            FitClip(shares, shares, shares @ truth + rng.normal(0.0, 0.005, (100, 2)), "train")
        )
    fitted = fit(clips, start, 1.0)
    centred = (fitted - truth) - (fitted - truth).mean(axis=0)
    assert np.abs(centred).max() < 0.01
    assert np.allclose(fit(clips, start, 1e9), start, atol=1e-4)
    assert min(agreement(clips[0], fitted)) > min(agreement(clips[0], start))
    table = rescaled(fitted, SPREADS / 0.04)
    assert not table[NAMES.index("rest")].any() and not table[NAMES.index("m")].any()


def test_speakers_have_the_same_weight_and_size() -> None:
    rng = np.random.default_rng(1)
    start = np.zeros((len(NAMES), 2))
    shares = rng.normal(0.0, 1.0, (200, len(NAMES)))
    tables = [rng.normal(0.0, 0.03, start.shape) for _ in range(2)]
    few = FitClip(shares, shares, shares @ tables[0], "train", "few clips")
    many = FitClip(shares, shares, shares @ tables[1], "train", "many clips")
    fitted = fit([few, *[many] * 9], start, 1e-6)
    np.testing.assert_allclose(fitted, (tables[0] + tables[1]) / 2, atol=1e-6)
    scaled = normalised([few, FitClip(shares, shares, 3.0 * few.lips, "train", "other")])
    np.testing.assert_allclose(scaled[0].lips, scaled[1].lips)
    np.testing.assert_allclose(scaled[0].lips.std(axis=0), SPREADS)


def test_words_become_phones_in_their_own_time() -> None:
    phones = phones_of(
        [(0.0, 0.5, "sil"), (0.5, 0.8, "bin"), (0.8, 1.2, "blue"), (1.2, 2.0, "sil")], 2.0
    )
    assert phones[0] == ("", 0.0, 0.5) and phones[-1] == ("", 1.2, 2.0)
    assert phones[1][0].endswith("b") and phones[1][1] == 0.5
    assert all(a[2] == pytest.approx(b[1]) for a, b in itertools.pairwise(phones))
