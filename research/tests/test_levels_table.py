"""The prototypes as distances on the built-in face, the table of levels on heads whose answer is known, and uneven actors."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from benchmarks._level_videos import SIGNATURE_FEATURES, corner_rise, units
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, EXP_NAMES, Coefficients
from emo_lightning.models.motion.motion_model import EXP_CEILING
from emo_lightning.motion.emotions import EMOTIONS, SIGNATURE_UNITS, prototype_exp
from evaluation.judges.geometry import FEATURES, measure
from evaluation.metrics.level_response import level_response
from research.levels_corpus import Held, direction, level_error, truth, uneven_response

LEVELS = np.arange(1, 16)


def faces(emotion: str) -> np.ndarray:
    """Points ``(15, 468, 3)`` of the mean face at each level."""
    exp = np.outer(LEVELS / 15.0, prototype_exp(emotion, EXP_NAMES))
    values = {
        block: np.zeros((len(LEVELS), BUILTIN.width(block)), np.float32) for block in BUILTIN.blocks
    }
    return BuiltinFaceModel.load().vertices(
        Coefficients(BUILTIN, {**values, "exp": exp.astype(np.float32)})
    )


@pytest.mark.parametrize("emotion", EMOTIONS[1:])
def test_signature_distances_show_each_level(emotion: str) -> None:
    points = faces(emotion)
    shown = dict(zip(FEATURES, measure(points).T, strict=True))
    shown["corner_left"] = np.array([corner_rise(face[None])["corner_left"] for face in points])
    whole = sum(sign * shown[name] for name, sign in SIGNATURE_FEATURES[emotion].items())
    response = level_response(LEVELS.tolist(), whole.tolist())
    assert (
        response.rho == pytest.approx(1.0) and response.range > 0.03 and 0.4 < response.half < 0.6
    )
    assert set(SIGNATURE_UNITS[emotion]) <= {
        u for u in (*EXP_NAMES, *(n.removesuffix("_L").removesuffix("_R") for n in EXP_NAMES))
    }


def test_prototypes_are_possible_and_differ() -> None:
    table = np.stack([prototype_exp(emotion, EXP_NAMES) for emotion in EMOTIONS])
    assert table.min() >= 0.0 and table.max() <= EXP_CEILING
    apart = [np.abs(a - b).max() for a, b in combinations(table, 2)]
    assert min(apart) >= 0.5


def test_contempt_lifts_one_corner_alone() -> None:
    low, high = (corner_rise(faces("contempt")[i][None]) for i in (0, 14))
    left, right = (high[side] - low[side] for side in ("corner_left", "corner_right"))
    assert left > 0.03 and abs(right) < 0.2 * left


def test_units_are_read_on_the_identity_given() -> None:
    """A clip that is sad throughout: an identity of its own would take up the raised brows."""
    points = np.repeat(faces("sad")[-1:], 6, axis=0)
    points = np.concatenate([points, points[:, :10]], axis=1) * 100.0 + 256.0
    found = units(points.astype(np.float32), np.zeros(BUILTIN.width("id"), np.float32)).mean(axis=0)
    assert found[EXP_NAMES.index("AU1_L")] > 0.5 and found[EXP_NAMES.index("AU15")] > 0.5


def test_levels_are_read_off_the_line_that_the_corpus_draws() -> None:
    rng, clips = np.random.default_rng(0), []
    for emotion in (0, 1, 5):
        for level in (0,) * 4 if emotion == 0 else range(1, 16):
            shown = 0.1 + 0.06 * level * direction(emotion) + rng.normal(0.0, 0.002, len(EXP_NAMES))
            clips.append(
                Held(
                    "s0",
                    emotion,
                    level,
                    np.zeros((0, 80), np.float32),
                    shown,
                    np.zeros((1, BUILTIN.size), np.float32),
                )
            )
    lines = truth(clips)
    assert sorted(lines) == [1, 5] and all(
        line.slope == pytest.approx(0.06, rel=0.05) for line in lines.values()
    )
    shown = lines[1].level(0.06 * (LEVELS + 2.0))
    assert level_error(shown[None]) == pytest.approx(2.0, abs=0.2)


def test_evenness_evens_out_actors_who_are_not() -> None:
    halves = [
        uneven_response((0.45, 0.85, 0.97), weight, refine=True, steps=150).half
        for weight in (0.0, 2.0)
    ]
    assert halves[0] > 0.75 and abs(halves[1] - 0.5) < abs(halves[0] - 0.5) - 0.08
