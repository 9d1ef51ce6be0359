"""A head that moves in its whole picture: no seam, the rest still, whatever the picture's shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from emo_lightning.core.errors import UserError
from emo_lightning.face.full_frame import CropPlacement, load_full_frame
from emo_lightning.renderers.mesh.renderer import MeshRenderer


def saved(folder: Path, picture: np.ndarray) -> Path:
    path = folder / "picture.png"
    Image.fromarray(picture).save(path)
    return path


def moved(
    stage: CropPlacement,
    renderer: MeshRenderer,
    angle: tuple[float, float, float],
    head: bool = True,
) -> np.ndarray:
    """The picture with the head turned by degrees."""
    own = stage.portrait.coefficients
    turned = own.replace(angle=own["angle"] + np.radians(np.array(angle, np.float32)))
    return stage.put(next(iter(renderer.render(renderer.prepare(stage.portrait), turned))))


@pytest.mark.parametrize(
    "cut", [np.s_[:, :], np.s_[:301, 95:340], np.s_[:231, :]], ids=["square", "tall", "wide"]
)
@pytest.mark.parametrize("margin", [1.0, 1.5])
def test_nothing_changes_until_the_head_moves_and_then_only_around_it(
    tmp_path: Path, cut: tuple[slice, slice], margin: float
) -> None:
    picture = data.astronaut()[cut]
    scene, renderer = load_full_frame(saved(tmp_path, picture), 1024), MeshRenderer()
    stage = scene.stage(margin)
    assert stage.size == (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)
    still = moved(stage, renderer, (0, 0, 0))
    assert np.abs(still.astype(int) - scene.picture).max() <= 1
    turned = moved(stage, renderer, (5, 10, 4))
    change = np.abs(turned.astype(float) - scene.picture).mean(axis=2)
    (left, top), side = stage.corner, stage.portrait.size
    outside = np.ones(change.shape, bool)
    outside[max(top, 0) : top + side, max(left, 0) : left + side] = False
    assert change[outside].max(initial=0.0) == 0.0
    nose = scene.points[1, :2].astype(int)
    assert change[nose[1] - 20 : nose[1] + 20, nose[0] - 20 : nose[0] + 20].mean() > 5.0


def test_a_seam_would_show_as_a_step_at_the_square_s_side(tmp_path: Path) -> None:
    scene, renderer = load_full_frame(saved(tmp_path, data.astronaut()), 512), MeshRenderer()
    stage = scene.stage(1.5)
    turned = moved(stage, renderer, (6, 12, 6)).astype(int)
    (left, top), side = stage.corner, stage.portrait.size
    for at in (left, left + side):
        before, after = (
            picture[max(top, 0) : top + side, at] - picture[max(top, 0) : top + side, at - 1]
            for picture in (scene.picture.astype(int), turned)
        )
        assert np.abs(after - before).max() <= 6


def test_shoulders_follow_a_little(tmp_path: Path) -> None:
    scene, renderer = load_full_frame(saved(tmp_path, data.astronaut()), 512), MeshRenderer()
    stage = scene.stage(1.5)
    own = stage.portrait.coefficients
    aside = own.replace(trans=own["trans"] + np.array([0.05, 0.0, 0.0], np.float32))
    out = stage.put(next(iter(renderer.render(renderer.prepare(stage.portrait), aside))))
    chin = scene.points[152, :2].astype(int)
    eyes = np.linalg.norm(scene.points[33, :2] - scene.points[263, :2])
    row = int(chin[1] + 0.7 * eyes)
    change = np.abs(out[row : row + 10].astype(float) - scene.picture[row : row + 10]).mean()
    assert change > 0.5


def test_a_picture_is_brought_down_to_the_size_asked_for_and_never_up(tmp_path: Path) -> None:
    path = saved(tmp_path, data.astronaut()[:, 50:])
    assert load_full_frame(path, 300).stage(1.0).size == (270, 300)
    assert load_full_frame(path, 1024).stage(1.0).size == (462, 512)
    with pytest.raises(UserError, match="--size"):
        load_full_frame(path, 128)
