"""The face's outline is drawn in from the wall, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.renderers.mesh.background import silhouette
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels

SIZE = 256
POSE = Pose(np.eye(3), 0.5, np.array([0.0, -0.1, 0.0]))


@pytest.fixture(scope="module")
def rest() -> np.ndarray:
    return BuiltinFaceModel.load().mean.astype(np.float64)


def test_vertices_on_the_wall_come_onto_the_person(rest: np.ndarray) -> None:
    places = pixels(POSE.apply(rest), SIZE)
    edge = places[:, 0].max() - 5.0
    alpha = np.zeros((SIZE, SIZE), np.float32)
    alpha[:, : int(edge)] = 1.0
    drawn = pixels(POSE.apply(silhouette.draw_in(rest, POSE, alpha)), SIZE)
    outside = places[:, 0] > edge
    assert outside.any() and (drawn[:, 0] <= edge).all()
    inner = np.setdiff1d(np.arange(topology.VERTICES), topology.OVAL)
    deep = inner[places[inner, 0] < edge - 10.0]
    np.testing.assert_allclose(drawn[deep], places[deep], atol=1e-6)


def test_a_matte_without_a_face_moves_nothing(rest: np.ndarray) -> None:
    np.testing.assert_allclose(
        silhouette.draw_in(rest, POSE, np.zeros((SIZE, SIZE), np.float32)), rest, atol=1e-9
    )
