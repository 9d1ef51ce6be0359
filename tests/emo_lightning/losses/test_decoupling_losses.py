"""Probes, gradient reversal and LEACE remove emotion from content and keep speech."""

from __future__ import annotations

import math

import pytest
import torch

from emo_lightning.losses.domain_adversarial import (
    LabelProbes,
    masked_statistics,
    ramp,
    reverse_gradient,
)
from emo_lightning.models.decoupler.disentanglement import Leace, binarize
from emo_lightning.training.decoupler import PHONES, phone_loss


def trained(strength: float, steps: int = 250) -> tuple[float, float]:
    """Final probe loss in nats, and speech error, of an encoder trained against probes."""
    torch.manual_seed(0)
    labels, mask = torch.arange(48) % 4, torch.ones(48, 6, dtype=torch.bool)
    speech = torch.randn(48, 6, 4)
    audio = torch.cat([3.0 * torch.eye(4)[labels][:, None].expand(-1, 6, -1), speech], dim=-1)
    encoder, probes, readout = (
        torch.nn.Linear(8, 8),
        LabelProbes(8, 4, hidden=16),
        torch.nn.Linear(8, 4),
    )
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *probes.parameters(), *readout.parameters()], lr=0.01
    )
    for step in range(steps):
        content = encoder(audio)
        probe = probes(reverse_gradient(content, strength * ramp(step / steps)), labels, mask)
        kept = (readout(content) - speech).square().mean()
        optimizer.zero_grad()
        (probe + kept).backward()
        optimizer.step()
    return float(probe.detach()), float(kept.detach())


def test_probes_find_a_label_and_reversal_hides_it_while_speech_stays() -> None:
    visible, hidden = trained(0.0), trained(1.0)
    assert visible[0] < 0.1 and hidden[0] > 0.6 * math.log(4)
    assert hidden[1] < 0.2


def test_strength_ramps_up() -> None:
    assert ramp(0.0) == 0.0 and 0.9 < ramp(0.33) < ramp(1.0) < 1.0


def test_statistics_leave_out_masked_frames() -> None:
    x, mask = torch.randn(2, 5, 3), torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    other = x.clone()
    other[0, 3:] = 99.0
    assert torch.allclose(masked_statistics(x, mask), masked_statistics(other, mask))
    assert torch.allclose(
        masked_statistics(x, mask)[1],
        torch.cat([x[1].mean(0), x[1].std(0, correction=0)]),
        atol=1e-4,
    )


def test_too_few_clips_cost_nothing_but_reach_every_weight() -> None:
    probes, x = LabelProbes(3, 4), torch.randn(2, 5, 3, requires_grad=True)
    loss = probes(x, torch.tensor([0, 1]), torch.zeros(2, 5, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0 and all(
        weight.grad is not None for weight in probes.parameters()
    )


def test_unknown_phones_do_not_count() -> None:
    logits, mask = torch.randn(2, 6, PHONES, requires_grad=True), torch.ones(2, 6, dtype=torch.bool)
    phone = torch.randint(0, PHONES, (2, 6))
    known = phone_loss(logits[:1], phone[:1], mask[:1])
    phone[1] = -1
    assert float(phone_loss(logits, phone, mask)) == pytest.approx(float(known))
    assert float(phone_loss(logits, torch.full((2, 6), -1), mask)) == 0.0


def test_leace_equalises_the_means_of_the_labels() -> None:
    torch.manual_seed(0)
    labels = torch.arange(4000) % 4
    x = torch.randn(4000, 10) @ torch.randn(10, 10)
    x = x + torch.randn(4, 10)[labels]
    leace = Leace(10, 4).train()
    assert torch.equal(leace(x), x), "nothing is known yet"
    everywhere = torch.ones(4000, dtype=torch.bool)
    for _ in range(10):
        leace.add_moments(leace.batch_moments(x, labels, everywhere))
    leace.solve()
    clean = leace(x)
    means = torch.stack([clean[labels == k].mean(dim=0) for k in range(4)])
    assert (
        means.std(dim=0).max()
        < 1e-3
        < 0.3
        < torch.stack([x[labels == k].mean(dim=0) for k in range(4)]).std(dim=0).mean()
    )
    assert torch.linalg.matrix_rank(leace.projection, rtol=1e-4) == 3
    assert torch.allclose(leace(clean), clean, atol=1e-3), "once erased, nothing is left to erase"


def test_bits_keep_the_sign_and_pass_gradients() -> None:
    x = torch.tensor([-2.0, -1e-9, 0.0, 0.3], requires_grad=True)
    out = binarize(x)
    out.sum().backward()
    assert out.tolist() == [-1.0, -1.0, 1.0, 1.0] and x.grad is not None and (x.grad > 0).all()
