"""Mesh keypoints move with the coefficients before training; a still face stays, lids never
cross."""

from __future__ import annotations

import pytest
import torch

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, EXP_NAMES, Coefficients
from emo_lightning.face.keypoint_vertices import anchor_table
from emo_lightning.face.regions import BROWS, EYELIDS, LIPS
from emo_lightning.models.renderer.face_renderer import FaceRenderer, RendererConfig
from emo_lightning.models.renderer.generator import warp_image
from emo_lightning.models.renderer.mapping_net import WINDOW, KeypointMotion, still_window
from emo_lightning.models.renderer.mesh_keypoints import MeshKeypoints

SIZES = {
    "image_size": 32,
    "keypoints": 3,
    "depth": 2,
    "channels": 4,
    "width": 8,
    "max_width": 16,
    "levels": 2,
    "mapping_width": 16,
}
ANCHORS = len(LIPS) + len(EYELIDS) + len(BROWS) + 12


def face(**exp: float) -> torch.Tensor:
    """Coefficients ``(1, C)`` of a mean face in the middle of the picture."""
    values = torch.zeros(1, BUILTIN.size)
    values[:, BUILTIN.slice("trans")] = torch.tensor([0.0, -0.1, -0.6])
    for name, value in exp.items():
        values[:, BUILTIN.slice("exp").start + EXP_NAMES.index(name)] = value
    return values


def motion(coefficients: torch.Tensor) -> KeypointMotion:
    return KeypointMotion(
        coefficients[:, BUILTIN.slice("angle")],
        coefficients[:, BUILTIN.slice("trans")],
        torch.zeros(1, 0, 3),
        None,
    )


def filled_mesh() -> MeshKeypoints:
    mesh = MeshKeypoints(ANCHORS, BUILTIN)
    mesh.load_face_model([torch.from_numpy(part) for part in anchor_table(ANCHORS).arrays()])
    return mesh


@pytest.fixture(scope="module")
def net() -> FaceRenderer:
    torch.manual_seed(0)
    renderer = FaceRenderer(
        RendererConfig(**SIZES, mesh_keypoints=ANCHORS, flow_resolution=16, output_scale=2), BUILTIN
    ).eval()
    assert renderer.mesh is not None
    renderer.mesh.load_face_model(
        [torch.from_numpy(part) for part in anchor_table(ANCHORS).arrays()]
    )
    return renderer


def test_anchors_are_vertices_of_the_face_model() -> None:
    c = face(jaw=0.5, AU12_L=0.3)
    c[:, BUILTIN.slice("angle")] = torch.tensor([0.1, -0.2, 0.05])
    points = filled_mesh().posed_points(c, motion(c))[0]
    blocks = {name: c[:, BUILTIN.slice(name)].numpy() for name in BUILTIN.blocks}
    vertices = torch.from_numpy(BuiltinFaceModel.load().project(Coefficients(BUILTIN, blocks))[0])
    assert torch.cdist(points, vertices).amin(dim=1).max() < 1e-3


def test_lids_that_close_too_far_meet() -> None:
    mesh = filled_mesh()
    upper, lower = mesh.pairs.unbind(1)
    shut = face(AU45_L=2.0, AU45_R=2.0)
    points = mesh.posed_points(shut, motion(shut))[0]
    gaps = points[lower, 1] - points[upper, 1]
    assert gaps.min() > -1e-6 and gaps[:14].max() < 1e-6
    wide = face(AU45_L=1.0, AU45_R=1.0)
    wide[:, 0:40] = 2.0 * torch.sign(
        mesh.basis[:40, lower[:14], 1] - mesh.basis[:40, upper[:14], 1]
    ).mean(dim=1)
    assert (
        mesh.posed_points(wide, motion(wide))[0, lower[:14], 1]
        - mesh.posed_points(wide, motion(wide))[0, upper[:14], 1]
    ).max() < 0.02
    with pytest.raises(ValueError, match="anchors"):
        anchor_table(10)


def test_own_coefficients_reproduce_the_image(net: FaceRenderer) -> None:
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        source, made = net(image, still_window(face()), still_window(face()))
    assert torch.allclose(warp_image(image, made.flow), image, atol=2e-3)
    assert torch.allclose(made.mesh_points, source.mesh_points)
    assert made.image.shape == image.shape and net.output_size == 64


def test_the_background_is_unchanged(net: FaceRenderer) -> None:
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        made = net(image, still_window(face()), still_window(face(jaw=0.8)))[1]
    assert (
        (made.image - image)[..., :3, :3].abs().max() < 1e-3 < made.paint[:, :, 28:36, 28:36].max()
    )


def test_the_untrained_mesh_moves_the_lips_as_the_model_says(net: FaceRenderer) -> None:
    chin = torch.zeros(1, 3, 64, 64)
    y = torch.linspace(0, 1, 64)
    chin[:] = y[:, None]
    with torch.no_grad():
        source = net.prepare(chin, still_window(face()))
        lower = source.mesh_points[0, source.mesh_points[0, :, 1].argmax(), :2]
        made = net.render(source, still_window(face(jaw=1.0)))
    moved = made.mesh_points[0, source.mesh_points[0, :, 1].argmax(), :2]
    assert moved[1] > lower[1] + 0.02
    cell = ((moved + 1) / 2 * 16).long()
    assert abs(float(made.flow.surface[0, 1, cell[1], cell[0]] - lower[1])) < 0.08, (
        "what lies there came from the chin's old place"
    )


def test_a_batch_of_frames_equals_single_frames(net: FaceRenderer) -> None:
    torch.manual_seed(1)
    windows = torch.cat([still_window(face(jaw=v)) for v in (0.0, 0.4, 0.8)]) + 0.01 * torch.randn(
        3, WINDOW, 1
    )
    with torch.no_grad():
        source = net.prepare(torch.rand(1, 3, 96, 96), still_window(face()))
        whole = net.render(source, windows).image
        single = torch.cat([net.render(source, window[None]).image for window in windows])
    assert whole.shape == (3, 3, 96, 96) and torch.allclose(whole, single, atol=1e-3)
