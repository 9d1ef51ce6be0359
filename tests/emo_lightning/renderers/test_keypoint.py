"""The learned renderer keeps a still portrait, streams, and refuses what it was not trained for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.face.coefficients import BFM, BUILTIN, Coefficients
from emo_lightning.face.portrait import Portrait
from emo_lightning.models.checkpoint_io import export
from emo_lightning.models.renderer.face_renderer import FaceRenderer, RendererConfig
from emo_lightning.renderers import base, registry

SIZES = {
    "image_size": 32,
    "keypoints": 5,
    "depth": 2,
    "channels": 4,
    "width": 8,
    "max_width": 16,
    "levels": 2,
    "mapping_width": 16,
}


def coefficients(frames: int, layout: object = BUILTIN) -> Coefficients:
    rng = np.random.default_rng(0)
    return Coefficients(
        layout,
        {
            b: 0.2 * rng.standard_normal((frames, layout.width(b))).astype(np.float32)
            for b in layout.blocks
        },
    )


def chunks(whole: Coefficients, sizes: list[int]) -> Iterator[Coefficients]:
    start = 0
    for size in sizes:
        yield whole.frames(slice(start, start + size))
        start += size


def portrait(layout: object = BUILTIN) -> Portrait:
    x = np.linspace(0, 255, 48)
    image = np.stack(np.broadcast_arrays(x[None], x[:, None], 128.0), -1).astype(np.uint8)
    return Portrait(image, np.zeros((478, 3), np.float32), coefficients(1, layout))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("weights")
    config = RendererConfig(**SIZES)
    meta = {
        "stage": 3,
        "product": "renderer",
        "model": SIZES,
        "layout": BUILTIN.to_dict(),
        "predecessor": None,
    }
    export(place / "renderer.safetensors", FaceRenderer(config, BUILTIN), meta, half=True)
    return place


def test_pieces_give_exactly_the_whole(folder: Path) -> None:
    renderer = registry.create("keypoint", folder=folder)
    source, moving = renderer.prepare(portrait()), coefficients(19)
    whole = np.stack(list(base.stream(renderer, source, [moving])))
    assert whole.shape == (19, 48, 48, 3) and whole.dtype == np.uint8
    assert np.abs(whole[0].astype(int) - whole[1]).max() > 0
    for sizes in ([1] * 19, [3, 0, 5, 11], [18, 1]):
        assert np.array_equal(
            whole, np.stack(list(base.stream(renderer, source, chunks(moving, sizes))))
        )


def test_a_frame_sees_thirteen_frames_either_side_of_it(folder: Path) -> None:
    renderer = registry.create("keypoint", folder=folder)
    source, moving = renderer.prepare(portrait()), coefficients(40)
    exp = moving["exp"].copy()
    exp[20] += 20.0
    before, after = (
        np.stack(list(base.stream(renderer, source, [c])))
        for c in (moving, moving.replace(exp=exp))
    )
    changed = np.abs(before.astype(int) - after).max(axis=(1, 2, 3)) > 0
    assert changed[20] and changed[:20].any() and changed[21:].any()
    assert not changed[:7].any() and not changed[34:].any()


def test_the_window_is_the_one_of_training(folder: Path) -> None:
    renderer = registry.create("keypoint", folder=folder)
    source, moving = renderer.prepare(portrait()), coefficients(30)
    drawn = list(base.stream(renderer, source, [moving]))
    rows = moving.joined()
    for t in (0, 5, 13, 29):
        window = rows[np.clip(np.arange(t - 13, t + 14), 0, 29)]
        with torch.no_grad():
            image = renderer.network.render(source, torch.from_numpy(window)[None]).image[0]
        assert np.abs(drawn[t] - 255 * image.permute(1, 2, 0).numpy()).max() < 1.0


def test_one_frame_and_none(folder: Path) -> None:
    renderer = registry.create("keypoint", folder=folder)
    source, moving = renderer.prepare(portrait()), coefficients(1)
    assert len(list(base.stream(renderer, source, [moving]))) == 1
    assert list(base.stream(renderer, source, [])) == []
    assert list(base.stream(renderer, source, [moving.frames(slice(0, 0))])) == []


def test_own_coefficients_leave_the_warp_still(folder: Path) -> None:
    renderer = registry.create("keypoint", folder=folder)
    source = renderer.prepare(portrait())
    window = torch.from_numpy(portrait().coefficients.joined())[:, None].expand(-1, 27, -1)
    with torch.no_grad():
        out = renderer.network.render(source, window)
    assert torch.allclose(out.keypoints, source.keypoints, atol=1e-5)
    middle = out.flow.grid[0, 0, 4, 4, :2]
    assert torch.allclose(middle, torch.tensor([0.125, 0.125]), atol=1e-4)


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="layout"):
        registry.create("keypoint", folder=folder).prepare(portrait(BFM))
    renderer = registry.create("keypoint", folder=folder)
    source = renderer.prepare(portrait())
    with pytest.raises(MismatchError, match="layout"):
        list(base.stream(renderer, source, [coefficients(2, BFM)]))
    with pytest.raises(ValueError, match="at least 27"):
        list(renderer.render(source, coefficients(26)))
    with pytest.raises(UserError, match="is not a file"):
        registry.create("keypoint", folder=tmp_path)
    (tmp_path / "renderer.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="cannot be read"):
        registry.create("keypoint", folder=tmp_path)
