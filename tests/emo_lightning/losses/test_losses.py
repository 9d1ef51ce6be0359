"""Each loss has its minimum where it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emo_lightning.face.coefficients import BFM, BUILTIN
from emo_lightning.losses.contrastive import au_contrast, emotion_units
from emo_lightning.losses.domain_adversarial import reverse_gradient
from emo_lightning.losses.gan import discriminator_hinge, feature_matching, generator_hinge
from emo_lightning.losses.keypoint import equivariance, keypoint_prior, random_affine, warp_affine
from emo_lightning.losses.masked import (
    articulation,
    away_from_edges,
    known_levels,
    masked_mean,
    velocity,
)
from emo_lightning.losses.motion import (
    bearing_distance,
    even_response,
    kl_divergence,
    mean_distance,
    spectrum_distance,
    walk_likelihood,
)
from emo_lightning.losses.perceptual import PyramidLoss, VGGLoss
from emo_lightning.models.motion.emotion_matrix import prototype_table
from emo_lightning.motion.emotions import EMOTIONS

MASK = torch.ones(3, 6, dtype=torch.bool)


def test_contrast_wants_low_near_and_high_far() -> None:
    torch.manual_seed(0)
    true, units = torch.rand(3, 6, 17), emotion_units()
    away = 1.0 - true

    def value(low: torch.Tensor, high: torch.Tensor) -> float:
        return float(au_contrast(low, high, true, MASK, units))

    assert value(true, away) < 0.05 < value(true, true) < value(away, true)
    speech = true.clone()
    speech[..., [14, 15, 16]] = 1.0 - speech[..., [14, 15, 16]]
    assert value(true, speech) == pytest.approx(value(true, true), abs=1e-5), (
        "AU25, AU26 and AU45 do not count"
    )
    assert float(au_contrast(away, true, true, torch.zeros_like(MASK), units)) == 0.0


def test_frames_outside_the_mask_do_not_count() -> None:
    mask = away_from_edges(MASK, 2, 1)
    assert mask[0].tolist() == [False, False, True, True, True, False]
    values = torch.where(mask[..., None], 1.0, 99.0)
    assert float(masked_mean(values, mask)) == 1.0
    assert float(velocity(values, torch.ones_like(values), mask)) == 0.0


def test_levels_come_from_labels_or_intensities() -> None:
    level = torch.tensor([5.5, float("nan"), float("nan"), 14.0, 2.0])
    intensity, emotion = torch.tensor([1, 3, -1, -1, -1]), torch.tensor([5, 5, 5, 5, 0])
    assert known_levels(level, intensity, emotion, True).tolist() == [5.5, 13.0, 8.0, 14.0, 1.0]
    assert known_levels(level, intensity, emotion, False).tolist() == [3.0, 13.0, 8.0, 13.0, 1.0]


def test_articulation_takes_the_emotion_away() -> None:
    prototypes = prototype_table(BUILTIN)
    speech = torch.zeros(1, 4, len(BUILTIN.exp_names))
    speech[..., BUILTIN.exp_names.index("jaw")] = 0.5
    happy, level = torch.tensor([EMOTIONS.index("happy")]), torch.tensor([9.0])
    face = speech + prototypes[happy] * 9 / 15
    assert torch.allclose(articulation(face, happy, level, prototypes), speech, atol=1e-6)
    unnamed = torch.randn(1, 4, BFM.width("exp"))
    assert torch.equal(articulation(unnamed, happy, level, prototype_table(BFM)), unnamed), (
        "no named units, nothing to take away"
    )


def test_even_steps_cost_nothing_and_backward_steps_most() -> None:
    prototypes = prototype_table(BUILTIN)
    line = torch.linspace(0, 1, 15)[None, :, None] * prototypes[:, None]
    assert float(even_response(line, prototypes)) < 1e-6
    assert float(even_response(line**2, prototypes)) > 1e-4
    wave = line + 0.2 * torch.sin(torch.arange(15.0) * 2)[None, :, None] * prototypes[:, None]
    assert float(even_response(wave, prototypes)) > float(even_response(line**2, prototypes))


def test_gradient_is_reversed() -> None:
    x = torch.ones(3, requires_grad=True)
    (reverse_gradient(x, 0.5) * 4).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [-2.0] * 3


def test_motion_losses() -> None:
    assert float(kl_divergence(torch.zeros(2, 4), torch.zeros(2, 4))) == 0.0
    assert float(kl_divergence(torch.ones(2, 4), torch.zeros(2, 4))) == pytest.approx(0.5)
    torch.manual_seed(0)
    real, like = torch.randn(64, 32, 6).cumsum(1), torch.randn(8, 64, 32, 6).cumsum(2)
    assert float(spectrum_distance(like, real)) < 0.6 < float(spectrum_distance(0.3 * like, real))
    assert float(spectrum_distance(like, real)) < float(
        spectrum_distance(torch.randn(8, 64, 32, 6), real)
    )


def test_samples_may_differ_but_their_mean_may_not() -> None:
    torch.manual_seed(0)
    real, noise = torch.randn(200, 32, 6), torch.randn(4, 200, 32, 6)
    assert abs(float(mean_distance(real + noise, real))) < 0.02
    assert float(mean_distance(0.5 * real + noise, real)) == pytest.approx(0.25, abs=0.03)


def test_a_walk_is_likeliest_at_its_own_size() -> None:
    torch.manual_seed(0)
    spread = torch.tril(torch.randn(6, 6) * 0.3, -1) + torch.eye(6)
    moved = (spread @ torch.randn(4000, 6, 1))[..., 0] * 1.5**0.5
    at = [
        float(walk_likelihood(moved, spread.expand(4000, 6, 6) * size, 1.5))
        for size in (0.7, 1.0, 1.4)
    ]
    assert at[1] < min(at[0], at[2])


def test_bearing_does_not_see_where_heads_are() -> None:
    held = torch.randn(8, 6)
    assert (
        float(bearing_distance(held, held + 100.0))
        < 1e-6
        < float(bearing_distance(torch.zeros(8, 6), held))
    )


def test_gan_losses_prefer_the_right_side() -> None:
    real, fake = (
        [[torch.ones(2, 3), torch.full((2, 1), 2.0)]],
        [[torch.zeros(2, 3), torch.full((2, 1), -2.0)]],
    )
    assert (
        float(discriminator_hinge(real, fake)) == 0.0
        and float(discriminator_hinge(fake, real)) == 6.0
    )
    assert float(generator_hinge(real)) < float(generator_hinge(fake))
    assert float(feature_matching(real, fake)) == 1.0


def test_keypoints_that_move_with_the_picture_are_equivariant() -> None:
    torch.manual_seed(0)
    points, theta = torch.rand(2, 5, 3) - 0.5, random_affine(torch.randn(2, 6))
    inverse = torch.linalg.inv(
        torch.cat([theta, torch.tensor([[[0.0, 0.0, 1.0]]]).expand(2, -1, -1)], 1)
    )
    moved = points.clone()
    moved[..., :2] = points[..., :2] @ inverse[:, :2, :2].transpose(1, 2) + inverse[:, None, :2, 2]
    assert (
        float(equivariance(points, moved, theta))
        < 1e-6
        < float(equivariance(points, points, theta))
    )
    image = torch.rand(2, 3, 16, 16)
    identity = torch.eye(2, 3)[None].expand(2, -1, -1)
    assert torch.allclose(warp_affine(image, identity), image, atol=1e-5)


def test_crowded_keypoints_cost_more() -> None:
    spread = torch.tensor([[[-1.0, -1.0, 0.33], [1.0, 1.0, 0.33], [-1.0, 1.0, 0.33]]])
    assert float(keypoint_prior(spread)) == pytest.approx(0.0, abs=1e-6)
    assert float(keypoint_prior(spread * 0.1)) > 0.1


def test_image_losses_are_zero_for_the_same_image_and_grow() -> None:
    torch.manual_seed(0)
    image, noise = torch.rand(1, 3, 32, 32), torch.randn(1, 3, 32, 32)
    widths = [
        (3, 64),
        (64, 64),
        (64, 128),
        (128, 128),
        (128, 256),
        *[(256, 256)] * 3,
        (256, 512),
        *[(512, 512)] * 4,
    ]
    places = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28]
    state = {}
    for place, (n_in, n_out) in zip(places, widths, strict=True):
        state[f"features.{place}.weight"] = torch.randn(n_out, n_in, 3, 3) * (2 / (9 * n_in)) ** 0.5
        state[f"features.{place}.bias"] = torch.zeros(n_out)
    for loss in (PyramidLoss(), VGGLoss(state)):
        near, far = (float(loss(image + s * noise, image)) for s in (0.02, 0.2))
        assert float(loss(image, image)) == 0.0 < near < far
    with pytest.raises(KeyError):
        VGGLoss({})


def test_prototypes_are_those_of_the_emotions() -> None:
    table = prototype_table(BUILTIN).numpy()
    assert table.shape == (8, len(BUILTIN.exp_names)) and not table[0].any()
    assert np.argmax(table[EMOTIONS.index("happy")]) == BUILTIN.exp_names.index("AU12_L")
