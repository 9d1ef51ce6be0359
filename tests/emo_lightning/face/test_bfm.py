"""BFM-2009 in Deep3D's layout, on a small random model written in the file's own format."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.face.bfm import BFMFaceModel, read_deep3d_mat, write_deep3d_mat
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BFM, BUILTIN, Coefficients

VERTICES = 300


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """68 landmarks shaped as a face, other vertices around them, smooth random directions."""
    rng = np.random.default_rng(0)
    built_in = BuiltinFaceModel.load()
    face = built_in.mean[built_in.landmarks_68] * [1.0, -1.0, -1.0]
    mean = np.concatenate(
        [face, face[rng.integers(0, 68, VERTICES - 68)] + rng.normal(0, 0.1, (VERTICES - 68, 3))]
    )
    waves = np.sin(mean @ rng.normal(0, 2, (3, 144)) + rng.uniform(0, 6, 144))
    bases = (waves[:, None] * rng.normal(0, 0.012, (1, 3, 144))).reshape(VERTICES * 3, 144)
    return {
        "meanshape": mean.reshape(1, -1).astype(np.float32),
        "idBase": bases[:, :80].astype(np.float32),
        "exBase": bases[:, 80:].astype(np.float32),
        "tri": rng.integers(1, VERTICES + 1, (500, 3)).astype(np.float64),
        "keypoints": np.arange(1, 69, dtype=np.float64)[None],
    }


@pytest.fixture(scope="module")
def model(arrays, tmp_path_factory) -> BFMFaceModel:
    path = tmp_path_factory.mktemp("bfm") / "BFM_model_front.mat"
    scipy.io.savemat(path, arrays)
    return BFMFaceModel.load(path)


def _coefficients(frames: int, seed: int = 1) -> Coefficients:
    rng = np.random.default_rng(seed)
    values = {block: np.zeros((frames, width)) for block, width in BFM.widths}
    values["id"][:] = rng.normal(size=80) * 0.7
    values["exp"] = rng.normal(size=(frames, 64)) * 0.5
    values["angle"] = rng.uniform(-0.3, 0.3, (frames, 3))
    values["trans"] = rng.uniform(-0.1, 0.1, (frames, 3)) + np.array([0, 0, -1.0])
    return Coefficients(BFM, values)


def test_projection_is_deep3ds(model) -> None:
    """Against Deep3DFaceRecon's formulas written out: Rz Ry Rx, camera at 10, focal 1015, centre 112, y up."""
    given = _coefficients(1)
    x, y, z = given["angle"][0].astype(np.float64)
    rx = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    ry = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    rz = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    placed = model.vertices(given)[0] @ (np.array(rz) @ ry @ rx).T + given["trans"][0]
    camera = np.column_stack([placed[:, :2], 10.0 - placed[:, 2]])
    image = camera @ np.array([[1015.0, 0, 112], [0, 1015, 112], [0, 0, 1]]).T
    pixels = image[:, :2] / image[:, 2:]
    pixels[:, 1] = 224 - pixels[:, 1]
    np.testing.assert_allclose(model.project(given)[0, :, :2], pixels / 112 - 1, atol=1e-5)


def test_signs_of_angles(model) -> None:
    still = _coefficients(1).replace(
        id=np.zeros(80), exp=np.zeros(64), angle=np.zeros(3), trans=np.zeros(3)
    )
    nose, crown = 30, 27
    turned = {"0": [0, 0, 0], "p": [0.2, 0, 0], "y": [0, 0.2, 0], "r": [0, 0, 0.2]}
    place = {name: model.project(still.replace(angle=angle))[0] for name, angle in turned.items()}
    centre = place["0"].mean(0)
    assert place["p"][nose, 1] > place["0"][nose, 1] and place["y"][nose, 0] > place["0"][nose, 0]
    assert (
        place["0"][crown, 1] < centre[1] and place["r"][crown, 0] < place["0"][crown, 0]
    )  # counter-clockwise, unlike the built-in model


def test_fit_finds_pose_and_perspective_again(model) -> None:
    truth = _coefficients(12).replace(id=np.zeros(80), exp=np.zeros(64))
    found = model.fit(model.project(truth)[:, model.landmarks_68, :2])
    assert found.residual.max() < 1e-3
    assert np.abs(found.coefficients["angle"] - truth["angle"]).max() < np.deg2rad(0.5)
    np.testing.assert_allclose(found.coefficients["trans"], truth["trans"], atol=0.03)


def test_fit_follows_the_landmarks_of_any_shape(model) -> None:
    truth = _coefficients(12)
    marks = model.project(truth)[:, model.landmarks_68]
    found = model.fit(marks)
    assert found.residual.max() < 0.01
    assert (
        np.ptp(found.coefficients["id"], axis=0).max() == 0
        and not found.coefficients["gamma"].any()
    )
    with pytest.raises(ValueError, match="landmarks"):
        model.fit(marks[:, :50])


def test_coefficient_files_round_trip(tmp_path) -> None:
    given = _coefficients(7)
    path = tmp_path / "clip.mat"
    write_deep3d_mat(path, given)
    np.testing.assert_array_equal(read_deep3d_mat(path).joined(), given.joined())
    scipy.io.savemat(path, {"full_3dmm_coeff": given.joined(), "other": np.zeros(3)})
    np.testing.assert_array_equal(read_deep3d_mat(path).joined(), given.joined())
    with pytest.raises(MismatchError):
        write_deep3d_mat(
            path, Coefficients(BUILTIN, {b: np.zeros((1, w)) for b, w in BUILTIN.widths})
        )
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mat"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"other": np.zeros((3, 257))}, "holds no such array"),
        ({"coeff": np.zeros((3, 256))}, r"shape \(3, 256\)"),
        ({"coeff": np.zeros((0, 257))}, "shape"),
        ({"coeff": np.full((3, 257), np.nan)}, "not finite"),
        ({"coeff": np.array([[1, "a"]], dtype=object)}, "no numeric array"),
        ({"coeff": "text"}, "no numeric array"),
        ({"coeff": {"a": 1}}, "no numeric array"),
        (b"", "not a MATLAB file"),
        (b"no matlab file, but long enough to hold a header" * 9, "not a MATLAB file|HDF5"),
        (None, "cannot be read"),
    ],
)
def test_wrong_coefficient_files_are_one_line(tmp_path, content, problem: str) -> None:
    path = tmp_path / "x.mat"
    if isinstance(content, dict):
        scipy.io.savemat(path, content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        read_deep3d_mat(path, "--mat")
    assert str(caught.value).startswith("--mat ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"idBase": None}, "lacks idBase"),
        ({"exBase": np.zeros((9, 64))}, "exBase of shape"),
        ({"keypoints": np.full((1, 68), 9999.0)}, "name no vertex"),
        ({"tri": np.zeros((4, 3))}, "name no vertex"),
    ],
)
def test_wrong_model_files_are_one_line(arrays, tmp_path, change, problem: str) -> None:
    path = tmp_path / "m.mat"
    scipy.io.savemat(path, {k: v for k, v in {**arrays, **change}.items() if v is not None})
    with pytest.raises(UserError, match=problem):
        BFMFaceModel.load(path)


def test_real_coefficient_files(shared_data) -> None:
    files = [
        *(shared_data / "mead_coeffs" / "3DMM").glob("*.mat"),
        *(shared_data / "speeches" / "3DMM").glob("*.mat"),
    ]
    assert files
    for path in files:
        clip = read_deep3d_mat(path)
        assert (
            len(clip) > 10
            and np.abs(clip["angle"]).max() < 1.5
            and np.abs(clip["trans"][:, :2]).max() < 2
        ), path.name
