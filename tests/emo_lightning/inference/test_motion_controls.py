"""Controls of the motion: strengths, single units, pose and frame rate."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import BUILTIN, EXP_NAMES, Coefficients
from emo_lightning.inference.motion_controls import (
    MotionControls,
    UnitCurve,
    interpolate,
    parse_curves,
)


def motion(frames: int, seed: int = 0) -> Coefficients:
    """Random coefficients within their range."""
    rng = np.random.default_rng(seed)
    blocks = {name: rng.uniform(0, 0.5, (frames, width)) for name, width in BUILTIN.widths}
    return Coefficients(BUILTIN, {name: v.astype(np.float32) for name, v in blocks.items()})


def applied(controls: MotionControls, chunks, source) -> Coefficients:
    """All chunks, joined."""
    rows = [chunk.joined() for chunk in controls.apply(chunks, source)]
    return Coefficients.from_joined(BUILTIN, np.concatenate(rows))


def unit(coefficients: Coefficients, name: str) -> np.ndarray:
    return coefficients["exp"][:, EXP_NAMES.index(name)]


def test_the_defaults_change_nothing():
    chunks = [motion(5), motion(3, 1)]
    for before, after in zip(chunks, MotionControls().apply(chunks, motion(1, 2)), strict=True):
        assert np.array_equal(before.joined(), after.joined())


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_head_motion_and_brows_are_scaled_about_the_portrait(strength):
    chunk, source = motion(6), motion(1, 2)
    made = applied(MotionControls(head_motion=strength, brows=strength), [chunk], source)
    for name in ("angle", "trans"):
        wanted = source[name] + strength * (chunk[name] - source[name])
        np.testing.assert_allclose(made[name], wanted, atol=1e-6)
    brow = source["exp"][0, EXP_NAMES.index("AU4")]
    wanted = np.clip(brow + strength * (unit(chunk, "AU4") - brow), 0, 1.2)
    np.testing.assert_allclose(unit(made, "AU4"), wanted, atol=1e-6)
    np.testing.assert_array_equal(unit(made, "AU26"), unit(chunk, "AU26"))


def test_a_unit_follows_its_curve_on_both_sides_across_chunks(tmp_path):
    table = tmp_path / "curves.csv"
    table.write_text("Time,AU12,jaw\n0,0,0.1\n1.0,1.0,0.1\n")
    curves = parse_curves(["AU6=0.3", str(table)])
    made = applied(MotionControls(curves=curves), [motion(20), motion(20, 1)], motion(1, 2))
    np.testing.assert_allclose(unit(made, "AU6"), 0.3)
    wanted = np.minimum(np.arange(40) / 25, 1.0)
    for side in ("AU12_L", "AU12_R"):
        np.testing.assert_allclose(unit(made, side), wanted, atol=1e-6)
    np.testing.assert_allclose(unit(made, "jaw"), 0.1)


def test_the_natural_pose_turns_the_head_to_the_camera_smoothly():
    still = motion(1)
    source = still.replace(angle=np.array([[0.1, -0.4, 0.0]], np.float32))
    chunk = Coefficients.from_joined(BUILTIN, np.repeat(source.joined(), 50, axis=0))
    made = applied(MotionControls(pose="natural"), [chunk], source)["angle"]
    np.testing.assert_allclose(made[0], source["angle"][0], atol=1e-6)
    np.testing.assert_allclose(made[-1], [0.0, -0.4 + np.radians(10), 0.0], atol=1e-6)
    assert np.abs(np.diff(made, axis=0)).max() < 0.02


@pytest.mark.parametrize("fps", [30, 50, 60])
@pytest.mark.parametrize("cuts", [[], [1], [7, 8], [3, 13, 19]])
def test_interpolation_keeps_the_course_in_time_however_it_is_cut(fps, cuts):
    course = motion(20).joined()
    course[:, 0] = np.arange(20)
    chunks = [Coefficients.from_joined(BUILTIN, part) for part in np.split(course, cuts)]
    made = np.concatenate([chunk.joined() for chunk in interpolate(chunks, fps)])
    assert len(made) == round(20 * fps / 25)
    wanted = np.minimum(np.arange(len(made)) * 25 / fps, 19)
    np.testing.assert_allclose(made[:, 0], wanted, atol=1e-5)


def test_25_frames_a_second_are_left_alone():
    chunks = [motion(3)]
    assert list(interpolate(chunks, 25)) == chunks


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MotionControls(blinks=2.5), "--blinks '2.5' is out of range"),
        (lambda: MotionControls(head_motion="nan"), "--head-motion 'nan'"),
        (lambda: MotionControls(gaze_at="moon"), "natural or camera"),
        (lambda: MotionControls(pose="bent"), "keep or natural"),
        (lambda: parse_curves(["AU12=3"]), "a number from 0 to 1.2"),
        (lambda: parse_curves(["absent.csv"]), "cannot be read"),
        (
            lambda: applied(
                MotionControls(curves=(UnitCurve("AU99", (0.0,), (1.0,)),)), [motion(1)], motion(1)
            ),
            "'AU99' is not an action unit",
        ),
    ],
)
def test_wrong_values_are_named(make, words):
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AU12\n1\n", "no column time"),
        ("time,AU12\n", "no rows"),
        ("time,AU12\n1,0.5\n1,0.6\n", "times that do not"),
        ("time,AU12\n1,0.5,3\n", "line 2 has 3 columns"),
        ("time,AU12\n1,high\n", "'high' is not a number"),
    ],
)
def test_wrong_curve_files_are_named(tmp_path, text, words):
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        parse_curves([str(path)])
