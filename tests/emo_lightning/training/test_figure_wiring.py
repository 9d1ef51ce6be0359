"""The figure's wiring, EmoNet has ID and TEX only: emotion reaches the face through them, and
ExpNet's EXP is free of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.motion.emotions import EMOTIONS, prototype_exp
from emo_lightning.training.base import Noise, TrainingContext
from emo_lightning.training.config import OptimConfig
from emo_lightning.training.motion import MotionModule, Stage2Loss, Stage2Model, Stage2Recipe

FRAMES = 64


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    """Sixteen clips of noise whose faces show eight emotions at two levels and say nothing; one
    person, one identity."""
    draw = torch.Generator().manual_seed(0)
    emotion, level = torch.arange(16) % 8, torch.tensor([7.0, 15.0]).repeat_interleave(8)
    faces = torch.from_numpy(
        np.stack([prototype_exp(name, BUILTIN.exp_names) for name in EMOTIONS])
    )
    blocks = {name: torch.zeros(16, FRAMES, width) for name, width in BUILTIN.widths}
    blocks["exp"] = (faces[emotion] * level[:, None] / 15)[:, None].repeat(1, FRAMES, 1)
    labels = {"emotion": emotion, "level": level, "intensity": torch.full((16,), 2)}
    mel = torch.randn(16, 4 * FRAMES, 80, generator=draw) - 6.0
    frames = {
        "mask": torch.ones(16, FRAMES, dtype=torch.bool),
        "phone": torch.full((16, FRAMES), -1),
    }
    return blocks | labels | frames | {"mel": mel, "source": torch.zeros(16, BUILTIN.size)}


def build(**recipe: bool) -> MotionModule:
    torch.manual_seed(0)
    sizes = Stage2Model(
        wiring="figure", exp_width=16, exp_blocks=1, emo_width=32, pose_width=16, pose_latent=8
    )
    decoupler = AudioDecoupler(
        DecouplerConfig(front_width=16, width=16, content=8, mid_blocks=1, high_blocks=1)
    )
    settings = (Stage2Loss(), Stage2Recipe(**recipe), OptimConfig(), TrainingContext(BUILTIN))
    return MotionModule(sizes, *settings, decoupler).eval()


def moved(stage: MotionModule, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """How far ID is from the person's own in each clip, once trained for some steps: ``(16,)``."""
    optimizer = torch.optim.Adam(stage.heads.emonet.parameters(), lr=1e-2)
    for _ in range(40):
        parts, output = stage.losses(batch, Noise(stage.device, 0))
        optimizer.zero_grad()
        parts["identity"].backward()
        optimizer.step()
    return output.motion.id.mean(dim=1).norm(dim=-1).detach()


def test_emotion_shows_in_identity_and_more_so_at_a_higher_level(
    batch: dict[str, torch.Tensor],
) -> None:
    shown = moved(build(), batch)
    felt = shown[[i for i in range(16) if i % 8]]
    assert shown[::8].max() < 0.5 < felt.min()
    assert (felt[7:] > felt[:7]).all()
    assert moved(build(emotion_as_identity=False), batch).max() < 0.1


def test_expression_is_asked_for_what_is_said_alone(batch: dict[str, torch.Tensor]) -> None:
    stage = build()
    assert stage.targets(batch, torch.zeros_like(batch["exp"]))[0].abs().max() == 0
    exp, identity = build(emotion_as_identity=False).targets(batch, torch.zeros_like(batch["exp"]))
    assert exp is batch["exp"] and identity is batch["id"]


def test_an_identity_that_looks_like_an_emotion_is_a_face_that_somebody_could_have() -> None:
    model = BuiltinFaceModel.load()
    for name in EMOTIONS[1:]:
        prototype = prototype_exp(name, BUILTIN.exp_names)
        identity = model.lookalike() @ prototype
        wanted = np.tensordot(prototype, model.exp_basis, 1).ravel()
        shown = np.tensordot(identity, model.id_basis, 1).ravel()
        assert 0.2 < shown @ wanted / (wanted @ wanted) < 0.6
        assert np.linalg.norm(identity) < np.sqrt(len(identity))
