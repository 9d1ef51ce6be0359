"""Coefficients from landmarks: what goes in comes out, and a face at rest stays at rest."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from skimage import data

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import AU_NAMES, BUILTIN, EXP_NAMES, Coefficients, read_aus
from emo_lightning.face.crop import crop_box, to_crop
from emo_lightning.face.landmarks import open_landmarker, to_68

MODEL = BuiltinFaceModel.load()
# A fit may explain a face by another mix of units that look alike; these are told apart best.
CLEAR = [
    EXP_NAMES.index(n)
    for n in (
        "AU1_L",
        "AU2_R",
        "AU4",
        "AU5",
        "AU12_L",
        "AU12_R",
        "AU15",
        "AU26",
        "AU45_L",
        "AU45_R",
    )
]


def _clip(
    rng: np.random.Generator, frames: int, identity: float = 0.7, active: int = 3
) -> Coefficients:
    exp = np.zeros((frames, len(EXP_NAMES)))
    for row in exp[frames // 3 :]:
        row[rng.choice(len(EXP_NAMES), active, replace=False)] = rng.uniform(0.2, 0.9, active)
    return Coefficients(
        BUILTIN,
        {
            "id": np.repeat(rng.normal(size=(1, 40)) * identity, frames, 0),
            "exp": exp,
            "tex": np.zeros((frames, 24)),
            "angle": rng.uniform(-0.3, 0.3, (frames, 3)),
            "trans": np.column_stack(
                [rng.uniform(-0.1, 0.1, (frames, 2)), np.log(rng.uniform(0.6, 0.8, frames))]
            ),
        },
    )


def test_a_clip_made_by_the_model_is_found_again() -> None:
    truth = _clip(np.random.default_rng(0), 60)
    points = MODEL.project(truth)
    found = MODEL.fit(points)
    assert found.residual.max() < 0.012 and found.residual.mean() < 0.006
    assert np.abs(found.coefficients["angle"] - truth["angle"]).mean() < np.deg2rad(0.8)
    assert np.abs(found.coefficients["trans"] - truth["trans"]).max() < 0.02
    assert np.abs(found.coefficients["exp"] - truth["exp"])[:, CLEAR].mean() < 0.04
    assert np.abs(found.coefficients["exp"] - truth["exp"]).mean() < 0.05
    assert np.ptp(found.coefficients["id"], axis=0).max() == 0
    assert np.corrcoef(found.coefficients["id"][0], truth["id"][0])[0, 1] > 0.85


def test_with_a_known_identity_expression_is_found_closely() -> None:
    truth = _clip(np.random.default_rng(1), 30)
    found = MODEL.fit(MODEL.project(truth), truth["id"][0]).coefficients
    np.testing.assert_allclose(found["id"], truth["id"], atol=1e-6)
    assert np.abs(found["exp"] - truth["exp"]).mean() < 0.04


def test_sixty_eight_points_of_the_plane_are_enough() -> None:
    truth = _clip(np.random.default_rng(2), 40, identity=0.4)
    points = to_68(MODEL.project(truth))
    found = MODEL.fit(points[..., :2])
    assert found.residual.mean() < 0.01
    assert np.abs(found.coefficients["angle"] - truth["angle"]).mean() < np.deg2rad(3)
    assert np.abs(found.coefficients["exp"] - truth["exp"])[:, CLEAR].mean() < 0.08
    ignoring_depth = MODEL.fit(points)
    np.testing.assert_array_equal(found.coefficients["exp"], ignoring_depth.coefficients["exp"])


@pytest.mark.parametrize(
    "unit", ["AU1", "AU2", "AU4", "AU5", "AU9", "AU12", "AU15", "AU20", "AU26", "AU45"]
)
def test_each_unit_is_read_from_one_picture(unit: str) -> None:
    values = {block: np.zeros((1, width)) for block, width in BUILTIN.widths}
    values["trans"][:, 2] = np.log(0.7)
    values["exp"][0, [i for i, n in enumerate(EXP_NAMES) if n.split("_")[0] == unit]] = 0.8
    read = read_aus(MODEL.fit(MODEL.project(Coefficients(BUILTIN, values))).coefficients["exp"])[0]
    assert read[AU_NAMES.index(unit)] > 0.4 and read.argmax() == AU_NAMES.index(unit)


def test_sides_are_kept_apart() -> None:
    values = {block: np.zeros((1, width)) for block, width in BUILTIN.widths}
    values["exp"][0, EXP_NAMES.index("AU12_L")] = 0.8
    exp = MODEL.fit(MODEL.project(Coefficients(BUILTIN, values))).coefficients["exp"][0]
    assert exp[EXP_NAMES.index("AU12_L")] > 0.4 and exp[EXP_NAMES.index("AU12_R")] < 0.1


def test_a_face_at_rest_shows_no_units() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        truth = _clip(rng, 3).replace(exp=np.zeros(28))
        found = MODEL.fit(MODEL.project(truth)[:1]).coefficients
        assert read_aus(found["exp"]).mean() < 0.06


def test_noise_of_the_landmarker_stays_small_and_smoothing_halves_it() -> None:
    rng = np.random.default_rng(4)
    still = np.repeat(MODEL.project(_clip(rng, 1)), 80, 0)
    noisy = still + rng.normal(0, 0.003 * 0.7, still.shape)
    rough, smooth = (MODEL.fit(noisy, smooth=s).coefficients for s in (0.0, 1.0))
    assert rough["exp"].std(0).mean() < 0.02 and rough["angle"].std(0).max() < np.deg2rad(0.5)
    assert smooth["exp"].std(0).mean() < 0.65 * rough["exp"].std(0).mean()


def test_bounds_hold_and_bad_input_is_refused() -> None:
    points = MODEL.project(_clip(np.random.default_rng(5), 4))
    wild = points + np.random.default_rng(6).normal(0, 0.1, points.shape)
    exp = MODEL.fit(wild).coefficients["exp"]
    assert exp.min() >= 0 and exp.max() <= 1.2001
    for bad in (points[:, :100], points[0], points[:0], np.full_like(points, np.nan)):
        with pytest.raises(ValueError):
            MODEL.fit(bad)


def test_a_long_clip_is_fast() -> None:
    points = np.repeat(MODEL.project(_clip(np.random.default_rng(7), 50)), 10, 0)
    MODEL.fit(points[:5])
    start = time.process_time()
    MODEL.fit(points)
    assert (time.process_time() - start) / len(points) < 0.004


def test_a_real_smile_is_a_smile_not_an_identity() -> None:
    backend = open_landmarker()
    (face,) = backend.detect(data.astronaut())
    backend.close()
    fit = MODEL.fit(to_crop(face.points, crop_box(face.points))[None])
    read = dict(zip(EXP_NAMES, fit.coefficients["exp"][0], strict=True))
    assert fit.residual[0] < 0.02
    assert read["AU12_L"] > 0.4 and read["AU12_R"] > 0.4 and read["AU15"] < 0.2


def test_real_portraits(shared_data) -> None:
    backend, smiles = open_landmarker(), {}
    for path in sorted((shared_data / "portraits").iterdir()):
        (face, *_) = backend.detect(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
        fit = MODEL.fit(to_crop(face.points, crop_box(face.points))[None])
        assert fit.residual[0] < 0.025, path.name
        smiles[path.stem] = float(fit.coefficients["exp"][0, EXP_NAMES.index("AU12_L")])
    backend.close()
    assert smiles["happy1"] > 0.6 and smiles["people_0"] < 0.25 and smiles["cremad_portrait"] < 0.4
