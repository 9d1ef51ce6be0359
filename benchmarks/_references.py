"""``lpips``, ``stlpips-pytorch`` and ``pytorch-fid`` as they are, imported without torchvision.
 They subclass or slice networks that torchvision defines, and use nothing else of it that matters
here. What follows gives them those networks, written to the published structure with one
convolution, batch norm and ReLU after the other, under the name ``torchvision`` while they are
imported and no longer.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.judges import inception_net
from evaluation.judges.lpips_net import LpipsNet


class BasicConv2d(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        options: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "bias": False}
        self.conv = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, **options)
        self.bn = nn.BatchNorm2d(conv.out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _plain(block: nn.Module) -> nn.Module:
    """A block's convolutions, unfolded, under their names."""
    parts = nn.Module()
    for name, part in block.named_children():
        parts.add_module(name, BasicConv2d(part.conv))
    return parts


def _block(make: Callable[..., nn.Module]) -> type[nn.Module]:
    """A torchvision block class: the named convolutions of ``make(*args)``; pytorch-fid's
    subclasses bring the forward pass.
    """

    class Block(nn.Module):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__()
            for name, part in _plain(make(*args, **kwargs)).named_children():
                self.add_module(name, part)

    return Block


InceptionA = _block(lambda inputs, pool_features: inception_net.BlockA(inputs, pool_features))
InceptionC = _block(lambda inputs, channels_7x7: inception_net.BlockC(channels_7x7))
InceptionE = _block(lambda inputs: inception_net.BlockE(inputs, inception_net.PooledConv))


class InceptionB(_block(lambda: inception_net.BlockB(288))):
    """The first block that halves the grid."""

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, kernel_size=3, stride=2)], 1)


class InceptionD(_block(inception_net.BlockD)):
    """The second block that halves the grid."""

    def forward(self, x: Tensor) -> Tensor:
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat(
            [self.branch3x3_2(self.branch3x3_1(x)), long, F.max_pool2d(x, kernel_size=3, stride=2)],
            1,
        )


def inception_v3(**options: Any) -> nn.Module:
    """torchvision's network without weights; pytorch-fid replaces the blocks in which FID's
    differs.
    """
    net = nn.Module()
    for name, part in inception_net.InceptionNet().named_children():
        if isinstance(part, inception_net.Conv):
            net.add_module(name, BasicConv2d(part.conv))
    net.Mixed_6a, net.Mixed_7a = InceptionB(), InceptionD()
    return net


def _trunk(net: str) -> Callable[..., nn.Module]:
    def build(**options: Any) -> nn.Module:
        holder = nn.Module()
        holder.features = LpipsNet(net).features
        return holder

    return build


def _to_tensor() -> Callable[[Any], Tensor]:
    """torchvision's ToTensor for 8-bit RGB pictures."""
    return lambda picture: (
        torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
    )


def _stand_in() -> dict[str, ModuleType]:
    torchvision, models, inception, transforms = (
        ModuleType(name)
        for name in (
            "torchvision",
            "torchvision.models",
            "torchvision.models.inception",
            "torchvision.transforms",
        )
    )
    torchvision.__version__ = "0.20.0"
    torchvision.models, torchvision.transforms, models.inception = models, transforms, inception
    inception.InceptionA, inception.InceptionC, inception.InceptionE = (
        InceptionA,
        InceptionC,
        InceptionE,
    )
    models.inception_v3 = inception_v3
    models.alexnet, models.vgg16, models.squeezenet1_1 = (
        _trunk("alex"),
        _trunk("vgg"),
        _trunk("squeeze"),
    )
    transforms.ToTensor = _to_tensor
    summary, notebook = ModuleType("torchsummary"), ModuleType("IPython")
    summary.summary = notebook.embed = None
    return {
        module.__name__: module
        for module in (torchvision, models, inception, transforms, summary, notebook)
    }


@contextmanager
def _standing_in(package: str) -> Iterator[None]:
    """The stand-in while a package is imported; afterwards neither is known to the interpreter."""
    modules = _stand_in()
    roots = {package, *(name.partition(".")[0] for name in modules)}
    hidden = {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] in roots
    }
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] in roots]:
            del sys.modules[name]
        sys.modules.update(hidden)


def lpips_package(net: str, state: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> nn.Module:
    """``lpips.LPIPS`` itself on a network with the given trunk (torchvision's names) and heads (the
    package's).
    """
    with _standing_in("lpips"):
        model = importlib.import_module("lpips").LPIPS(
            pretrained=False, net=net, pnet_rand=True, verbose=False
        )
    model.load_state_dict(dict(heads), strict=False)
    own = model.net.state_dict()
    by_index = {name.partition(".")[2]: value for name, value in state.items()}
    model.net.load_state_dict({name: by_index[name.partition(".")[2]] for name in own})
    return model.eval()


def st_lpips_package() -> nn.Module:
    """``stlpips_pytorch.stlpips.LPIPS`` itself, on AlexNet with the package's weights."""
    with _standing_in("stlpips_pytorch"):
        return (
            importlib.import_module("stlpips_pytorch.stlpips")
            .LPIPS(net="alex", variant="shift_tolerant", verbose=False)
            .eval()
        )


def pytorch_fid_package(state: Mapping[str, Tensor]) -> tuple[ModuleType, nn.Module]:
    """``pytorch_fid.fid_score`` and its ``InceptionV3`` with the given weights (pytorch-fid's
    names).
    """
    with _standing_in("pytorch_fid"):
        network = importlib.import_module("pytorch_fid.inception")
        score = importlib.import_module("pytorch_fid.fid_score")
        counters = {
            f"{name.removesuffix('.bn.weight')}.bn.num_batches_tracked": torch.zeros(
                (), dtype=torch.int64
            )
            for name in state
            if name.endswith(".bn.weight")
        }
        network.load_state_dict_from_url = lambda *args, **kwargs: {**state, **counters}
        return score, network.InceptionV3().eval()
