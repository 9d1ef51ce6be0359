"""The mouth: teeth by anatomy or the portrait's own, in its light and blur; cheeks; smiles."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.face.crop import CropBox, crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import open_landmarker
from emo_lightning.face.portrait import Portrait, make_portrait
from emo_lightning.motion.emotions import prototype_exp
from emo_lightning.renderers import registry
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import FaceView, Pose, pixels
from emo_lightning.renderers.mesh.geometry.expression_basis import photographic_basis
from emo_lightning.renderers.mesh.mouth import teeth, tones
from emo_lightning.renderers.mesh.renderer import MeshRenderer, PreparedMesh
from emo_lightning.renderers.mesh.wrinkles import _valleys

ENAMEL, GUMS = np.array([230.0, 220.0, 205.0]), np.array([170.0, 100.0, 95.0])


@pytest.fixture(scope="module")
def renderer() -> MeshRenderer:
    found = registry.create("mesh")
    assert isinstance(found, MeshRenderer)
    return found


@pytest.fixture(scope="module")
def smile(renderer: MeshRenderer) -> Portrait:
    """A smile that shows upper teeth."""
    picture, landmarker = skimage.data.astronaut(), open_landmarker(max_faces=1)
    points = landmarker.detect(picture)[0].points
    landmarker.close()
    box = crop_box(points)
    return make_portrait(crop_image(picture, box, 256), to_crop(points, box), renderer.model)


@pytest.fixture(scope="module")
def source(renderer: MeshRenderer, smile: Portrait) -> PreparedMesh:
    return renderer.prepare(smile)


def shot(
    renderer: MeshRenderer, source: PreparedMesh, portrait: Portrait, **units: float
) -> tuple[np.ndarray, np.ndarray]:
    """A frame with these units alone, and its RGB ``(9, 3)`` from lip to lip in the middle."""
    exp = np.array([[units.get(n, units.get(n[:-2], 0.0)) for n in EXP_NAMES]], np.float32)
    moving = portrait.coefficients.replace(exp=exp)
    frame = next(renderer.render(source, moving))
    rows = [
        source.retarget.vertices(exp[0])[r[4:7]]
        for r in (topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)
    ]
    steps = np.linspace(0.1, 0.9, 9)[:, None, None]
    at = (
        pixels(
            Pose.of(moving, 0).apply((rows[0] + steps * (rows[1] - rows[0])).reshape(-1, 3)),
            len(frame),
        )
        - 0.5
    )
    seen = cv2.remap(
        frame,
        at[:, 0].astype(np.float32)[:, None],
        at[:, 1].astype(np.float32)[:, None],
        cv2.INTER_LINEAR,
    )
    return frame, seen.reshape(9, -1, 3).mean(axis=1)


def test_a_drawn_row_has_the_proportions_of_a_smile() -> None:
    row = teeth.row_texture(teeth.UPPER, ENAMEL, GUMS, 200.0, 0)
    x, y = (v.ravel() for v in teeth.grid(200.0))
    low = np.array(
        [
            y[np.nonzero(column > 0.5)[0][-1]] if (column > 0.5).any() else np.nan
            for column in row[..., 3].T
        ]
    )
    front, beside, back = (
        np.nanmax(low[(np.abs(x) > a) & (np.abs(x) < b)])
        for a, b in ((0.02, 0.07), (0.10, 0.15), (0.25, 0.30))
    )
    assert front > beside > back, "the edges rise from the middle to the sides"
    light = row[..., :3].mean(axis=2)
    middle, side = (
        light[np.ix_((y > -0.06) & (y < -0.04), (np.abs(x) > a) & (np.abs(x) < b))].mean()
        for a, b in ((0.03, 0.07), (0.25, 0.3))
    )
    assert side < 0.6 * middle, "dark towards the corners"
    contact = light[np.ix_((y > -0.06) & (y < -0.05), np.abs(x) < 0.004)].mean()
    assert 0.6 * middle < contact < 0.95 * middle, "teeth are apart, but not black between"
    gum = row[np.ix_((y > -0.16) & (y < -0.13), np.abs(x) < 0.2)][..., :3].mean(axis=(0, 1))
    assert gum[0] > 1.4 * gum[1], "flesh above the crowns"


def test_teeth_are_as_soft_as_the_photograph(
    renderer: MeshRenderer, smile: Portrait, source: PreparedMesh
) -> None:
    soft = cv2.GaussianBlur(smile.image, (0, 0), 2.5)
    view = FaceView(source.retarget.rest, source.pose, 256)
    blur = [tones.photograph_blur(image, view) for image in (smile.image, soft)]
    assert blur[0] < blur[1] <= tones.SOFTEST
    row = teeth.row_texture(teeth.UPPER, ENAMEL, GUMS, 120.0, 0)[..., :4]
    sharp, dull = (
        np.abs(np.diff(teeth.blurred(row, b, 120.0)[..., 1], axis=1)).max() for b in blur
    )
    assert dull < 0.9 * sharp


@pytest.mark.parametrize("dim", [1.0, 0.45])
def test_drawn_teeth_keep_within_the_face_s_light(
    renderer: MeshRenderer, smile: Portrait, source: PreparedMesh, dim: float
) -> None:
    image = (smile.image * dim).astype(np.uint8)
    view = FaceView(source.retarget.rest, source.pose, 256)
    enamel, *_, black = tones.mouth_colours(image, view)
    face = image.reshape(-1, 3)
    assert enamel.mean() < 1.25 * np.percentile(face.mean(axis=1), 97)
    assert enamel[0] >= enamel[1] >= enamel[2] > 0.7 * enamel[0], "a warm off-white"
    assert black.max() < 0.3 * enamel.mean()


def test_own_teeth_stay_as_bright_as_they_are_and_have_no_second_row(
    renderer: MeshRenderer, smile: Portrait, source: PreparedMesh
) -> None:
    assert source.mouth.parted
    _, own = shot(renderer, source, smile, AU12=0.6, AU25=0.4, AU26=0.25)
    _, raised = shot(renderer, source, smile, AU12=0.6, AU10=0.5, AU25=0.4, AU26=0.25)
    for seen in (own, raised):
        bright = seen.mean(axis=1) > 0.62 * seen.mean(axis=1).max()
        assert np.abs(np.diff(bright.astype(int))).sum() <= 2, "one band of teeth"
        assert seen.mean(axis=1).max() > 0.75 * source.mouth.colours[0].mean()


def test_a_closed_portrait_shows_more_of_its_teeth_the_more_its_lip_rises(
    renderer: MeshRenderer, smile: Portrait, source: PreparedMesh
) -> None:
    shut, _ = shot(renderer, source, smile)
    landmarker = open_landmarker(max_faces=1)
    points = landmarker.detect(shut)[0].points
    landmarker.close()
    closed = make_portrait(shut, to_crop(points, CropBox(128.0, 128.0, 128.0)), renderer.model)
    prepared = renderer.prepare(closed)
    assert not prepared.mouth.parted
    enamel = prepared.mouth.colours[0].mean()
    talk, sneer = (
        shot(renderer, prepared, closed, AU26=0.5, AU25=0.2, **u)[1].mean(axis=1)
        for u in ({}, {"AU10": 0.8})
    )
    share = [(seen > 0.55 * enamel).mean() for seen in (talk, sneer)]
    assert 0.0 < share[0] < share[1], "a raised lip bares more"
    assert share[0] < 0.6, "teeth leave part of the gap dark"


def test_teeth_appear_without_a_jump(
    renderer: MeshRenderer, smile: Portrait, source: PreparedMesh
) -> None:
    frames = np.stack(
        [shot(renderer, source, smile, AU26=a)[0] for a in np.linspace(0.0, 0.5, 26)]
    ).astype(float)
    at = pixels(source.pose.apply(source.retarget.rest), 256)[[78, 308, 13, 14]]
    (left, top), (right, bottom) = at.min(axis=0).astype(int) - 4, at.max(axis=0).astype(int) + 8
    change = np.abs(np.diff(frames[:, top:bottom, left:right], axis=0)).mean(axis=(1, 2, 3))
    assert change.max() < 4.0 * change.mean()


def test_the_lower_row_follows_the_jaw(source: PreparedMesh, smile: Portrait) -> None:
    exp = np.zeros(len(EXP_NAMES), np.float32)
    drops = []
    for amount in (0.0, 0.5, 1.0):
        exp[EXP_NAMES.index("AU26")] = amount
        drops.append(source.mouth.jaw_drop(source.retarget.vertices(exp)))
    assert drops[0] == pytest.approx(0.0, abs=0.02)
    assert drops[0] < drops[1] < drops[2]


@pytest.mark.parametrize(("unit", "down"), [("AU15", 1.0), ("AU12_R", -1.0)])
def test_the_cheek_follows_the_corner_of_the_mouth(
    renderer: MeshRenderer, unit: str, down: float
) -> None:
    """Beside the corner the cheek moves most of its way, and less and less further out."""
    row = photographic_basis(renderer.model)[EXP_NAMES.index(unit)]
    corner, near, beside, far, outer = (down * row[v, 1] for v in (61, 212, 216, 207, 187))
    assert 1.1 * corner > near > beside > far > outer > 0.0
    assert near > 0.75 * corner and beside > 0.6 * corner and far > 0.3 * corner


def test_another_emotion_takes_the_portrait_s_smile_away(
    renderer: MeshRenderer, smile: Portrait, source: PreparedMesh
) -> None:
    """The corners of the mouth come down to where the mean face has them, and its folds fade."""

    def lift(vertices: np.ndarray) -> float:
        return float(vertices[[13, 14], 1].mean() - vertices[[61, 291], 1].mean())

    own = smile.coefficients["exp"][0]
    angry = prototype_exp("angry", EXP_NAMES)
    assert lift(source.retarget.rest) > 0.05
    assert lift(source.retarget.vertices(angry)) < lift(renderer.model.mean) + 0.015
    np.testing.assert_allclose(source.retarget.vertices(own), source.retarget.rest, atol=1e-6)
    grey = [
        picture.mean(axis=2) for picture in (smile.image, source.wrinkles.apply(smile.image, angry))
    ]
    at = pixels(source.pose.apply(source.retarget.rest), 256)
    for vertices in ((203, 206, 216), (423, 426, 436)):
        x, y = at[list(vertices)].astype(int).T
        low, high = (slice(min(v) - 3, max(v) + 4) for v in (x, y))
        depth = [g[high, low].min() / np.median(g[high, low]) for g in grey]
        assert depth[1] >= depth[0] - 0.01


def test_what_stays_of_a_deep_fold_has_no_tint() -> None:
    """Its colours lie between its own and the skin's, however dark it is."""
    image = np.full((60, 60, 3), (200, 150, 120), np.uint8)
    image[:, 28:32] = (60, 22, 12)
    relief = _valleys(image, 60.0)
    lit = image.astype(np.float64) * np.exp(-relief)
    red, skin, fold = (
        v[..., 0] / v[..., 1] for v in (lit[30, 29:31], image[30, :1], image[30, 29:30])
    )
    assert relief.min() < -0.5
    assert (skin - 0.05 < red).all() and (red < fold + 0.05).all()
