"""The shipped face model: its units do what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.core.errors import MismatchError
from emo_lightning.face import regions
from emo_lightning.face.builtin import ASSET, BuiltinFaceModel
from emo_lightning.face.coefficients import BFM, BUILTIN, EXP_NAMES, Coefficients

MODEL = BuiltinFaceModel.load()
UNIT = {name: MODEL.exp_basis[k] for k, name in enumerate(EXP_NAMES)}


def _gap(field: np.ndarray) -> float:
    return float((MODEL.mean + field)[14, 1] - (MODEL.mean + field)[13, 1])


def test_unit_origin_and_orientation() -> None:
    mean = MODEL.mean
    assert np.linalg.norm(mean[33] - mean[263]) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(mean[168], 0.0, atol=1e-6)
    assert (
        mean[263, 0] > 0 > mean[33, 0]
        and mean[152, 1] > 0 > mean[10, 1]
        and mean[4, 2] < mean[234, 2]
    )
    assert (
        MODEL.triangles.shape == (852, 3)
        and MODEL.exp_basis.shape == (28, 468, 3)
        and MODEL.id_basis.shape == (40, 468, 3)
    )
    assert ASSET.stat().st_size < 1_000_000 and ASSET.with_name("NOTICE").read_text().count(
        "USC Institute"
    )


def test_holes_at_eyes_and_mouth_are_open() -> None:
    for rows in (regions.LIP_INNER, regions.EYE_LEFT, regions.EYE_RIGHT):
        ring = set(np.concatenate(rows).tolist())
        assert not any(set(t) <= ring for t in MODEL.triangles.tolist())


def test_directions_are_symmetric() -> None:
    mirror = _mirror()
    for name, field in UNIT.items():
        partner = (
            {"L": f"{name[:-1]}R", "R": f"{name[:-1]}L"}.get(name[-1], name)
            if "_" in name
            else name
        )
        np.testing.assert_allclose(
            field[mirror] * [-1, 1, 1], UNIT[partner], atol=2e-5, err_msg=name
        )
    for name in ("AU1_L", "AU2_L", "AU12_L", "AU14_L", "AU45_L"):
        weight = np.linalg.norm(UNIT[name], axis=1)
        assert (weight * MODEL.mean[:, 0]).sum() / weight.sum() > 0.1, (
            name
        )  # the subject's left is the image's right


def test_units_move_what_they_should() -> None:
    inner, outer, corner, chin = 336, 300, 291, 152
    assert (
        UNIT["AU1_L"][inner, 1] < -0.05
        and UNIT["AU2_L"][outer, 1] < -0.05
        and UNIT["AU4"][inner, 1] > 0.04
    )
    assert abs(UNIT["AU1_L"][inner, 1]) > abs(UNIT["AU1_L"][outer, 1]) and abs(
        UNIT["AU2_L"][outer, 1]
    ) > abs(UNIT["AU2_L"][inner, 1])
    assert (
        UNIT["AU5"][386, 1] < -0.02 and UNIT["AU7"][374, 1] < -0.02 and UNIT["AU6"][280, 1] < -0.02
    )
    assert UNIT["AU12_L"][corner, 0] > 0.05 and UNIT["AU12_L"][corner, 1] < -0.05
    assert UNIT["AU15"][corner, 1] > 0.05 and UNIT["AU20"][corner, 0] > 0.05
    assert UNIT["pucker"][corner, 0] < -0.03 and UNIT["AU17"][200, 1] < -0.05
    assert (
        UNIT["AU26"][chin, 1] > 0.1 and UNIT["jaw"][chin, 1] > 0.1 and UNIT["AU9"][203, 1] < -0.05
    )


def test_lips_part_only_where_the_unit_parts_them() -> None:
    assert abs(_gap(np.zeros((468, 3)))) < 1e-4
    assert 0.2 < _gap(UNIT["AU26"]) < 0.35 and 0.05 < _gap(UNIT["AU25"]) < 0.12
    for name in (
        "AU12_L",
        "AU14_L",
        "AU15",
        "AU17",
        "AU20",
        "AU23",
        "AU45_L",
        "jaw",
        "pucker",
        "press",
        "tuck",
    ):
        upper, lower = (row[1:-1] for row in regions.LIP_INNER)
        assert np.abs(UNIT[name][upper] - UNIT[name][lower]).max() < 4e-3, name
    for name in ("AU16", "AU10", "funnel", "AU26", "AU25"):
        assert (np.array([_gap(UNIT[name] * x) for x in (0.25, 0.5, 1.0)]) > 0.01).all(), name


def test_a_blink_closes_the_lids() -> None:
    closed = MODEL.mean + UNIT["AU45_L"] + UNIT["AU45_R"]
    for upper, lower in (regions.EYE_LEFT, regions.EYE_RIGHT):
        assert np.linalg.norm(closed[upper] - closed[lower], axis=1).max() < 1e-4
        assert np.linalg.norm(MODEL.mean[upper] - MODEL.mean[lower], axis=1).max() > 0.08


def test_a_unit_leaves_the_rest_of_the_face_exactly_still() -> None:
    mouth, brow = 61, 105
    for name in ("AU1_L", "AU2_R", "AU4", "AU5", "AU7", "AU45_L"):
        assert not UNIT[name][[mouth, 0, 17, 152]].any(), name
    for name in (
        "AU12_L",
        "AU15",
        "AU17",
        "AU20",
        "AU25",
        "AU26",
        "jaw",
        "pucker",
        "funnel",
        "press",
        "tuck",
    ):
        assert not UNIT[name][[brow, 334, 10, 168]].any(), name


def test_identity_directions_are_orthogonal_and_keep_the_pose() -> None:
    flat = MODEL.id_basis.reshape(40, -1).astype(np.float64)
    size = np.linalg.norm(flat, axis=1)
    cosine = flat @ flat.T / size[:, None] / size
    assert np.abs(cosine - np.eye(40)).max() < 1e-3
    people = MODEL.mean + np.tensordot(
        np.random.default_rng(0).normal(size=(200, 40)), MODEL.id_basis, 1
    )
    eyes = np.linalg.norm(people[:, 33] - people[:, 263], axis=1)
    assert 0.8 < eyes.min() and eyes.max() < 1.2 and 0.01 < eyes.std() < 0.06
    aperture = people[:, 145, 1] - people[:, 159, 1]
    np.testing.assert_allclose(people[:, 13], people[:, 14], atol=1e-4)
    assert (aperture > 0.02).all() and (people[:, 17, 1] > people[:, 0, 1] + 0.1).all()


def test_projection_follows_scale_and_shift_and_refuses_another_layout() -> None:
    values = {block: np.zeros((2, width)) for block, width in BUILTIN.widths}
    values["trans"] = np.array([[0.0, 0.0, 0.0], [0.1, -0.2, np.log(0.5)]])
    still, moved = MODEL.project(Coefficients(BUILTIN, values))
    np.testing.assert_allclose(moved, still * 0.5 + [0.1, -0.2, 0.0], atol=1e-6)
    with pytest.raises(MismatchError):
        MODEL.vertices(
            Coefficients(BFM, {block: np.zeros((1, width)) for block, width in BFM.widths})
        )


def _mirror() -> np.ndarray:
    """Mirror image of each vertex by place; lips share places, so their rows are paired by hand."""
    distance = np.linalg.norm((MODEL.mean * [-1, 1, 1])[:, None] - MODEL.mean[None], axis=2)
    out = distance.argmin(1)
    for row in regions.LIP_INNER:
        out[row] = row[::-1]
    return out
