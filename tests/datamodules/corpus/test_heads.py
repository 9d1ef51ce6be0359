"""Painted people: exact coefficients, faces a landmarker finds, one person a seed."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.corpus.heads import HeadAppearance, paint_head, with_irises
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.landmarks import open_landmarker


@pytest.fixture(scope="module")
def portraits() -> list:
    return [
        paint_head(HeadAppearance.sample(np.random.default_rng([7, i]), float(i % 2)), 192, i)
        for i in range(6)
    ]


def test_the_points_are_the_models_own(portraits: list) -> None:
    for portrait in portraits:
        mesh = BuiltinFaceModel.load().project(portrait.coefficients)
        np.testing.assert_allclose(with_irises(mesh)[0], portrait.points, atol=1e-5)
        assert portrait.points.shape == (478, 3) and np.abs(portrait.points[:468, :2]).max() < 1.0
        assert not portrait.coefficients["exp"].any()
        assert abs(portrait.points[14, 1] - portrait.points[13, 1]) < 0.01


def test_a_landmarker_finds_the_faces_where_they_are(portraits: list) -> None:
    landmarker = open_landmarker(max_faces=1)
    errors = []
    for portrait in portraits:
        faces = landmarker.detect(portrait.image)
        if faces:
            found = faces[0].points[:468, :2] / (portrait.size / 2) - 1.0
            unit = np.linalg.norm(portrait.points[33, :2] - portrait.points[263, :2])
            errors.append(np.linalg.norm(found - portrait.points[:468, :2], axis=1).mean() / unit)
    landmarker.close()
    assert len(errors) >= 5
    assert np.median(errors) < 0.06


def test_people_differ_and_repeat(portraits: list) -> None:
    again = paint_head(HeadAppearance.sample(np.random.default_rng([7, 0]), 0.0), 192, 0)
    assert (again.image == portraits[0].image).all()
    assert np.abs(portraits[0].coefficients["id"] - portraits[1].coefficients["id"]).max() > 0.5
    assert np.abs(portraits[0].coefficients["tex"] - portraits[2].coefficients["tex"]).max() > 0.01


def test_irises_sit_between_the_corners() -> None:
    mesh = BuiltinFaceModel.load().mean[None]
    points = with_irises(mesh)
    assert points.shape == (1, 478, 3)
    np.testing.assert_allclose(points[0, 468], (mesh[0, 33] + mesh[0, 133]) / 2, atol=1e-6)
    assert points[0, 469, 0] > points[0, 468, 0] and points[0, 470, 1] < points[0, 468, 1]
