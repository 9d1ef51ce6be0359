"""What a run may be told, and what it answers when told wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from emo_lightning.core.errors import UserError
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
