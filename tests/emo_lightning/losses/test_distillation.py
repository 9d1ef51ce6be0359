"""Distillation: the loss falls as the pupil's features come to say what the teacher's do, and channels count alike."""

from __future__ import annotations

import torch

from emo_lightning.losses.distillation import FeatureDistillation


def test_a_pupil_that_knows_learns_to_say_it_and_one_that_does_not_cannot():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(8, 40, 12, generator=generator)
    mixed = torch.randn(12, 768, generator=generator) * torch.logspace(-2, 2, 768)
    teacher = (hidden @ mixed).unflatten(2, (2, 384)).flatten(1, 2) + 7.0
    noise = torch.randn(8, 40, 12, generator=generator)
    mask = torch.ones(8, 40, dtype=torch.bool)
    results = []
    for features in (hidden, noise):
        torch.manual_seed(0)
        pupil = FeatureDistillation(12)
        optimizer = torch.optim.Adam(pupil.parameters(), 0.03)
        losses = []
        for _ in range(150):
            loss = pupil(features, teacher, mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        results.append(losses)
    (first, *_, last), (*_, never) = results
    assert 0.8 < first < 1.6
    assert last < 0.02
    assert never > 0.8


def test_frames_that_do_not_count_have_no_say():
    torch.manual_seed(0)
    pupil = FeatureDistillation(4)
    features, teacher = torch.randn(2, 10, 4), torch.randn(2, 20, 384)
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[:, 2:6] = True
    pupil.eval()
    before = pupil(features, teacher, mask)
    changed = teacher.clone()
    changed[:, :4], changed[:, 12:] = 1e3, -1e3
    assert torch.equal(pupil(features, changed, mask), before)
    assert float(pupil(features, teacher, torch.zeros_like(mask))) == 0.0
