"""Signs of the angles and the similarity solvers."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.face.pose import angles, rotation, weak_perspective, weighted_umeyama

NOSE, TOP = np.array([0.0, 0.0, -1.0]), np.array([0.0, -1.0, 0.0])


def test_signs_are_as_documented() -> None:
    assert (rotation(np.array([0.3, 0, 0])) @ NOSE)[1] > 0.2  # pitch: the nose moves down
    assert (rotation(np.array([0, 0.3, 0])) @ NOSE)[0] > 0.2  # yaw: to the image's right
    assert (rotation(np.array([0, 0, 0.3])) @ TOP)[
        0
    ] > 0.2  # roll: clockwise, the crown moves right


def test_rotations_are_proper_and_angles_invert_them() -> None:
    angle = np.random.default_rng(0).uniform(-1.2, 1.2, (200, 3))
    matrix = rotation(angle)
    np.testing.assert_allclose(
        matrix @ np.swapaxes(matrix, 1, 2), np.broadcast_to(np.eye(3), matrix.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0)
    np.testing.assert_allclose(angles(matrix), angle, atol=1e-9)


def test_umeyama_recovers_a_similarity_and_ignores_unweighted_points() -> None:
    rng = np.random.default_rng(1)
    points, turn = rng.normal(size=(30, 3)), rotation(rng.uniform(-1, 1, (5, 3)))
    shift, scale = rng.normal(size=(5, 3)), rng.uniform(0.5, 2, 5)
    target = scale[:, None, None] * points @ np.swapaxes(turn, 1, 2) + shift[:, None]
    target[:, 20:] += rng.normal(size=(5, 10, 3))
    got = weighted_umeyama(points, target, np.r_[np.ones(20), np.zeros(10)])
    for mine, true in zip(got, (scale, turn, shift), strict=True):
        np.testing.assert_allclose(mine, true, atol=1e-9)


@pytest.mark.parametrize("spread", [0.2, 0.6])
def test_weak_perspective_recovers_pose_from_the_plane_alone(spread: float) -> None:
    rng = np.random.default_rng(2)
    points, turn = rng.normal(size=(40, 3)), rotation(rng.uniform(-spread, spread, (6, 3)))
    scale, shift = rng.uniform(0.5, 2, 6), rng.normal(size=(6, 2))
    target = (scale[:, None, None] * points @ np.swapaxes(turn, 1, 2))[..., :2] + shift[:, None]
    got_scale, got_turn, got_shift = weak_perspective(points, target, np.ones(40))
    np.testing.assert_allclose(got_scale, scale, rtol=1e-6)
    np.testing.assert_allclose(got_turn, turn, atol=1e-6)
    np.testing.assert_allclose(got_shift[:, :2], shift, atol=1e-6)
