"""The refined renderer: identity before training, the face alone, streams, weights, training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datamodules.loading.image_augmentation import MIRROR, ImageAugmentation
from datamodules.loading.refiner_datamodule import RefinedShards, aligned
from datamodules.shards.schema import Sample, SampleMeta
from datamodules.shards.writer import ShardWriter
from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, EXP_NAMES, Coefficients, read_aus
from emo_lightning.face.portrait import Portrait
from emo_lightning.media.video_writer import encode_mp4_bytes
from emo_lightning.models.checkpoint_io import export, load_refiner, read_network
from emo_lightning.models.renderer import refiner as network
from emo_lightning.renderers import base, registry
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.refined import conditioning, renderer
from emo_lightning.training import train
from emo_lightning.training.base import Noise, TrainingContext
from emo_lightning.training.config import OptimConfig, load_config
from emo_lightning.training.refiner import (
    RefinerLoss,
    RefinerModel,
    RefinerModule,
    RefinerRecipe,
    RefinerRun,
)

CONFIG = network.RefinerConfig(width=8, blocks=1, features=4, code=16)
SIZE = 128


def coefficients(frames: int, seed: int = 0) -> Coefficients:
    """A head that turns a little, speaks and blinks."""
    rng, time = np.random.default_rng(seed), np.arange(frames)[:, None] / 25.0
    exp = np.zeros((frames, len(EXP_NAMES)))
    exp[:, [EXP_NAMES.index(n) for n in ("AU26", "AU45_L", "AU45_R")]] = 0.4 - 0.4 * np.cos(
        2 * np.pi * rng.uniform(0.8, 2.0, 3) * time
    )
    exp[:, [EXP_NAMES.index(n) for n in ("AU45_L", "AU45_R")]] *= time > 0
    angle, trans = (
        0.08 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8, 3) * time),
        np.tile([0.0, 0.0, np.log(0.55)], (frames, 1)),
    )
    blocks = {
        "id": np.zeros((frames, 40)),
        "exp": exp,
        "tex": np.zeros((frames, 24)),
        "angle": angle,
        "trans": trans,
    }
    return Coefficients(BUILTIN, {name: value.astype(np.float32) for name, value in blocks.items()})


def portrait(size: int = SIZE) -> Portrait:
    """The mean face, painted with blobs."""
    model, own = BuiltinFaceModel.load(), coefficients(1)
    points = model.project(own)[0]
    points = np.concatenate([points, np.repeat(points[[159, 386]], 5, axis=0)])
    row, column = np.mgrid[:size, :size] / size
    image = np.stack(
        [
            150 + 60 * np.sin(9 * column + 5 * row),
            120 + 50 * np.cos(11 * row),
            100 + 40 * np.sin(17 * column * row),
        ],
        -1,
    )
    return Portrait(image.astype(np.uint8), points.astype(np.float32), own)


def weights(folder: Path, trained: bool) -> Path:
    torch.manual_seed(0)
    net = network.Refiner(CONFIG, BUILTIN)
    if trained:
        torch.nn.init.normal_(net.out.weight, std=0.3)
    meta = {
        "stage": 3,
        "product": "refiner",
        "model": vars(CONFIG),
        "layout": BUILTIN.to_dict(),
        "predecessor": None,
    }
    folder.mkdir(exist_ok=True)
    export(folder / "refiner.safetensors", net, meta, half=True)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips by the geometric renderer, which then blush as they open their mouths."""
    out, mesh, face = (
        tmp_path_factory.mktemp("refined") / "set",
        registry.create("mesh"),
        portrait(),
    )
    source, model = mesh.prepare(face), BuiltinFaceModel.load()
    with ShardWriter(out) as writer:
        for number, split in enumerate(("train", "train", "val")):
            moving = coefficients(30, number)
            blush = (
                120
                * moving["exp"][:, EXP_NAMES.index("AU26"), None, None, None]
                * np.array([1, 0, 0])
            )
            frames = [
                np.clip(f + b, 0, 255).astype(np.uint8)
                for f, b in zip(mesh.render(source, moving), blush, strict=True)
            ]
            points = model.project(moving)
            points = np.concatenate([points, points[:, [159] * 5 + [386] * 5]], axis=1).astype(
                np.float32
            )
            meta = SampleMeta("made", f"s{number}", 30, BUILTIN.to_dict(), split)
            wave = np.zeros(30 * 640, np.float32)
            writer.add(
                Sample(
                    f"made-{number}",
                    meta,
                    wave,
                    moving,
                    read_aus(moving["exp"]),
                    points,
                    encode_mp4_bytes(frames),
                )
            )
        writer.finish()
    return out


def test_untrained_it_is_the_geometric_renderer(tmp_path: Path) -> None:
    mesh, refined = (
        registry.create("mesh"),
        registry.create("refined", weights(tmp_path, trained=False)),
    )
    for size in (SIZE, 320):
        face, moving = portrait(size), coefficients(6)
        pairs = zip(
            mesh.render(mesh.prepare(face), moving),
            refined.render(refined.prepare(face), moving),
            strict=True,
        )
        assert all(np.array_equal(*pair) for pair in pairs)


def test_only_the_face_changes_and_detail_of_large_frames_stays(tmp_path: Path) -> None:
    mesh, refined = (
        registry.create("mesh"),
        registry.create("refined", weights(tmp_path, trained=True)),
    )
    face, moving = portrait(400), coefficients(3)
    source = refined.prepare(face)
    assert source.side == 200
    drawn = list(mesh.render(mesh.prepare(face), moving))
    change = np.abs(
        np.stack(list(refined.render(source, moving))).astype(int) - np.stack(drawn)
    ).max(axis=(0, 3))
    oval = ((face.points[topology.OVAL, :2] + 1) * 200).astype(int)
    inside = np.zeros((400, 400), np.uint8)
    cv2.fillPoly(inside, [oval], 1)
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    assert change[inside > 0].max() > 10 and change[away > 0.55 * 200 * 0.3].max() == 0


@pytest.mark.parametrize("fine", [True, False])
def test_the_inside_of_the_mouth_can_be_left_alone(fine: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    still, moving = torch.rand(1, 6, 32, 32, generator=draw), torch.zeros(1, 6, 16, 16)
    moving[:, 0, 4:8, 4:12] = 1.0
    flow = torch.rand(1, 16, 16, 2, generator=draw) - 0.5
    for inside in (True, False):
        net = network.Refiner(network.RefinerConfig(8, 1, 4, 16, inside, fine), BUILTIN)
        torch.nn.init.normal_(net.out.weight, std=0.3)
        made = net(
            torch.rand(1, 3, 32, 32, generator=draw),
            net.prepare(still),
            flow,
            moving,
            torch.zeros(1, 59),
        )
        assert made.image.shape == (1, 3, 32, 32) and made.mask.max() > 0
        assert bool(made.mask[..., 8:16, 8:24].max() == 0) is not inside


def test_pieces_give_exactly_the_whole(tmp_path: Path) -> None:
    refined, moving = registry.create("refined", weights(tmp_path, trained=True)), coefficients(11)
    source = refined.prepare(portrait())
    whole = list(base.stream(refined, source, [moving]))
    parts = list(
        base.stream(
            refined,
            source,
            [moving.frames(slice(a, b)) for a, b in ((0, 1), (1, 1), (1, 8), (8, 11))],
        )
    )
    assert np.array_equal(np.stack(whole), np.stack(parts))


def test_planes_are_what_the_network_expects() -> None:
    mesh, face = registry.create("mesh"), portrait()
    source, moving = mesh.prepare(face), coefficients(3)
    still = conditioning.portrait_planes(source, mesh.model.triangles, SIZE)
    drawn = conditioning.frame_inputs(
        source,
        SIZE,
        source.retarget.vertices(moving["exp"][2]),
        conditioning.Pose.of(moving, 2),
        moving["exp"][2],
        whole=True,
    )
    assert still.shape == (network.STILL, 64, 64) and drawn.moving.shape == (network.MOVING, 64, 64)
    assert drawn.condition.shape == (network.condition_size(BUILTIN),) and (
        conditioning.CELL,
        conditioning.SNAP,
    ) == (network.CELL, network.STRIDE)
    at = ((face.points[1, :2] + 1) * 32).astype(int)
    assert (
        np.allclose(still[3:5, at[1], at[0]], mesh.model.mean[1, :2], atol=0.05)
        and still[network.FACE, at[1], at[0]] == 1
    )
    rest = conditioning.frame_inputs(
        source, SIZE, source.retarget.rest, source.pose, face.coefficients["exp"][0], whole=True
    )
    centre = (np.arange(64) + 0.5) / 32 - 1
    assert (
        np.abs(rest.flow[..., 0] - centre[None]).max() < 0.02
        and np.abs(rest.moving[3:]).max() < 0.2
    )


def test_training_validates_exports_and_says_what_it_is(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = Path(__file__).parents[3] / "experiments" / "stage3_refined.yaml"
    words = [
        str(experiment),
        "size=debug",
        f"data={shards}",
        f"out={tmp_path}",
        "trainer.max_steps=6",
        "trainer.val_every=3",
    ]
    words += [
        "recipe.backbone=pyramid",
        "loss.gan=0.1",
        "recipe.gan_start=3",
        "loss.feature_matching=1",
        "wandb.mode=disabled",
    ]
    assert isinstance(load_config(words[0], words[1:]), RefinerRun)
    train.train(load_config(words[0], words[1:]))
    names = [line.split(",")[1] for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    assert names.count("val/psnr_face") == 2 and "train/gan" in names
    read = read_network(tmp_path / "refiner.safetensors", "refiner", "--checkpoint-dir")
    assert (
        read.meta["model"]["width"] == 8
        and read.meta["perceptual"] == "pyramid"
        and load_refiner(read).config.features == 4
    )
    assert "left out" not in capsys.readouterr().out


def test_training_learns(shards: Path) -> None:
    data = RefinedShards(str(shards), crop=64, batch_size=3, epoch_batches=1, sources=1)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["frame"].dtype == batch["target"].dtype == torch.uint8
    torch.manual_seed(0)
    stage = RefinerModule(
        RefinerModel(8, 1, 4, 16),
        RefinerLoss(),
        RefinerRecipe(),
        OptimConfig(),
        TrainingContext(BUILTIN),
    )
    batch = stage.on_after_batch_transfer(batch, 0)
    optimizer, losses = torch.optim.Adam(stage.refiner.parameters(), 4e-3), []
    for _ in range(25):
        total = stage.total(stage.losses(batch, Noise(stage.device, 0))[0])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.8 * losses[0]


def test_batches_are_the_same_again_and_go_on_where_they_stopped(shards: Path) -> None:
    def batches(start: int) -> list[dict]:
        data = RefinedShards(str(shards), crop=64, batch_size=2, epoch_batches=3, sources=2)
        data.setup()
        loader = data.train_dataloader()
        loader.load_state_dict({**loader.state_dict(), "batch": start})
        return list(loader)

    first, again, late = batches(0), batches(0), batches(2)
    assert len(first) == 3 and len(late) == 1
    for name in ("still", "frame", "target", "flow", "moving", "condition"):
        assert torch.equal(first[2][name], again[2][name]) and torch.equal(
            first[2][name], late[0][name]
        )


def test_small_frames_are_enlarged_to_the_crop(shards: Path) -> None:
    # Frames of 128 pixels, and augmentation that shrinks them: the crop lies in a larger picture.
    data = RefinedShards(str(shards), crop=144, batch_size=4, epoch_batches=4)
    data.setup()
    for batch in data.train_dataloader():
        assert batch["frame"].shape == batch["target"].shape == (4, 3, 144, 144)
        assert batch["flow"].shape == (4, 72, 72, 2) and batch["moving"].shape == (4, 6, 72, 72)
        # Enlarged, not padded with black.
        assert batch["target"][..., -1, :].float().mean() > 20
    for batch in data.val_dataloader():
        assert batch["frame"].shape[2:] == batch["target"].shape[2:] == (216, 216)


def test_a_mirrored_row_twice_is_the_row() -> None:
    rng = np.random.default_rng(0)
    row = {name: rng.integers(0, 256, (3, 8, 8), np.uint8) for name in ("frame", "target")}
    row |= {
        "still": rng.random((6, 8, 8)),
        "moving": rng.random((6, 4, 4)),
        "flow": rng.random((4, 4, 2)),
        "condition": rng.random(59),
    }
    plain = ImageAugmentation(True, 1.0, np.ones(3), np.ones(3), np.eye(3), 1.0, 0.0, (0.0, 0))
    once, twice = plain(row), plain(plain(row))
    assert all(np.allclose(twice[name], row[name], atol=1e-6) for name in row)
    left, right = EXP_NAMES.index("AU12_L"), EXP_NAMES.index("AU12_R")
    assert once["condition"][left] == row["condition"][right] and np.array_equal(
        MIRROR[MIRROR], np.arange(len(EXP_NAMES))
    )


def test_a_true_frame_that_lies_beside_the_drawn_one_is_moved_onto_it() -> None:
    image = portrait(256).image
    beside = np.roll(image, 3, axis=1)
    moved = aligned(beside, image, np.zeros((128, 128), np.float32), 70.0)
    middle = np.s_[40:216, 40:216]
    errors = [np.abs(one[middle].astype(int) - image[middle]).mean() for one in (beside, moved)]
    assert errors[1] < 0.3 * errors[0]


def test_weights_come_from_the_folder_else_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, own = weights(tmp_path / "shipped", trained=False), tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(renderer, "SHIPPED", shipped)
    assert registry.create("refined", own).files == (shipped / "refiner.safetensors",)
    assert registry.create("refined").files == (shipped / "refiner.safetensors",)
    assert registry.create("refined", weights(own, trained=True)).files == (
        own / "refiner.safetensors",
    )
    (own / "refiner.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="cannot be read"):
        registry.create("refined", own)
    monkeypatch.setattr(renderer, "SHIPPED", tmp_path)
    with pytest.raises(UserError, match="refiner"):
        registry.create("refined")
