"""A picture becomes a square portrait with the face model's reading of it, wherever and however large the face is in it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.face.crop import CropBox, from_crop
from emo_lightning.face.portrait import (
    Portrait,
    check_frontal,
    cut_side,
    inside,
    load_portrait,
    make_portrait,
)


def saved(folder, rgb, name="face.png"):
    """Write a picture and return its path."""
    path = folder / name
    Image.fromarray(np.ascontiguousarray(rgb)).save(path)
    return path


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory) -> Portrait:
    """The astronaut's portrait at 256 pixels."""
    return load_portrait(saved(tmp_path_factory.mktemp("portrait"), data.astronaut()), 256)


def test_the_square_holds_the_head(astronaut):
    assert astronaut.image.shape == (256, 256, 3)
    assert astronaut.image.dtype == np.uint8
    assert astronaut.points.shape == (478, 3)
    low, high = astronaut.points[:, :2].min(0), astronaut.points[:, :2].max(0)
    assert (low > -0.8).all() and (high < 0.8).all() and (high - low).max() > 0.8
    # The same square cut from the picture by the box it states.
    box, picture = astronaut.box, data.astronaut()
    left, top, side = round(box.cx - box.half), round(box.cy - box.half), round(2 * box.half)
    inside = cv2.resize(
        picture[max(top, 0) : top + side, left : left + side],
        (64, 64),
        interpolation=cv2.INTER_AREA,
    ).astype(int)
    assert (
        np.abs(inside - cv2.resize(astronaut.image, (64, 64), interpolation=cv2.INTER_AREA))[
            8:
        ].mean()
        < 12
    )


def test_coefficients_explain_the_landmarks(astronaut):
    assert astronaut.coefficients.layout == BUILTIN
    assert len(astronaut.coefficients) == 1
    drawn = BuiltinFaceModel.load().project(astronaut.coefficients)[0, :, :2]
    eyes = np.linalg.norm(np.subtract(*astronaut.points[[33, 263], :2]))
    assert np.linalg.norm(drawn - astronaut.points[:468, :2], axis=1).mean() < 0.05 * eyes
    assert np.abs(astronaut.coefficients["tex"]).max() > 0.01
    # She smiles.
    exp = dict(zip(BUILTIN.exp_names, astronaut.coefficients["exp"][0], strict=True))
    assert min(exp["AU12_L"], exp["AU12_R"]) > 0.2


def test_make_portrait_reads_a_square_that_is_cut_already(astronaut):
    again = make_portrait(astronaut.image, astronaut.points, BuiltinFaceModel.load())
    np.testing.assert_allclose(
        again.coefficients.joined(), astronaut.coefficients.joined(), atol=1e-5
    )
    assert again.box is None


def test_a_small_face_in_a_large_picture(tmp_path, astronaut):
    canvas = np.full((2300, 3000, 3), (90, 110, 130), np.uint8)
    canvas[1500:2012, 300:812] = data.astronaut()
    small = load_portrait(saved(tmp_path, canvas), 256)
    assert abs(small.box.cx - 300 - astronaut.box.cx) < 6
    assert abs(small.box.half / astronaut.box.half - 1) < 0.06
    eyes = [
        from_crop(portrait.points[[33, 263]], portrait.box)[:, :2]
        for portrait in (small, astronaut)
    ]
    assert np.abs(eyes[0] - (300, 1500) - eyes[1]).max() < 4


def test_108_million_pixels(tmp_path):
    canvas = Image.new("RGB", (12000, 9000), (90, 110, 130))
    canvas.paste(Image.fromarray(data.astronaut()).resize((8000, 8000)), (2000, 500))
    canvas.save(tmp_path / "huge.jpg", quality=90)
    huge = load_portrait(tmp_path / "huge.jpg", 256)
    same = load_portrait(saved(tmp_path, np.asarray(canvas.resize((1200, 900)))), 256)
    assert np.abs(huge.image.astype(int) - same.image).mean() < 6
    assert np.linalg.norm(huge.points - same.points, axis=1).mean() < 0.02


def test_the_square_stays_inside_the_picture():
    assert inside(CropBox(500, 500, 100), 100, 1000, 1000) == CropBox(500, 500, 100)
    assert inside(CropBox(60, 950, 100), 100, 1000, 1000) == CropBox(100, 900, 100)
    assert inside(CropBox(90, 200, 100), 100, 180, 1000) == CropBox(90, 200, 90)
    # A face that fills the picture keeps its margin, and the square reaches beyond the edge.
    assert inside(CropBox(50, 200, 100), 100, 100, 1000) == CropBox(50, 200, 62.5)


def test_a_far_smaller_second_face_is_no_rival(tmp_path, astronaut):
    picture = data.astronaut().copy()
    picture[:100, :100] = cv2.resize(
        picture[40:220, 140:320], (100, 100), interpolation=cv2.INTER_AREA
    )
    large = cv2.resize(picture[:400], None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    large[:300, :300] = np.pad(large[:300:3, :300:3], ((100, 100), (100, 100), (0, 0)), mode="edge")
    assert load_portrait(saved(tmp_path, large), 128).box.cx > 500


def turned(pitch: float, yaw: float, roll: float) -> Coefficients:
    """A face at rest in this pose, in degrees."""
    values = {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
    return Coefficients(BUILTIN, values).replace(angle=np.radians([pitch, yaw, roll]))


@pytest.mark.parametrize(
    ("pose", "words"),
    [
        ((0, 60, 0), "turned 60 degrees to the side"),
        ((0, -45, 0), "to the side"),
        ((50, 0, 0), "up or down"),
        ((0, 0, 90), "tilted"),
    ],
)
def test_poses_that_hide_half_the_face(pose, words, tmp_path):
    with pytest.raises(UserError, match=f"--portrait .*{words}.*accepted: .*from the front"):
        check_frontal(turned(*pose), "face.png", "--portrait")
    check_frontal(turned(*(angle / 3 for angle in pose)), "face.png", "--portrait")


@pytest.mark.parametrize(
    ("shift", "side"),
    [((-60, 0), "left"), ((0, -60), "top"), ((60, 0), "right"), ((0, 60), "bottom"), ((-3, 3), "")],
)
def test_the_edge_that_cuts_a_face(shift, side):
    corners = np.float32([[0, 0], [200, 0], [0, 200], [200, 200]])
    assert cut_side(corners + np.float32(shift), 200, 200) == side


def test_real_portraits(shared_data):
    for path in sorted((shared_data / "portraits").iterdir()):
        portrait = load_portrait(path, 256)
        assert portrait.image.std() > 10, path.name
