"""Finding faces in real pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from emo_lightning.core.errors import UserError
from emo_lightning.face import landmarks
from emo_lightning.face.crop import CropBox, crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import LANDMARKS_68, open_landmarker, to_68


@pytest.fixture(scope="module")
def landmarker():
    backend = open_landmarker()
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return data.astronaut()


def test_one_face_with_478_points_and_blendshapes(landmarker, astronaut) -> None:
    (face,) = landmarker.detect(astronaut)
    assert face.points.shape == (478, 3) and face.points.dtype == np.float32
    assert (
        face.blendshapes is not None
        and face.blendshapes.shape == (52,)
        and 0 <= face.blendshapes.min()
    )
    left, top, right, bottom = face.box
    assert 150 < left < right < 300 and 50 < top < bottom < 220
    assert (
        face.points[33, 0] < face.points[263, 0]
    )  # the subject's right eye is on the image's left
    assert face.points[4, 2] < face.points[234, 2]  # the nose is nearer than the ear


def test_the_same_picture_gives_the_same_points(landmarker, astronaut) -> None:
    first = landmarker.detect(astronaut)[0].points
    landmarker.detect(np.ascontiguousarray(astronaut[:, ::-1]))
    np.testing.assert_array_equal(first, landmarker.detect(astronaut)[0].points)


def test_results_read_at_once_are_the_library_s_own(landmarker, astronaut) -> None:
    image = landmarker._mediapipe.Image(
        image_format=landmarker._mediapipe.ImageFormat.SRGB, data=astronaut
    )
    ((points, shapes),) = landmarks._results(landmarker._landmarker, image)
    ((fast_points, fast_shapes),) = landmarks._result_reader(landmarker._landmarker)(
        landmarker._landmarker, image
    )
    np.testing.assert_array_equal(points, fast_points)
    np.testing.assert_array_equal(shapes, fast_shapes)
    assert landmarks._result_reader(object()) is landmarks._results


@pytest.mark.parametrize("size", [40, 96])
def test_small_pictures(landmarker, astronaut, size: int) -> None:
    full = landmarker.detect(astronaut)[0].points
    box = crop_box(full)
    small = landmarker.detect(crop_image(astronaut, box, size))[0].points
    error = np.abs(to_crop(small, CropBox(size / 2, size / 2, size / 2)) - to_crop(full, box))[
        :, :2
    ]
    assert error.mean() < 0.05


def test_a_face_that_fills_the_picture_and_one_in_a_large_one(landmarker, astronaut) -> None:
    full = landmarker.detect(astronaut)[0]
    left, top, right, bottom = full.box.round().astype(int)
    close = landmarker.detect(astronaut[top:bottom, left:right])[0].points[:, :2] + [left, top]
    assert np.abs(close - full.points[:, :2]).mean() < 0.03 * (right - left)
    large = landmarker.detect(cv2.resize(astronaut, (4096, 4096)))[0].points / 8
    assert np.abs(large - full.points)[:, :2].mean() < 0.02 * (right - left)


def test_faces_come_largest_first_and_no_face_is_an_empty_list(landmarker, astronaut) -> None:
    both = np.zeros((300, 500, 3), np.uint8)
    both[:200, :200], both[:, 200:] = (
        cv2.resize(astronaut[:300, 70:370], (200, 200)),
        astronaut[:300, 70:370],
    )
    faces = landmarker.detect(both)
    assert len(faces) == 2 and np.ptp(faces[0].points[:, 0]) > np.ptp(faces[1].points[:, 0])
    assert landmarker.detect(np.zeros((300, 300, 3), np.uint8)) == []
    with pytest.raises(ValueError, match="uint8"):
        landmarker.detect(np.zeros((10, 10), np.float32))


def test_the_68_are_symmetric_and_stand_where_ibug_has_them() -> None:
    points = to_68(np.arange(478 * 3, dtype=float).reshape(478, 3))
    assert points.shape == (68, 3) and len(set(LANDMARKS_68)) == 68
    assert list(LANDMARKS_68[[8, 27, 36, 45, 48, 54, 62, 66]]) == [
        152,
        168,
        33,
        263,
        61,
        291,
        13,
        14,
    ]


def test_unknown_and_missing_back_ends_say_what_to_do() -> None:
    with pytest.raises(UserError, match="mediapipe, face-alignment"):
        open_landmarker("dlib")


def save_heat_maps(path: Path, cells: np.ndarray) -> None:
    """A TorchScript network as face-alignment has them, whose 68 peaks are at ``(68, 2)`` cells of 64."""
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1)[None]
    heat = np.exp(-0.5 * ((grid - cells[:, None, None]) ** 2).sum(-1))

    class HeatMaps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heat = torch.nn.Parameter(torch.from_numpy(heat.astype(np.float32))[None])

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.shape[1:] == (3, 256, 256) and images.max() <= 1.0
            return self.heat * images.amax((1, 2, 3), True)

    torch.jit.script(HeatMaps()).save(str(path))


def fan_cells(face: landmarks.Face) -> np.ndarray:
    """Where a face's own 68 points are in the crop that face-alignment makes of its box."""
    (left, top), (right, bottom) = face.box[:2], face.box[2:]
    centre = np.array([(left + right) / 2, (top + bottom) / 2 - 0.12 * (bottom - top)])
    side = 200 * (right - left + bottom - top) / 195
    return (to_68(face.points)[:, :2] - centre) / side * 64 + 32


def test_face_alignment_gives_68_points_that_move_with_the_face(tmp_path, landmarker, astronaut):
    (face,) = landmarker.detect(astronaut)
    save_heat_maps(tmp_path / "net.pt", fan_cells(face))
    backend = open_landmarker("face-alignment", model=tmp_path / "net.pt")
    for shift in ((0, 0), (60, 120)):
        moved = np.roll(astronaut, shift[::-1], (0, 1))
        (found,) = backend.detect(moved)
        assert found.points.shape == (68, 3) and found.blendshapes is None
        error = np.linalg.norm(found.points[:, :2] - shift - to_68(face.points)[:, :2], axis=1)
        assert error.mean() < 0.02 * np.ptp(face.points[:, 0]), error
    assert backend.detect(np.zeros((300, 300, 3), np.uint8)) == []
    backend.close()


def test_face_alignment_refuses_another_file(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"no network")
    with pytest.raises(UserError, match="--landmark-model .*net.pt' cannot be loaded"):
        open_landmarker("face-alignment", model=tmp_path / "net.pt")


def test_nothing_reaches_stderr_even_at_exit() -> None:
    code = (
        "from skimage import data; from emo_lightning.face.landmarks import open_landmarker;"
        "keep = open_landmarker(); print(len(keep.detect(data.astronaut())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")


def test_survives_who_restores_signal_handlers() -> None:
    """The library's profiling timers must not end a process in which a trainer put Python's handlers back."""
    code = """
import signal
from skimage import data
from emo_lightning.face.landmarks import open_landmarker
landmarker = open_landmarker()
signal.signal(signal.SIGPROF, signal.getsignal(signal.SIGPROF))
for _ in range(40):
    landmarker.detect(data.astronaut())
landmarker.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
