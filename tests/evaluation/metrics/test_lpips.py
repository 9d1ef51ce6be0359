"""LPIPS and ST-LPIPS: their authors' networks with weights that are found, checked and refused by
us."""

from __future__ import annotations

import dataclasses
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import models

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.losses.perceptual_backbones import LPIPS_NETS, lpips_net, st_lpips_net
from evaluation.judges.image_networks import describe_lpips, open_lpips, open_st_lpips

needs_lpips = pytest.mark.skipif(find_spec("lpips") is None, reason="lpips is not installed")
needs_st_lpips = pytest.mark.skipif(
    find_spec("stlpips_pytorch") is None, reason="stlpips-pytorch is not installed"
)
TORCHVISION = {"alex": models.alexnet, "vgg": models.vgg16, "squeeze": models.squeezenet1_1}


def pictures(noise: float, count: int = 2) -> tuple[Tensor, Tensor]:
    """Smooth frames of an odd size and the same with noise, uint8."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 9, 11, generator=generator)
    clean = torch.nn.functional.interpolate(coarse, size=(75, 90), mode="bicubic") * 255
    noisy = clean + noise * torch.randn(clean.shape, generator=generator)
    return tuple(x.clamp(0, 255).round().to(torch.uint8) for x in (noisy, clean))


def torchvision_layers(net: str) -> torch.nn.Module:
    """torchvision's layers, without memory for their weights."""
    with torch.device("meta"):
        return TORCHVISION[net](weights=None).features.eval()


def random_trunk(net: str) -> dict[str, Tensor]:
    """Weights for torchvision's layers that neither die out nor explode."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, value in torchvision_layers(net).state_dict().items():
        spread = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.05
        state[f"features.{name}"] = spread * torch.randn(value.shape, generator=generator)
    return state


@needs_lpips
@pytest.mark.parametrize("net", LPIPS_NETS)
def test_torchvisions_weights_reach_the_layers_they_belong_to(net: str) -> None:
    trunk = random_trunk(net)
    model = lpips_net(net, trunk)
    generated, reference = (x / 127.5 - 1 for x in pictures(25.0))
    layers, names = torchvision_layers(net), {n.removeprefix("features."): n for n in trunk}
    layers.load_state_dict({name: trunk[full] for name, full in names.items()}, assign=True)
    with torch.inference_mode():
        scaled = model.scaling_layer(generated)
        last = model.net(scaled)[-1]
        maps = [scaled := layer(scaled) for layer in layers]
    assert any(
        m.shape == last.shape and torch.allclose(m, last, rtol=1e-3, atol=1e-4) for m in maps
    )
    assert float(model(generated, reference).min()) > 1e-4


@needs_lpips
def test_a_users_backbone_is_found_and_another_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registered file cannot be had here, so its hash is removed; its content must fit all the
    same."""
    name = "lpips_alex_trunk"
    described = [dataclasses.replace(a, sha256="") if a.name == name else a for a in assets.ASSETS]
    monkeypatch.setattr(assets, "ASSETS", tuple(described))
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    describe_lpips.cache_clear()
    with pytest.raises(UserError, match=r"alexnet-owt-7be5be79\.pth.*was not found"):
        open_lpips("alex")
    file = tmp_path / assets.get(name).filename
    torch.save({**random_trunk("alex"), "classifier.1.weight": torch.zeros(2, 2)}, file)
    judge = open_lpips("alex")
    generated, reference = pictures(25.0)
    assert float(judge.distance(generated, reference).min()) > 0
    assert judge.distance(reference, reference).tolist() == [0.0, 0.0]
    torch.save(random_trunk("squeeze"), file)
    with pytest.raises(UserError, match="torchvision's AlexNet"):
        open_lpips("alex")
    describe_lpips.cache_clear()


def test_another_hash_than_the_registered_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / assets.get("lpips_vgg_trunk").filename)
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    with pytest.raises(UserError, match="another content"):
        assets.locate("lpips_vgg_trunk")


@needs_st_lpips
def test_st_lpips_is_the_packages_with_its_own_weights() -> None:
    """The package loads its file itself; what it imports and never calls is not left behind."""
    st_lpips_net()
    module = sys.modules["stlpips_pytorch.stlpips"]
    theirs = module.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    generated, reference = pictures(10.0)
    with torch.inference_mode():
        expected = theirs(generated / 127.5 - 1, reference / 127.5 - 1).flatten()
    found = open_st_lpips().distance(generated, reference)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert find_spec("IPython") is not None or "IPython" not in sys.modules


@needs_st_lpips
def test_st_lpips_forgives_a_shift_and_sees_noise_grow() -> None:
    judge, (_, clean) = open_st_lpips(), pictures(0.0)
    levels = (0.0, 3.0, 12.0, 40.0)
    noisy = [float(judge.distance(pictures(noise)[0], clean).mean()) for noise in levels]
    assert noisy[0] == 0 and noisy == sorted(noisy)
    assert float(judge.distance(clean.roll(1, 3), clean).mean()) < 0.3 * noisy[2]
