"""Each stage as a LightningModule: one network, no hidden state, loadable from its checkpoints."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from emo_lightning.training.base import Noise, StageModule, warmup_cosine
from emo_lightning.training.config import describe
from emo_lightning.training.figures import FIGURES, ValidationFigures
from emo_lightning.training.gan import AdversarialStage
from tests.emo_lightning.training.batches import STAGES, batch_of, config_of, stage_of

MAX_MODULES = 60


class Same(torch.utils.data.Dataset):
    """One batch, again and again."""

    def __init__(self, batch: dict, length: int) -> None:
        self.batch, self.length = batch, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        return self.batch


def loader(batch: dict, length: int = 2) -> DataLoader:
    return DataLoader(Same(batch, length), batch_size=None)


@pytest.fixture(scope="module", params=list(STAGES))
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """Name, stage after two steps, batch and checkpoint."""
    config = config_of(request.param)
    stage, batch = stage_of(config), batch_of(config)
    trainer = L.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True
    )
    trainer.fit(stage, loader(batch), loader(batch))
    path = tmp_path_factory.mktemp("ckpt") / "x.ckpt"
    trainer.save_checkpoint(path)
    return request.param, stage, batch, path


def test_every_stage_loads_from_its_checkpoint_and_predicts_the_same(fitted: tuple) -> None:
    _, stage, batch, path = fitted
    again = type(stage).load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert again.hparams == stage.hparams
    predictor = L.Trainer(accelerator="cpu", logger=False, barebones=True)
    first, second = (predictor.predict(each, loader(batch))[0] for each in (stage, again))
    if isinstance(first, dict):
        assert first.keys() == second.keys() and first
        assert all(torch.equal(first[name], second[name]) for name in first)
    else:
        assert first.dim() == 4 and torch.equal(first, second)


def test_no_weight_is_stored_twice_nor_is_a_frozen_backbone(fitted: tuple) -> None:
    _, stage, _, _ = fitted
    state = stage.state_dict()
    places = Counter((t.data_ptr(), t.shape) for t in state.values() if t.numel())
    assert max(places.values()) == 1
    assert all(
        name.startswith(f"{stage.network_name}.") for name in state if stage.network_name in name
    )
    assert not [name for name in state if name.startswith("perceptual")]


def test_a_step_depends_on_its_numbers_alone(fitted: tuple) -> None:
    _, stage, batch, _ = fitted
    batch = stage.on_after_batch_transfer(batch, 0)
    stage.eval()
    with torch.no_grad():
        parts = [stage.losses(batch, Noise(stage.device, 3, 7))[0] for _ in range(2)]
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in parts[0])
    assert not torch.equal(Noise(stage.device, 3, 7)(5), Noise(stage.device, 3, 8)(5))


def test_the_monitored_metric_contains_no_weight(fitted: tuple) -> None:
    name, stage, batch, _ = fitted
    batch = stage.on_after_batch_transfer(batch, 0)
    words = [f"loss.{part}=0" for part in vars(stage.loss) if not part.startswith(("gan", "perc"))]
    other = stage_of(config_of(name, *words))
    missing = other.load_state_dict(stage.state_dict(), strict=False).missing_keys
    assert not missing
    values = []
    for each in (stage.eval(), other.eval()):
        with torch.no_grad():
            parts, output = each.losses(batch, Noise(each.device, 0))
            found = parts | each.validation_metrics(batch, parts, output)
        values.append(found[each.monitor.removeprefix("val/")])
    assert torch.equal(*values)


def test_generator_and_discriminator_see_the_same_crop_and_share_no_gradient() -> None:
    config = config_of("3 mesh")
    stage = stage_of(config)
    assert isinstance(stage, AdversarialStage) and stage.discriminator is not None
    seen: list[torch.Tensor] = []
    stage.discriminator.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    batch = stage.on_after_batch_transfer(batch_of(config), 0)
    parts, _ = stage.losses(batch, Noise(stage.device, 0))
    real, judged, own = seen
    assert real.shape == judged.shape and torch.equal(judged, own) and not own.requires_grad
    stage.total(parts).backward(retain_graph=True)
    assert all(p.grad is None for p in stage.discriminator.parameters())
    before = [p.grad.clone() for p in stage.renderer.parameters() if p.grad is not None]
    parts["discriminator"].backward()
    after = [p.grad for p in stage.renderer.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is not None for p in stage.discriminator.parameters())


def test_the_schedule_warms_up_and_starts_late_for_a_late_network() -> None:
    plain, late = warmup_cosine(100, 10), warmup_cosine(60, 10, start=40)
    assert plain(0) == pytest.approx(0.1) and plain(9) == pytest.approx(1.0)
    assert plain(100) == pytest.approx(0.1) and late(40) == plain(0) and late(39) == late(40)


@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3", "stage3_refined"])
def test_every_key_has_a_type_a_default_and_a_meaning(repository: Path, name: str) -> None:
    rows = describe(repository / "experiments" / f"{name}.yaml")
    assert len(rows) > 40 and all(all(row) for row in rows), [row for row in rows if not all(row)]


def test_training_stage_1_loads_few_of_our_modules(
    repository: Path, shards: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from emo_lightning.training.config import load_config; "
        "from emo_lightning.training.train import train; "
        "train(load_config(sys.argv[1], sys.argv[2:])); "
        "print('MODULES', *sorted(m for m in sys.modules if m.split('.')[0] in "
        "('emo_lightning', 'datamodules', 'evaluation')))"
    )
    words = ["experiments/stage1.yaml", "size=debug", "trainer.max_steps=1", "trainer.val_every=1"]
    words += ["wandb.mode=disabled", f"data={shards}", f"out={tmp_path}/run"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("MODULES")]
    assert len(line.split()) - 1 <= MAX_MODULES, line


def test_no_private_attribute_of_lightning_is_used(repository: Path) -> None:
    """Outside of ``self`` and our own modules no name with a leading underscore is accessed."""
    wrong = []
    for path in sorted((repository / "emo_lightning" / "training").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = set(
            re.findall(r"def (_\w+)|(?:self|cls)\.(_\w+) ?[:=]", path.read_text(encoding="utf-8"))
        )
        names = {name for pair in own for name in pair if name}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
                if node.attr not in names and not node.attr.startswith("_foreach"):
                    wrong.append(f"{path.name}:{node.lineno} {node.attr}")
    assert not wrong, wrong


def test_stages_are_subclasses_of_the_base() -> None:
    assert all(isinstance(stage_of(config_of(name)), StageModule) for name in STAGES)


@pytest.mark.parametrize("name", list(STAGES))
def test_each_stage_has_validation_figures(name: str, tmp_path: Path) -> None:
    config = config_of(name)
    stage, batch = stage_of(config), batch_of(config)
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, callbacks=[ValidationFigures(tmp_path)],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(stage, loader(batch, 1), loader(batch, 1))
    found = {path.name: path.stat().st_size for path in (tmp_path / "figures").iterdir()}
    expected = {f"step-000001-{figure}" for figure in FIGURES[stage.product]}
    assert {name.rpartition(".")[0] for name in found} == expected
    assert all(size > 500 for size in found.values()), found
