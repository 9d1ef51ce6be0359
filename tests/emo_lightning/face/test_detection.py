"""Faces are confirmed: objects are not taken for faces, and no face is lost."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from datamodules.corpus.speakers import cast
from emo_lightning.core import assets
from emo_lightning.face import detection
from emo_lightning.face.detection import FaceConfirmer, find_faces, find_upright_faces, is_upright
from emo_lightning.face.landmarks import open_landmarker
from tests.emo_lightning.face import objects


@pytest.fixture(scope="module")
def landmarker():
    backend = open_landmarker(max_faces=5)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def confirmer(landmarker) -> FaceConfirmer:
    return FaceConfirmer(landmarker)


def test_of_forty_pictures_without_a_face_at_most_one_is_accepted(landmarker, confirmer):
    pictures = objects.pictures()
    assert len(pictures) == 40
    accepted, candidates = [], 0
    for number, (name, picture) in enumerate(pictures.items()):
        scale = 1 + number % 3
        large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        candidates += len(landmarker.detect(large))
        if find_faces(large, landmarker, confirmer):
            accepted.append(name)
    assert len(accepted) <= 1, accepted
    assert candidates >= 3  # the network alone takes some for faces


def test_without_the_second_detector_objects_are_refused_too(landmarker, monkeypatch):
    monkeypatch.setattr(assets, "find", lambda name: None)
    confirmer = FaceConfirmer(landmarker)
    for picture in (objects.soft_disc(), objects.coin(), objects.of_package("coins")):
        for scale in (1, 2, 3):
            large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            assert find_faces(large, landmarker, confirmer) == []
    assert len(find_faces(data.astronaut(), landmarker, confirmer)) == 1


def test_painted_and_photographed_faces_are_kept(landmarker, confirmer):
    for person in cast(6, 0):
        (face,) = find_faces(person.face(128).image, landmarker, confirmer)
        assert is_upright(face)
    dark = (data.astronaut() * 0.05).astype(np.uint8)
    blurred = cv2.GaussianBlur(data.astronaut(), (0, 0), 3)
    grey = np.repeat(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    for picture in (data.astronaut(), dark, blurred, grey, data.astronaut()[:256, 100:356]):
        assert len(find_faces(np.ascontiguousarray(picture), landmarker, confirmer)) == 1


def test_a_person_beside_a_larger_disc_is_the_only_face(landmarker, confirmer):
    disc = cv2.resize(objects.soft_disc(), (512, 512))
    both = np.ascontiguousarray(np.concatenate([disc, data.astronaut()], axis=1))
    (face,) = find_faces(both, landmarker, confirmer)
    assert face.box[0] > 512


@pytest.mark.parametrize("turns", range(4))
def test_pictures_in_any_orientation_are_turned_upright(landmarker, confirmer, turns):
    turned = np.ascontiguousarray(np.rot90(data.astronaut(), turns))
    found, faces = find_upright_faces(turned, landmarker, confirmer)
    assert found == (4 - turns) % 4 and len(faces) == 1 and is_upright(faces[0])


def test_a_picture_without_a_face_is_not_turned(landmarker, confirmer):
    assert find_upright_faces(objects.coin(), landmarker, confirmer) == (0, [])
    assert detection.TURNS[0] == 0


def test_no_face_of_the_portraits_and_clips_is_lost(shared_data, landmarker, confirmer):
    for path in sorted((shared_data / "portraits").iterdir()):
        picture = cv2.imread(str(path))[:, :, ::-1]
        assert len(find_faces(np.ascontiguousarray(picture), landmarker, confirmer)) == 1, path
