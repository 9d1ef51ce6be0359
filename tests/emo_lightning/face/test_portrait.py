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
from tests.emo_lightning.face import objects


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


def two_people() -> np.ndarray:
    """A small face on the left, a larger one on the right."""
    face = data.astronaut()[:300, 100:400]
    left = np.pad(cv2.resize(face, (220, 220)), ((80, 0), (0, 0), (0, 0)), mode="edge")
    return np.ascontiguousarray(np.concatenate([left, face[:, ::-1]], axis=1))


def test_one_of_several_faces_is_chosen_by_number_or_size(tmp_path):
    path = saved(tmp_path, two_people())
    with pytest.raises(
        UserError, match=r"2 faces; accepted: --face largest, .* left to right 1 at"
    ):
        load_portrait(path, 96)
    boxes = {choice: load_portrait(path, 96, choice=choice).box for choice in ("1", "2", "largest")}
    assert boxes["1"].cx < 220 < boxes["2"].cx and boxes["largest"] == boxes["2"]
    for choice in ("0", "3", "left"):
        with pytest.raises(UserError, match=f"--face '{choice}' is no face of .*1 to 2: left"):
            load_portrait(path, 96, choice=choice)


def test_pictures_on_their_side_are_turned_with_a_note(tmp_path, astronaut):
    for turns, words in ((1, "on its side"), (2, "upside down"), (3, "on its side")):
        path = saved(tmp_path, np.rot90(data.astronaut(), turns))
        portrait = load_portrait(path, 256)
        assert np.abs(portrait.image.astype(int) - astronaut.image).mean() < 6
        (note,) = portrait.notes
        assert note == f"the picture was turned by {90 * turns} degrees: it was {words}"


def test_poor_pictures_are_noted_or_refused(tmp_path, astronaut):
    assert astronaut.notes == ()
    black = (data.astronaut() * 0.04).astype(np.uint8)
    with pytest.raises(UserError, match="nearly black; accepted: a brighter picture"):
        load_portrait(saved(tmp_path, black), 96)
    dark = (data.astronaut() * 0.15).astype(np.uint8)
    tight = data.astronaut()[70:200, 175:275]
    mouth = data.astronaut().copy()
    cv2.circle(mouth, (222, 155), 24, (25, 25, 25), -1, cv2.LINE_AA)
    for picture, words in ((dark, "very dark"), (tight, "fills the picture"), (mouth, "the mouth")):
        notes = load_portrait(saved(tmp_path, picture), 96).notes
        assert any(words in note for note in notes), (words, notes)


@pytest.mark.parametrize("name", ["soft_disc", "coin", "headlights"])
def test_objects_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="shows no face that can be found"):
        load_portrait(saved(tmp_path, getattr(objects, name)()), 96)
