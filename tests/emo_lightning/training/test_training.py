"""Each stage trains from shards, hands its network on, goes on where it was killed, and refuses
what does not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.inference.weights import load_audio_to_motion
from emo_lightning.models.checkpoint_io import read_network
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.training.config import load_config
from emo_lightning.training.motion import POSE_PARTS
from emo_lightning.training.train import train

QUICK = ["size=debug", "trainer.max_steps=4", "trainer.val_every=2", "wandb.mode=disabled"]


def run(repository: Path, stage: int, *words: object) -> Path:
    return train(
        load_config(repository / "experiments" / f"stage{stage}.yaml", [*QUICK, *map(str, words)])
    )


@pytest.fixture(scope="module")
def chain(
    repository: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The three stages, one after the other, in one folder each."""
    out = tmp_path_factory.mktemp("runs")
    data = f"data={shards}"
    decoupler = run(repository, 1, data, f"out={out}/1")
    heads = run(repository, 2, data, f"out={out}/2", f"decoupler={decoupler}")
    renderer = run(repository, 3, data, f"out={out}/3", f"heads={heads}")
    return {"decoupler": decoupler, "heads": heads, "renderer": renderer}


def test_each_stage_writes_its_network_and_record(chain: dict[str, Path]) -> None:
    for stage, (product, path) in enumerate(chain.items(), start=1):
        network = read_network(path, product, product)
        record = json.loads((path.parent / "run.json").read_text())
        assert path.name == f"{product}.safetensors" and network.meta["stage"] == stage
        assert (
            record["config"]["trainer"]["max_steps"] == 4
            and len(record["provenance"]["data_index_sha256"]) == 64
        )
        rows = (path.parent / "metrics.csv").read_text().splitlines()
        assert any(",train/loss," in row for row in rows) and any(
            row.startswith("3,val/loss,") for row in rows
        )
        assert (path.parent / "best.ckpt").is_file()
    assert record["perceptual"] == "pyramid"


def test_checkpoint_and_export_are_the_same_network(chain: dict[str, Path]) -> None:
    for product in ("decoupler", "heads"):
        path = chain[product]
        assert (
            read_network(path, product, "x").fingerprint
            == read_network(path.parent / "last.ckpt", product, "x").fingerprint
        )
    assert (
        read_network(chain["heads"], "heads", "x").meta["predecessor"]
        == read_network(chain["decoupler"], "decoupler", "x").fingerprint
    )


def test_trained_weights_talk(
    chain: dict[str, Path], portrait: Coefficients, tmp_path: Path
) -> None:
    for product in ("decoupler", "heads"):
        (tmp_path / chain[product].name).write_bytes(chain[product].read_bytes())
    talker = load_audio_to_motion(tmp_path)
    assert (
        sum(
            len(piece)
            for piece in talker.generate(
                [np.zeros((100, 80))], portrait, EmotionTrack.constant("sad", 4)
            )
        )
        == 25
    )


def test_wrong_predecessors_are_refused(
    repository: Path, shards: Path, chain: dict[str, Path], tmp_path: Path
) -> None:
    data, out = f"data={shards}", f"out={tmp_path}/x"
    with pytest.raises(MismatchError, match="is the renderer of stage 3"):
        run(repository, 2, data, out, f"decoupler={chain['renderer']}")
    with pytest.raises(MismatchError, match="is the decoupler of stage 1"):
        run(repository, 3, data, out, f"heads={chain['decoupler'].parent}/last.ckpt")
    with pytest.raises(UserError, match="is not a file"):
        run(repository, 2, data, out, "decoupler=nowhere.ckpt")
    evil = tmp_path / "evil.ckpt"
    torch.save({"emo_lightning": Path("x")}, evil)
    with pytest.raises(UserError, match="more than plain weights"):
        run(repository, 2, data, out, f"decoupler={evil}")
    other = run(repository, 1, data, f"out={tmp_path}/other", "seed=1")
    for path in (other, chain["heads"]):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(MismatchError, match="does not belong to this decoupler"):
        load_audio_to_motion(tmp_path)


def test_resume_refuses_another_configuration(
    repository: Path, shards: Path, chain: dict[str, Path]
) -> None:
    out = chain["decoupler"].parent
    with pytest.raises(MismatchError, match="another model"):
        run(repository, 1, f"data={shards}", f"out={out}", "model.width=16")
    with pytest.raises(UserError, match="auto, never"):
        run(repository, 1, f"data={shards}", f"out={out}", "resume=nowhere")


def test_a_run_starts_from_another_runs_weights(
    repository: Path, shards: Path, chain: dict[str, Path], tmp_path: Path
) -> None:
    words = [f"data={shards}", "model.lr=1e-12", "trainer.max_steps=1", "trainer.val_every=1"]
    for stage, product in ((1, "decoupler"), (2, "heads")):
        init, more = f"init={chain[product]}", [f"decoupler={chain['decoupler']}"][: stage - 1]
        made = run(repository, stage, *words, *more, f"out={tmp_path}/{stage}", init)
        before, after = (read_network(path, product, "x") for path in (chain[product], made))
        assert after.meta["provenance"]["init"] == before.fingerprint
        for name, value in before.state.items():
            assert name.startswith("leace.") or torch.allclose(after.state[name], value, atol=1e-6)
    out = f"out={tmp_path}/other"
    with pytest.raises(MismatchError, match="own sizes"):
        run(repository, 1, *words, out, f"init={chain['decoupler']}", "model.width=16")
    with pytest.raises(MismatchError, match="is the decoupler of stage 1"):
        decoupler = chain["decoupler"]
        run(repository, 2, *words, out, f"decoupler={decoupler}", f"init={decoupler}")


def test_lip_losses_train_and_posenet_can_be_skipped(
    repository: Path, shards: Path, chain: dict[str, Path], tmp_path: Path
) -> None:
    decoupler, pose = f"decoupler={chain['decoupler']}", [f"loss.{part}=0" for part in POSE_PARTS]
    words = [f"data={shards}", "loss.correlation=2", "trainer.max_steps=2"]
    init = f"init={chain['heads']}"
    run(repository, 1, *words, f"out={tmp_path}/1", "loss.lips=5")
    made = run(repository, 2, *words, f"out={tmp_path}/2", decoupler, init, *pose)
    before, after = (read_network(path, "heads", "x").state for path in (chain["heads"], made))
    # Only the decay of weights moves PoseNet, by less than its largest rate.
    for name, value in after.items():
        if name.startswith("posenet."):
            assert torch.allclose(value, before[name], rtol=1e-3, atol=1e-5)
    for stage, names in ((1, ("lips", "correlation")), (2, ("correlation",))):
        metrics = (tmp_path / str(stage) / "metrics.csv").read_text()
        assert all(f"train/{name}," in metrics for name in names)


def test_folders_that_cannot_be_used(repository: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="out"):
        run(repository, 1, f"data={shards}", f"out={tmp_path}/file")
    with pytest.raises(UserError, match="data"):
        run(repository, 1, f"data={tmp_path}/none", f"out={tmp_path}/o")


def test_variants_of_stage_2_train(
    repository: Path, shards: Path, chain: dict[str, Path], tmp_path: Path
) -> None:
    words = [
        f"data={shards}",
        f"out={tmp_path}/v",
        f"decoupler={chain['decoupler']}",
        "model.wiring=figure",
        "recipe.levels=annotated",
    ]
    assert (
        read_network(run(repository, 2, *words), "heads", "x").meta["model"]["wiring"] == "figure"
    )


def test_every_stage_trains_on_two_processes(
    repository: Path, shards: Path, chain: dict[str, Path], tmp_path: Path
) -> None:
    before = {1: [], 2: [f"decoupler={chain['decoupler']}"], 3: [f"heads={chain['heads']}"]}
    two = [*QUICK, "trainer.devices=2", "trainer.accelerator=cpu", f"data={shards}"]
    program = [sys.executable, "-m", "emo_lightning.train"]
    started = [
        subprocess.Popen(
            [*program, f"experiments/stage{stage}.yaml", *two, *extra, f"out={tmp_path}/{stage}"],
            cwd=repository,
        )
        for stage, extra in before.items()
    ]
    assert [process.wait(300) for process in started] == [0, 0, 0]
    for stage, product in enumerate(chain, start=1):
        assert (
            read_network(tmp_path / str(stage) / f"{product}.safetensors", product, "x").meta[
                "stage"
            ]
            == stage
        )
