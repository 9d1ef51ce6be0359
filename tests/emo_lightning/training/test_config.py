"""What a run may be told, and what it answers when told wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from emo_lightning.core.errors import UserError
from emo_lightning.training.callbacks import library_callbacks
from emo_lightning.training.config import load_config, to_plain
from emo_lightning.training.motion import Stage2Run

GIVEN = {1: ["data=d"], 2: ["data=d", "decoupler=x.ckpt"], 3: ["data=d"]}


@pytest.fixture(scope="module")
def experiments(repository: Path) -> Path:
    return repository / "experiments"


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("size", ["debug", "cpu", "paper"])
def test_every_stage_has_every_size(experiments: Path, stage: int, size: str) -> None:
    config = load_config(experiments / f"stage{stage}.yaml", [*GIVEN[stage], f"size={size}"])
    assert (config.stage, config.size) == (stage, size)


def test_later_wins_and_types_are_kept(experiments: Path) -> None:
    words = [
        "data=d",
        "decoupler=x",
        "model.lr=1e-4",
        "trainer.max_steps=200",
        "size=debug",
        "wandb.name=null",
        "data=e",
    ]
    config = load_config(experiments / "stage2.yaml", words)
    assert isinstance(config, Stage2Run)
    assert (config.model.lr, config.trainer.max_steps, config.data, config.wandb.name) == (
        1e-4,
        200,
        "e",
        None,
    )
    assert config.model.exp_width == 32, "the size's value stays where no override speaks"
    assert yaml.safe_load(yaml.safe_dump(to_plain(config)))["model"]["lr"] == 1e-4


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.lrr=1", "did you mean model.lr"),
        ("lr=1", "did you mean model.lr"),
        ("trainer.maxsteps=1", "did you mean trainer.max_steps"),
        ("zzz=1", "is not known"),
        ("model.lr=fast", "model.lr 'fast' .*wrong type; accepted: a number"),
        ("trainer.max_steps=1.5", "trainer.max_steps '1.5' .*accepted: a whole number"),
        ("trainer.max_steps=0", "1 or more"),
        ("model.lr=-1", "above 0"),
        ("model=3", "is not known"),
        ("heads=None", "null"),
        ("size=huge", "debug, cpu, paper"),
        ("wandb.mode=sometimes", "offline, online, disabled"),
        ("data=null", "accepted: text"),
        ("data=???", "is not set"),
        ("nonsense", "key=value"),
        ("seed=-1", "0 to 4294967295"),
    ],
)
def test_mistakes_are_named(experiments: Path, word: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(experiments / "stage3.yaml", ["data=d", word])
    assert "\n" not in str(caught.value)


def test_missing_values_are_named(experiments: Path) -> None:
    with pytest.raises(UserError, match="decoupler '\\?\\?\\?' is not set"):
        load_config(experiments / "stage2.yaml", ["data=d"])


@pytest.mark.parametrize(
    "text",
    [
        "stage: 9",
        "- 1",
        "stage: 1\nsizes: 3",
        "stage: [",
        "stage: 1\nsizes: {cpu: {}}\nmodel: {wide: 3}",
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        load_config(path, ["data=d", "out=o"])
    with pytest.raises(UserError, match="does not exist"):
        load_config(tmp_path / "none.yaml")


BAD = {
    "stage1": [
        ("model.window=2", "model.window '2' .*more than model.look_ahead, 4"),
        ("model.width=0", "model.width '0' .*1 or more"),
        ("model.content=0", "1 or more"),
        ("model.front_end=mfcc", "mel, whisper"),
        ("loss.contrast=-5", "loss.contrast '-5.0' .*0 or more"),
        ("loss.phone=nan", "0 or more"),
        ("recipe.temperature=-1", "above 0"),
        ("recipe.levels=coarse", "fine, annotated"),
        ("loader.batch_size=1", "2 or more in stages 1 and 2"),
        ("loader.frames=0", "1 to 250"),
        ("seed=4294967296", "0 to 4294967295"),
        ("optim.weight_decay=-1", "0 or more"),
    ],
    "stage2": [
        ("model.pose_window=64", "loader.frames '48' .*at least model.pose_window, 64"),
        ("model.wiring=star", "default, figure"),
        ("model.pose_latent=0", "1 or more"),
    ],
    "stage3": [
        ("model.image_size=100", "a multiple of 16"),
        ("model.keypoints=0", "1 or more"),
        ("model.depth=0", "1 or more"),
        ("model.discriminator_lr=-1", "above 0"),
        ("model.lr=inf", "above 0"),
        ("model.ema_decay=1.5", "0 to 0.99999"),
        ("model.output_scale=2", "1, or set model.mesh_keypoints"),
        ("recipe.crop=1000", "at most the image's side, 32"),
        ("recipe.gan_start=-1", "0 or more"),
        ("trainer.precision=fp8", "32-true, bf16-mixed, 16-mixed"),
        ("trainer.devices=0", "a number from 1"),
        ("trainer.devices=[0,0]", "a list such as"),
        ("trainer.devices=two", "a number from 1"),
        ("trainer.num_nodes=0", "1 or more"),
        ("trainer.strategy=horovod", "auto, ddp"),
        ("trainer.accumulate_grad_batches=0", "1 or more"),
        ("trainer.gradient_clip_val=-1", "0 or more"),
        ("export=worst", "best, last"),
    ],
    "stage3_refined": [("recipe.crop=100", "a multiple of 8"), ("recipe.sources=0", "1 or more")],
}


@pytest.mark.parametrize(
    ("name", "word", "message"),
    [(name, *pair) for name, pairs in BAD.items() for pair in pairs],
    ids=lambda value: str(value)[:30],
)
def test_bad_values_are_one_line(experiments: Path, name: str, word: str, message: str) -> None:
    words = ["data=d", "size=debug", *(["decoupler=x"] if name == "stage2" else []), word]
    with pytest.raises(UserError, match=message) as caught:
        load_config(experiments / f"{name}.yaml", words)
    assert "\n" not in str(caught.value)


def test_callbacks_of_the_library_are_configured_by_name(experiments: Path) -> None:
    words = ["data=d", "callbacks.EarlyStopping.monitor=val/loss", "callbacks.Timer.duration=1"]
    config = load_config(experiments / "stage1.yaml", words)
    found = library_callbacks({"EarlyStopping": config.callbacks["EarlyStopping"]})
    assert [type(callback).__name__ for callback in found] == ["EarlyStopping"]
    assert config.callbacks["Timer"] == {"duration": 1}
    for wrong, message in (
        ({"os": {}}, "callbacks 'os' is not a callback"),
        ({"EarlyStopping": {"moniter": "x"}}, "moniter"),
        ({"Callback_": None}, "is not a callback"),
    ):
        with pytest.raises(UserError, match=message):
            library_callbacks(wrong)
