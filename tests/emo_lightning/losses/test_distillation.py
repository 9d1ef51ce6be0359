"""Distillation: the loss falls where the student's features determine the teacher's."""

from __future__ import annotations

import torch

from emo_lightning.losses.distillation import FeatureDistillation


def test_informative_features_fit_the_teacher_and_noise_does_not():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(8, 40, 12, generator=generator)
    mixed = torch.randn(12, 768, generator=generator) * torch.logspace(-2, 2, 768)
    teacher = (hidden @ mixed).unflatten(2, (2, 384)).flatten(1, 2) + 7.0
    noise = torch.randn(8, 40, 12, generator=generator)
    mask = torch.ones(8, 40, dtype=torch.bool)
    results = []
    for features in (hidden, noise):
        torch.manual_seed(0)
        student = FeatureDistillation(12)
        optimizer = torch.optim.Adam(student.parameters(), 0.03)
        losses = []
        for _ in range(150):
            loss = student(features, teacher, mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        results.append(losses)
    (first, *_, last), (*_, never) = results
    assert 0.8 < first < 1.6
    assert last < 0.02
    assert never > 0.8


def test_frames_outside_the_mask_do_not_count():
    torch.manual_seed(0)
    student = FeatureDistillation(4)
    features, teacher = torch.randn(2, 10, 4), torch.randn(2, 20, 384)
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[:, 2:6] = True
    student.eval()
    before = student(features, teacher, mask)
    changed = teacher.clone()
    changed[:, :4], changed[:, 12:] = 1e3, -1e3
    assert torch.equal(student(features, changed, mask), before)
    assert float(student(features, teacher, torch.zeros_like(mask))) == 0.0
