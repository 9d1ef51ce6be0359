"""Skin between eye and brow on a real photograph: a brow that goes up stretches neither lashes nor its own hair over it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import skimage.data

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.face.crop import crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import open_landmarker
from emo_lightning.face.portrait import Portrait, make_portrait
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels
from emo_lightning.renderers.mesh.renderer import MeshRenderer

SIZE = 384


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    picture = skimage.data.astronaut()
    backend = open_landmarker(max_faces=1)
    points = backend.detect(picture)[0].points
    backend.close()
    box = crop_box(points)
    return make_portrait(
        crop_image(picture, box, SIZE), to_crop(points, box), BuiltinFaceModel.load()
    )


def with_lashes(portrait: Portrait) -> Portrait:
    """Long thin lashes drawn from each lid's margin to just above its crease."""
    image, at = portrait.image.copy(), pixels(portrait.points, SIZE)
    for (upper, _), (crease, _) in zip(topology.EYES, topology.LID_ROWS, strict=True):
        for share in np.linspace(2.0, 6.0, 8):
            root, tip = (
                np.array([np.interp(share, np.arange(9), at[row, i]) for i in (0, 1)])
                for row in (upper, crease)
            )
            ends = np.round([root, root + 1.5 * (tip - root)]).astype(int)
            cv2.line(image, ends[0].tolist(), ends[1].tolist(), (20, 15, 15), 1, cv2.LINE_AA)
    return replace(portrait, image=image)


def expression(**units: float) -> np.ndarray:
    return np.array([units.get(name.split("_")[0], 0.0) for name in EXP_NAMES], np.float32)


def test_raised_brows_leave_the_skin_below_them_free_of_lashes(portrait: Portrait) -> None:
    """The middle of what lies between crease and brow, in which long lashes end in the portrait."""
    renderer = MeshRenderer()
    source = renderer.prepare(with_lashes(portrait))
    exp = expression(AU1=0.9, AU2=0.9, AU45=1.0)
    coefficients = portrait.coefficients.replace(exp=exp[None])
    shown = next(renderer.render(source, coefficients)).mean(axis=2)
    at = pixels(Pose.of(coefficients, 0).apply(source.retarget.vertices(exp)), SIZE)
    for (crease, _), brow in zip(topology.LID_ROWS, topology.BROWS, strict=True):
        places = np.linspace(at[crease[3:6]], at[brow][1:4], 21)[6:13]
        dense = [
            [np.interp(np.linspace(0, 2, 40), np.arange(3), row[:, i]) for row in places]
            for i in (0, 1)
        ]
        x, y = np.array(dense).astype(int)
        found = shown[y, x]
        rough = np.abs(np.diff(found, 2, axis=1)).mean() / found.mean()
        assert rough < 0.06, "no comb"
        assert found.min() > 0.7 * np.median(found), "no lash"


def test_brows_at_rest_change_nothing_between_eye_and_brow(portrait: Portrait) -> None:
    renderer = MeshRenderer()
    source = renderer.prepare(portrait)
    shown = next(renderer.render(source, portrait.coefficients))
    at = pixels(portrait.points, SIZE)
    for (crease, _), brow in zip(topology.LID_ROWS, topology.BROWS, strict=True):
        x, y = np.round((at[crease[3:6]] + at[brow[1:4]]) / 2).astype(int).T
        assert np.abs(shown[y, x].astype(int) - portrait.image[y, x]).max() <= 2


def test_a_half_shut_eye_shows_iris_down_to_the_lower_lid(portrait: Portrait) -> None:
    """Below the lid's edge there is what lies around the pupil in the portrait, not the white beneath the iris."""
    source = MeshRenderer().prepare(portrait)
    exp = np.maximum(portrait.coefficients["exp"][0], expression(AU45=0.45))
    vertices, iris = source.retarget.vertices(exp), pixels(portrait.points, SIZE)[[468, 473]]
    flow = source.warp.flow(vertices, source.pose)
    now, own = pixels(source.pose.apply(vertices), SIZE), pixels(portrait.points, SIZE)
    for (upper, lower), (x, y) in zip(topology.EYES, iris, strict=True):
        edge = np.interp(x, now[lower, 0], now[lower, 1])
        assert edge - np.interp(x, now[upper, 0], now[upper, 1]) > 2.0, "it is still open"
        assert flow[1, int(edge - 1.5), int(x)] - y < 0.5 * (
            np.interp(x, own[lower, 0], own[lower, 1]) - y
        )
