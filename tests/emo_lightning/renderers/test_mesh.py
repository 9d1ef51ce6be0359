"""The geometric renderer on a real photograph; the tracker reads its frames back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import skimage.data

from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BFM, EXP_NAMES, Coefficients
from emo_lightning.face.crop import crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import LandmarkBackend, open_landmarker
from emo_lightning.face.portrait import Portrait, make_portrait
from emo_lightning.face.pose import rotation
from emo_lightning.motion.emotions import EMOTIONS, prototype_exp
from emo_lightning.renderers import registry
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose
from emo_lightning.renderers.mesh.renderer import MeshRenderer, PreparedMesh


@pytest.fixture(scope="module")
def landmarker() -> Iterator[LandmarkBackend]:
    backend = open_landmarker(max_faces=1)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def portraits(landmarker: LandmarkBackend) -> dict[int, Portrait]:
    picture = skimage.data.astronaut()
    points = landmarker.detect(picture)[0].points
    box = crop_box(points)
    model = BuiltinFaceModel.load()
    return {
        size: make_portrait(crop_image(picture, box, size), to_crop(points, box), model)
        for size in (128, 256, 512)
    }


@pytest.fixture(scope="module")
def renderer() -> MeshRenderer:
    found = registry.create("mesh")
    assert isinstance(found, MeshRenderer)
    return found


@pytest.fixture(scope="module")
def source(renderer: MeshRenderer, portraits: dict[int, Portrait]) -> PreparedMesh:
    return renderer.prepare(portraits[256])


def with_units(own: Coefficients, **units: float) -> Coefficients:
    """The portrait's pose with just these units, a name without a side meaning both."""
    exp = np.zeros((1, len(EXP_NAMES)), np.float32)
    for i, name in enumerate(EXP_NAMES):
        exp[0, i] = units.get(name, units.get(name.removesuffix("_L").removesuffix("_R"), 0.0))
    return own.replace(exp=exp)


def frame(renderer: MeshRenderer, source: PreparedMesh, coefficients: Coefficients) -> np.ndarray:
    return next(iter(renderer.render(source, coefficients)))


def gap(landmarker: LandmarkBackend, image: np.ndarray, upper: int, lower: int) -> float:
    """Distance of two vertices in a picture, as a share of the outer eye corners' distance."""
    points = landmarker.detect(image)[0].points[:, :2]
    return float(
        np.linalg.norm(points[upper] - points[lower])
        / np.linalg.norm(np.subtract(*points[list(topology.OUTER_EYE_CORNERS)]))
    )


@pytest.mark.parametrize("size", [128, 256, 512])
def test_own_coefficients_give_the_portrait_back(
    renderer: MeshRenderer, portraits: dict[int, Portrait], size: int
) -> None:
    portrait = portraits[size]
    out = frame(renderer, renderer.prepare(portrait), portrait.coefficients)
    assert out.shape == (size, size, 3) and out.dtype == np.uint8
    assert np.abs(out.astype(int) - portrait.image).max() <= 1


def test_pieces_give_exactly_the_whole(
    renderer: MeshRenderer, source: PreparedMesh, portraits: dict[int, Portrait]
) -> None:
    rng = np.random.default_rng(0)
    own = portraits[256].coefficients
    moving = own.frames(np.zeros(6, int)).replace(exp=rng.uniform(0, 0.6, (6, len(EXP_NAMES))))
    moving = moving.replace(angle=own["angle"] + rng.normal(0, 0.08, (6, 3)))
    whole = list(renderer.render(source, moving))
    pieces = [
        f
        for part in (slice(0, 2), slice(2, 6))
        for f in renderer.render(source, moving.frames(part))
    ]
    again = list(renderer.render(renderer.prepare(portraits[256]), moving))
    assert all(
        np.array_equal(a, b) and np.array_equal(a, c)
        for a, b, c in zip(whole, pieces, again, strict=True)
    )
    assert np.abs(whole[0].astype(int) - whole[1]).mean() > 1.0


def test_an_opening_jaw_parts_the_lips_and_none_closes_them(
    renderer: MeshRenderer,
    source: PreparedMesh,
    portraits: dict[int, Portrait],
    landmarker: LandmarkBackend,
) -> None:
    own = portraits[256].coefficients
    shut, half, wide = (
        gap(landmarker, frame(renderer, source, with_units(own, AU26=a)), 13, 14)
        for a in (0.0, 0.5, 1.0)
    )
    assert gap(landmarker, portraits[256].image, 13, 14) > 0.05  # she smiles with parted lips
    assert shut < 0.03 < half < wide
    assert wide > 0.15


@pytest.mark.parametrize(
    "units", [{"pucker": 1.0}, {"press": 1.0}, {"jaw": 0.8}, {"AU17": 1.0, "AU15": 1.0}, {}]
)
def test_lips_that_touch_in_the_driver_touch_in_the_portrait(
    source: PreparedMesh, portraits: dict[int, Portrait], units: dict[str, float]
) -> None:
    vertices = source.retarget.vertices(with_units(portraits[256].coefficients, **units)["exp"][0])
    between = vertices[topology.LIP_INNER_LOWER, 1] - vertices[topology.LIP_INNER_UPPER, 1]
    assert np.abs(between[1:-1]).max() < 0.01


def test_a_blink_closes_the_lids(
    renderer: MeshRenderer,
    source: PreparedMesh,
    portraits: dict[int, Portrait],
    landmarker: LandmarkBackend,
) -> None:
    own = portraits[256].coefficients
    blink = frame(renderer, source, with_units(own, AU45=1.0, AU12=0.4))
    for upper, lower in ((159, 145), (386, 374)):
        assert gap(landmarker, blink, upper, lower) < 0.5 * gap(
            landmarker, portraits[256].image, upper, lower
        )


def test_a_shut_eye_is_skin(renderer: MeshRenderer, portraits: dict[int, Portrait]) -> None:
    portrait = portraits[512]
    source = renderer.prepare(portrait)
    shut = frame(
        renderer,
        source,
        portrait.coefficients.replace(
            exp=np.maximum(
                portrait.coefficients["exp"], with_units(portrait.coefficients, AU45=1.0)["exp"]
            )
        ),
    )
    at = ((portrait.points[:, :2] + 1) * 256).astype(int)
    for iris, cheek in ((468, 118), (473, 347)):
        (x, y), (u, v) = at[iris], at[cheek]
        open_, lid, skin = (
            image[r - 4 : r + 5, c - 4 : c + 5].mean()
            for image, r, c in (
                (portrait.image, y - 4, x),
                (shut, y - 4, x),
                (portrait.image, v, u),
            )
        )
        assert open_ < 0.6 * skin, "the iris is dark"
        assert lid > 0.75 * skin


def test_eyes_stay_on_the_viewer_while_the_head_turns(source: PreparedMesh) -> None:
    own = source.pose
    assert np.abs(source.warp.gaze.shift(own)).max() == 0.0
    for angle in (-0.1, 0.1):
        turned = Pose(own.turn @ rotation(np.array([0.0, angle, 0.0])), own.scale, own.shift)
        across = source.warp.gaze.shift(turned)[:, 0]
        assert np.sign(across[np.abs(across).argmax()]) == -np.sign(angle)
        assert 0.004 < np.abs(across).max() < 0.03


def test_folds_deepen_with_their_units(
    renderer: MeshRenderer, source: PreparedMesh, portraits: dict[int, Portrait]
) -> None:
    own, image = portraits[256].coefficients, portraits[256].image
    for units, rows in (
        ({"AU4": 1.0}, (55, 285)),
        ({"AU12": 1.0, "AU10": 1.0}, (206, 426)),
        ({"AU1": 1.0}, (151,)),
    ):
        exp = np.maximum(own["exp"], with_units(own, **units)["exp"])[0]
        relit = source.wrinkles.apply(image, exp).astype(float)
        weaker = source.wrinkles.apply(image, own["exp"][0] + 0.5 * (exp - own["exp"][0])).astype(
            float
        )
        at = ((portraits[256].points[list(rows), :2] + 1) * 128).astype(int)
        for x, y in at:
            part = np.s_[y - 12 : y + 12, x - 12 : x + 12]
            deep, half = ((image[part] - lit[part]).max() for lit in (relit, weaker))
            assert deep >= half >= 0
            assert deep > 3
    assert source.wrinkles.apply(image, own["exp"][0]) is image


def test_a_smooth_track_does_not_flicker(
    renderer: MeshRenderer, source: PreparedMesh, portraits: dict[int, Portrait]
) -> None:
    own, count = portraits[256].coefficients, 16
    time = np.arange(count)[:, None] / 25.0
    rates = np.linspace(0.3, 0.9, len(EXP_NAMES))
    exp = 0.3 * (1.0 + np.sin(2 * np.pi * rates * time + 7.0 * rates)).astype(np.float32)
    moving = own.frames(np.zeros(count, int)).replace(exp=exp)
    frames = np.stack(list(renderer.render(source, moving))).astype(np.float32)
    speed = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert speed.max() < 2.0 * speed.mean(), "no frame jumps"
    still = list(renderer.render(source, moving.frames(np.full(3, 5))))
    assert np.array_equal(still[0], still[1]) and np.array_equal(still[0], still[2])


def test_a_turn_moves_the_head_and_leaves_the_wall(
    renderer: MeshRenderer,
    source: PreparedMesh,
    portraits: dict[int, Portrait],
    landmarker: LandmarkBackend,
) -> None:
    portrait = portraits[256]
    own = portrait.coefficients
    turned = frame(renderer, source, own.replace(angle=own["angle"] + np.radians([0.0, 15.0, 0.0])))
    points = to_crop(
        landmarker.detect(turned)[0].points, crop_box(landmarker.detect(turned)[0].points)
    )
    yaw = renderer.model.fit(points[None]).coefficients["angle"][0, 1]
    assert np.degrees(yaw - own["angle"][0, 1]) == pytest.approx(15.0, abs=5.0)
    for edge in (np.s_[:150, :6], np.s_[:150, -12:]):
        assert np.abs(turned[edge].astype(int) - portrait.image[edge]).mean() < 1.0
    in_picture = renderer.prepare(replace(portrait, still=(True, True, True, True)))
    turned = frame(
        renderer, in_picture, own.replace(angle=own["angle"] + np.radians([0.0, 15.0, 0.0]))
    )
    for edge in (np.s_[:, :3], np.s_[:, -3:], np.s_[-3:]):
        assert np.abs(turned[edge].astype(int) - portrait.image[edge]).mean() < 3.0


def test_shoulders_follow_a_shift_but_not_beyond_the_frame(
    renderer: MeshRenderer, source: PreparedMesh, portraits: dict[int, Portrait]
) -> None:
    portrait, rings = portraits[256], source.warp.background
    own = portrait.coefficients
    shifted = frame(
        renderer, source, own.replace(trans=own["trans"] + np.array([0.08, 0.0, 0.0], np.float32))
    )
    assert np.abs(shifted[:150, :6].astype(int) - portrait.image[:150, :6]).mean() < 0.2
    assert np.abs(shifted[-20:-4, 60:200].astype(int) - portrait.image[-20:-4, 60:200]).mean() > 2.0
    assert (rings.rigid + rings.body <= 1.0 + 1e-6).all() and rings.body.max() > 0.9


@pytest.mark.parametrize("size", [128, 512])
def test_every_emotion_renders_at_every_size(
    renderer: MeshRenderer, portraits: dict[int, Portrait], size: int
) -> None:
    portrait = portraits[size]
    source = renderer.prepare(portrait)
    for emotion in EMOTIONS[1:]:
        out = frame(
            renderer, source, portrait.coefficients.replace(exp=prototype_exp(emotion, EXP_NAMES))
        )
        changed = np.abs(out.astype(int) - portrait.image).mean()
        assert 0.5 < changed < 20.0
        # No black holes: only a mouth's cavity is darker than the portrait's face.
        assert (out.max(axis=2) == 0).sum() <= (
            portrait.image.max(axis=2) == 0
        ).sum() + 0.01 * size**2


def test_extreme_poses_stay_whole(
    renderer: MeshRenderer, source: PreparedMesh, portraits: dict[int, Portrait]
) -> None:
    own = portraits[256].coefficients
    for angle, shift in (
        ((0.5, 0.6, 0.4), (0.3, 0.2, 0.3)),
        ((-0.5, -0.6, -0.4), (-0.5, -0.4, -0.5)),
    ):
        moved = own.replace(
            angle=own["angle"] + np.array(angle),
            trans=own["trans"] + np.array(shift),
            exp=np.ones(len(EXP_NAMES)),
        )
        out = frame(renderer, source, moved)
        assert out.shape == (256, 256, 3)
        assert abs(float(out.mean()) - float(portraits[256].image.mean())) < 40.0


def test_another_layout_is_refused(
    renderer: MeshRenderer, source: PreparedMesh, portraits: dict[int, Portrait]
) -> None:
    foreign = Coefficients(BFM, {b: np.zeros((1, BFM.width(b)), np.float32) for b in BFM.blocks})
    with pytest.raises(MismatchError):
        next(iter(renderer.render(source, foreign)))
    with pytest.raises(MismatchError):
        renderer.prepare(Portrait(portraits[128].image, portraits[128].points, foreign))


def test_an_unknown_renderer_is_named() -> None:
    with pytest.raises(UserError, match="mesh"):
        registry.create("crayon")
    assert {"mesh", "keypoint"} <= set(registry.names())


def test_another_identity_moves_the_face_and_leaves_lips_and_lids_to_the_expression(
    source: PreparedMesh, portraits: dict[int, Portrait]
) -> None:
    own = portraits[256].coefficients
    exp, identity = with_units(own)["exp"][0], own["id"][0]
    plain = source.retarget.vertices(exp, identity)
    np.testing.assert_array_equal(plain, source.retarget.vertices(exp))
    other = source.retarget.vertices(exp, identity + np.float32(0.8))
    assert np.linalg.norm(other - plain, axis=1).max() > 0.02
    for upper, lower in ((topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER), *topology.EYES):
        openings = [vertices[lower, 1] - vertices[upper, 1] for vertices in (plain, other)]
        assert np.abs(openings[0] - openings[1])[1:-1].max() < 0.01


def test_pressed_lips_do_not_fold_over_each_other(source: PreparedMesh) -> None:
    """A row of a lip that comes to lie beyond the next one frays the lip's border."""
    units = {
        "AU4": 1.0,
        "AU7": 0.8,
        "AU9": 0.5,
        "AU17": 0.3,
        "AU23": 0.5,
        "AU25": 0.2,
        "AU26": 0.25,
        "press": 0.55,
    }
    exp = np.array(
        [units.get(name.removesuffix("_L").removesuffix("_R"), 0.0) for name in EXP_NAMES],
        np.float32,
    )
    rest, moved = source.retarget.rest, source.retarget.vertices(exp)
    for rows in topology.LIP_ROWS:
        own, now = (np.stack([shape[row[1:-1], 1] for row in rows]) for shape in (rest, moved))
        apart = np.abs(np.diff(own, axis=0)) > 0.002
        assert (np.sign(np.diff(own, axis=0)) == np.sign(np.diff(now, axis=0)))[apart].all()
    np.testing.assert_allclose(source.retarget.vertices(source.retarget.exp), rest, atol=1e-6)
