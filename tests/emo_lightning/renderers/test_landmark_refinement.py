"""The face's outline is pulled off the background onto the person, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels
from emo_lightning.renderers.mesh.geometry.landmark_refinement import pull_onto_person

SIZE = 256
POSE = Pose(np.eye(3), 0.5, np.array([0.0, -0.1, 0.0]))


@pytest.fixture(scope="module")
def rest() -> np.ndarray:
    return BuiltinFaceModel.load().mean.astype(np.float64)


def test_vertices_on_the_background_come_onto_the_person(rest: np.ndarray) -> None:
    places = pixels(POSE.apply(rest), SIZE)
    edge = places[:, 0].max() - 5.0
    alpha = np.zeros((SIZE, SIZE), np.float32)
    alpha[:, : int(edge)] = 1.0
    moved = pixels(POSE.apply(pull_onto_person(rest, POSE, alpha)), SIZE)
    outside = places[:, 0] > edge
    assert outside.any() and (moved[:, 0] <= edge).all()
    inner = np.setdiff1d(np.arange(topology.VERTICES), topology.OVAL)
    deep = inner[places[inner, 0] < edge - 10.0]
    np.testing.assert_allclose(moved[deep], places[deep], atol=1e-6)


def test_a_matte_without_a_face_moves_nothing(rest: np.ndarray) -> None:
    np.testing.assert_allclose(
        pull_onto_person(rest, POSE, np.zeros((SIZE, SIZE), np.float32)), rest, atol=1e-9
    )
