"""LPIPS and ST-LPIPS against their authors' packages, on the same weights."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks._references import lpips_package, st_lpips_package
from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from evaluation.judges.lpips_net import LpipsJudge, LpipsNet, describe, read_heads
from evaluation.judges.st_lpips_net import STLpipsJudge
from evaluation.judges.weights import read_state_dict
from evaluation.metrics.lpips import LAYERS, LPIPS, lpips
from evaluation.metrics.perceptual_distance import feature_distance

needs_lpips = pytest.mark.skipif(find_spec("lpips") is None, reason="lpips is not installed")
needs_st_lpips = pytest.mark.skipif(
    find_spec("stlpips_pytorch") is None, reason="stlpips-pytorch is not installed"
)


def pictures(noise: float, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth frames of an odd size and the same with noise, uint8."""
    generator = torch.Generator().manual_seed(3)
    clean = (
        torch.nn.functional.interpolate(
            torch.rand(count, 3, 9, 11, generator=generator), size=(75, 90), mode="bicubic"
        )
        * 255
    )
    noisy = clean + noise * torch.randn(clean.shape, generator=generator)
    return tuple(x.clamp(0, 255).round().to(torch.uint8) for x in (noisy, clean))


def random_net(net: str) -> LpipsNet:
    """A network whose layers neither die out nor explode."""
    generator = torch.Generator().manual_seed(1)
    built = LpipsNet(net).eval().requires_grad_(False)
    for parameter in built.parameters():
        spread = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.05
        parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return built


@needs_lpips
@pytest.mark.parametrize("net", LAYERS)
def test_lpips_is_the_packages_on_the_same_weights(net: str) -> None:
    mine = random_net(net)
    theirs = lpips_package(
        net, mine.state_dict(), read_state_dict(assets.locate(f"lpips_{net}_heads"), "heads")
    )
    generated, reference = pictures(25.0)
    with torch.inference_mode():
        expected = theirs(generated / 127.5 - 1, reference / 127.5 - 1).flatten()
        found = lpips(mine(generated), mine(reference), read_heads(net))
    assert float(expected.min()) > 1e-4
    torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=0)


@needs_lpips
def test_the_metric_is_the_mean_over_frames() -> None:
    net, heads = random_net("squeeze"), read_heads("squeeze")
    generated, reference = pictures(25.0)
    metric = LPIPS(net, heads)
    for i in range(len(generated)):
        metric.update(generated[i : i + 1], reference[i : i + 1])
    assert float(metric.compute()) == pytest.approx(
        float(lpips(net(generated), net(reference), heads).mean()), rel=1e-5
    )
    assert not any("net" in name for name in metric.state_dict()), "the network is no state"


@needs_lpips
def test_a_users_backbone_is_found_and_another_network_is_refused(
    tmp_path: Path, monkeypatch
) -> None:
    """The real file cannot be had here, so the registered hash is taken off; what is in the file must fit all the same."""
    described = [
        dataclasses.replace(a, sha256="") if a.name == "lpips_alex_trunk" else a
        for a in assets.ASSETS
    ]
    monkeypatch.setattr(assets, "ASSETS", tuple(described))
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    describe.cache_clear()
    with pytest.raises(UserError, match=r"alexnet-owt-7be5be79\.pth.*was not found"):
        LpipsJudge("alex")
    file = tmp_path / assets.get("lpips_alex_trunk").filename
    torch.save({**random_net("alex").state_dict(), "classifier.1.weight": torch.zeros(2, 2)}, file)
    judge = LpipsJudge("alex")
    generated, reference = pictures(25.0)
    assert float(judge.distance(generated, reference).min()) > 0
    assert judge.distance(reference, reference).tolist() == [0.0, 0.0]
    torch.save(random_net("squeeze").state_dict(), file)
    with pytest.raises(UserError, match="torchvision's AlexNet"):
        LpipsJudge("alex")
    describe.cache_clear()


def test_another_hash_than_the_registered_one_is_refused(tmp_path: Path, monkeypatch) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / assets.get("lpips_vgg_trunk").filename)
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    with pytest.raises(UserError, match="another content"):
        assets.locate("lpips_vgg_trunk")


@needs_st_lpips
def test_st_lpips_is_the_packages() -> None:
    generated, reference = pictures(10.0)
    with torch.inference_mode():
        expected = st_lpips_package()(generated / 127.5 - 1, reference / 127.5 - 1).flatten()
    torch.testing.assert_close(
        STLpipsJudge().distance(generated, reference).float(), expected, rtol=1e-5, atol=0
    )


@needs_st_lpips
def test_st_lpips_forgives_a_shift_and_sees_noise_grow() -> None:
    judge, (_, clean) = STLpipsJudge(), pictures(0.0)
    noisy = [
        float(judge.distance(pictures(noise)[0], clean).mean()) for noise in (0.0, 3.0, 12.0, 40.0)
    ]
    assert noisy[0] == 0 and noisy == sorted(noisy)
    assert float(judge.distance(clean.roll(1, 3), clean).mean()) < 0.3 * noisy[2]


def test_wrong_maps_and_weights_are_named() -> None:
    maps = [torch.rand(1, 4, 3, 3)]
    with pytest.raises(ValueError, match="layer 0 has shapes"):
        feature_distance(maps, [torch.rand(1, 4, 3, 2)])
    with pytest.raises(ValueError, match="negative"):
        lpips(maps, maps, [-torch.ones(4)])
    with pytest.raises(ValueError, match="alex, vgg, squeeze"):
        LPIPS(lambda x: maps, [torch.ones(4)])
    with pytest.raises(ValueError, match="resnet"):
        LpipsNet("resnet")
