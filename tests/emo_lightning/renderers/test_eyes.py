"""Lids and brows on a real photograph: plain skin on shut lids, brows that go up within reason."""

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
from emo_lightning.motion.emotions import prototype_exp
from emo_lightning.motion.gaze import GazeProcess
from emo_lightning.renderers.base import stream
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels
from emo_lightning.renderers.mesh.renderer import MeshRenderer
from emo_lightning.renderers.registry import create

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


def lid_tones(shown: np.ndarray, at: np.ndarray, eye: int) -> np.ndarray:
    """RGB ``(7, 40, 3)`` of a frame from just below an eye's crease to just above its margin."""
    crease, upper = topology.LID_ROWS[eye][0][2:7], topology.EYES[eye][0][2:7]
    rows = np.linspace(at[crease], at[upper], 11)[2:9]
    x, y = (
        np.array([np.interp(np.linspace(0, 4, 40), np.arange(5), row[:, i]) for row in rows])
        for i in (0, 1)
    )
    return shown[y.astype(int), x.astype(int)].astype(float)


def test_shut_lids_are_plain_skin_in_the_cheek_s_tone(portrait: Portrait) -> None:
    """Nothing is left of long lashes over the open lid, and the skin is neither grey nor dark."""
    renderer = MeshRenderer()
    source = renderer.prepare(with_lashes(portrait))
    exp = expression(AU45=1.0)
    coefficients = portrait.coefficients.replace(exp=exp[None])
    shown = next(renderer.render(source, coefficients))
    at = pixels(Pose.of(coefficients, 0).apply(source.retarget.vertices(exp)), SIZE)
    for eye, cheek in enumerate((118, 347)):
        x, y = at[cheek].astype(int)
        skin = shown[y - 4 : y + 5, x - 4 : x + 5].reshape(-1, 3).mean(axis=0)
        found = lid_tones(shown, at, eye)
        light = found.mean(axis=2)
        assert np.abs(np.diff(light, 2, axis=1)).mean() / light.mean() < 0.04, "no comb"
        assert light.min() > 0.6 * np.median(light), "no lash"
        assert 0.65 < light.mean() / skin.mean() < 1.2
        colour = found.mean(axis=(0, 1))
        saturation = [1.0 - c.min() / c.max() for c in (colour, skin)]
        assert saturation[0] > 0.7 * saturation[1]


@pytest.mark.parametrize("emotion", ["fear", "sad", "surprised"])
def test_brows_go_up_evenly_and_no_further_than_skin_stretches(
    portrait: Portrait, emotion: str
) -> None:
    source = MeshRenderer().prepare(portrait)
    own = portrait.coefficients["exp"][0]
    target = prototype_exp(emotion, EXP_NAMES)
    brows = np.concatenate(topology.BROWS)
    raised = []
    for level in (4, 8, 12, 15):
        moved = source.retarget.vertices(own + level / 15 * (np.maximum(target, own) - own))
        raised.append(float((source.retarget.rest - moved)[brows, 1].max()))
    assert 0.03 < raised[-1] < 0.1
    steps = np.diff(raised) / (4, 4, 3)
    assert steps.max() < 1.2 * steps.min(), "even over the levels"


def test_raised_brows_leave_the_forehead_in_its_colour(portrait: Portrait) -> None:
    renderer = MeshRenderer()
    source = renderer.prepare(portrait)
    places = pixels(portrait.points, SIZE)[[9, 8, 66, 296]].astype(int)
    exp = np.maximum(portrait.coefficients["exp"], prototype_exp("surprised", EXP_NAMES))
    shown = next(renderer.render(source, portrait.coefficients.replace(exp=exp)))
    for x, y in places:
        patch = np.s_[y - 5 : y + 6, x - 5 : x + 6]
        change = shown[patch].mean(axis=(0, 1)) / portrait.image[patch].mean(axis=(0, 1))
        assert np.abs(change - 1.0).max() < 0.15
        assert np.ptp(change) < 0.06, "no tint"


def test_a_smile_narrows_eyes_from_below_and_a_blink_from_above(portrait: Portrait) -> None:
    source = MeshRenderer().prepare(portrait)
    own, rest = portrait.coefficients["exp"][0], source.retarget.rest
    for unit, share in (("AU6", (0.6, 1.0)), ("AU45", (0.0, 0.4))):
        moved = source.retarget.vertices(np.maximum(own, expression(**{unit: 0.8})))
        for upper, lower in topology.EYES:
            fall = float((moved - rest)[upper[1:-1], 1].max())
            rise = float((rest - moved)[lower[1:-1], 1].max())
            assert share[0] <= rise / (rise + max(fall, 0.0)) <= share[1]


def with_glasses(portrait: Portrait, tone: int) -> Portrait:
    """Round glasses of one grey level."""
    image, at = portrait.image.copy(), pixels(portrait.points, SIZE)
    unit = float(np.linalg.norm(at[33] - at[263]))
    for upper, lower in topology.EYES:
        centre = at[np.concatenate([upper, lower])].mean(axis=0) + np.array([0.0, 0.04 * unit])
        radii = (int(0.23 * unit), int(0.19 * unit))
        cv2.ellipse(image, np.int32(centre).tolist(), radii, 0, 0, 360, (tone,) * 3, 4, cv2.LINE_AA)
    bridge = at[topology.NASION]
    for side in (-1.0, 1.0):
        end = bridge + np.array([side * 0.1 * unit, 0.02 * unit])
        cv2.line(image, np.int32(bridge).tolist(), np.int32(end).tolist(), (tone,) * 3, 4)
    return replace(portrait, image=image)


@pytest.mark.parametrize("tone", [15, 90])
def test_glasses_stay_where_they_are(portrait: Portrait, tone: int) -> None:
    renderer = MeshRenderer()
    worn, bare = renderer.prepare(with_glasses(portrait, tone)), renderer.prepare(portrait)
    assert bare.retarget.rigid is None
    exp = np.maximum(portrait.coefficients["exp"][0], prototype_exp("angry", EXP_NAMES))
    below = [118, 101, 330, 347]
    moved = [
        np.abs(s.retarget.vertices(exp) - s.retarget.rest)[below, :2].max() for s in (worn, bare)
    ]
    assert moved[0] < 0.4 * moved[1]
    lids = np.concatenate([upper[1:-1] for upper, _ in topology.EYES])
    assert (worn.retarget.rigid[lids] == 0.0).all(), "eyes can close"


def test_a_half_shut_eye_shows_iris_down_to_the_lower_lid(portrait: Portrait) -> None:
    """Below the lid's edge lies what is around the portrait's pupil, not the white beneath."""
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


def test_eyes_glance_aside_while_the_head_is_still(portrait: Portrait) -> None:
    """Frames differ in the eyes alone, and do not depend on how the sequence is cut."""
    still = portrait.coefficients.frames(np.zeros(60, int))
    renderer = create("mesh", gaze=GazeProcess(1))
    source = renderer.prepare(portrait)
    frames = np.stack(list(stream(renderer, source, [still])))
    cut = [still.frames(slice(0, 7)), still.frames(slice(7, 60))]
    assert np.array_equal(frames, np.stack(list(stream(renderer, source, cut))))
    change = np.ptp(frames.astype(int), axis=0).max(axis=2)
    at = pixels(portrait.points, SIZE)
    eyes = np.zeros((SIZE, SIZE), np.uint8)
    for upper, lower in topology.EYES:
        outline = np.concatenate([at[upper], at[lower][::-1]])
        cv2.fillPoly(eyes, [np.round(outline).astype(np.int32)], 1)
    eyes = cv2.dilate(eyes, np.ones((7, 7), np.uint8)) > 0
    assert change[eyes].max() > 25 and change[~eyes].max() <= 2
    camera = create("mesh", gaze=GazeProcess(1, strength=0.0))
    assert np.ptp(np.stack(list(stream(camera, source, [still]))), axis=0).max() == 0
