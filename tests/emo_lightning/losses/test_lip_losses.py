"""Lip losses: the table is the face model's, brief closures differ from rest, offsets are free."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BFM, BUILTIN, Coefficients
from emo_lightning.losses.lips import (
    LONGEST,
    brief_closures,
    closure_loss,
    lip_correlation,
    lip_distance,
    lip_table,
)


def test_the_table_is_what_the_face_does() -> None:
    exp = np.concatenate([np.zeros((1, 28)), np.eye(28)]).astype(np.float32)
    still = {block: np.zeros((29, BUILTIN.width(block)), np.float32) for block in BUILTIN.blocks}
    points = BuiltinFaceModel.load().vertices(Coefficients(BUILTIN, {**still, "exp": exp}))
    lips = np.stack(
        [
            points[:, 14, 1] - points[:, 13, 1],
            np.linalg.norm(points[:, 291] - points[:, 61], axis=1),
        ],
        1,
    )
    assert lip_table(BUILTIN).numpy() == pytest.approx(lips[1:] - lips[0], abs=0.003)
    assert not lip_table(BFM).any() and lip_table(BFM).shape == (BFM.width("exp"), 2)


def test_closures_of_speech_are_brief_and_seen_whole() -> None:
    opening = torch.full((1, 40), 0.1)
    opening[0, 10:13] = 0.0
    opening[0, 20 : 21 + LONGEST] = 0.0
    opening[0, 36:] = 0.0
    mask = torch.ones(1, 40, dtype=torch.bool)
    mask[0, 38:] = False
    assert torch.nonzero(brief_closures(opening, mask)[0]).flatten().tolist() == [10, 11, 12]


def test_a_missed_closure_costs_more_than_a_false_one() -> None:
    wanted = torch.tensor([[True, False]])
    mask = torch.ones(1, 2, dtype=torch.bool)

    def cost(first: float, second: float) -> float:
        return float(closure_loss(torch.logit(torch.tensor([[[first], [second]]])), wanted, mask))

    assert cost(0.99, 0.01) < cost(0.99, 0.9) < cost(0.1, 0.01)
    assert cost(1e-6, 1.0 - 1e-6) < 100.0, "a certain mistake is not infinitely dear"
    assert float(closure_loss(torch.rand(1, 2, 1), wanted, ~mask)) == 0.0


def test_lips_are_compared_in_how_they_move() -> None:
    torch.manual_seed(0)
    lips, mask = torch.rand(2, 30, 2), torch.ones(2, 30, dtype=torch.bool)
    assert float(lip_distance(lips + 0.3, lips, mask)) < 1e-6
    assert float(lip_distance(lips * 0.5, lips, mask)) > 0.05
    assert float(lip_distance(lips, lips * 0.0, ~mask)) == 0.0


def test_correlation_is_of_time_and_not_of_amplitude() -> None:
    time = torch.arange(64.0)[None, :, None] * 0.3
    target = torch.cat([0.05 * time.sin(), 0.03 * time.cos()], dim=-1)
    mask = torch.ones(1, 64, dtype=torch.bool)
    assert float(lip_correlation(3.0 * target + 0.1, target, mask)) < 0.05
    assert float(lip_correlation(target.roll(5, dims=1), target, mask)) > 0.5
    assert float(lip_correlation(target, target * 0.0, mask)) == pytest.approx(1.0)
    half, changed = mask.clone(), target.clone()
    half[:, 32:], changed[:, 32:] = False, 7.0
    expected = float(lip_correlation(target, target, half))
    assert float(lip_correlation(changed, target, half)) == pytest.approx(expected, abs=1e-5)
    assert float(lip_correlation(target, target, ~mask)) == 0.0
    still = torch.zeros_like(target, requires_grad=True)
    lip_correlation(still, target, mask).backward()
    assert still.grad is not None and bool(still.grad.isfinite().all())
