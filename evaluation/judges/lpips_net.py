"""The LPIPS judge: AlexNet, VGG16 or SqueezeNet 1.1 in torchvision's layout, under the authors' linear heads (version 0.1)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from evaluation.judges.base import JudgeInfo
from evaluation.judges.weights import read_state_dict
from evaluation.metrics.lpips import LAYERS, lpips

TRUNKS = {"alex": "AlexNet", "vgg": "VGG16", "squeeze": "SqueezeNet 1.1"}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""The authors' normalisation of colours in -1..1."""


class Fire(nn.Module):
    """SqueezeNet's block: a narrow 1 x 1 convolution feeds a 1 x 1 and a 3 x 3 one."""

    def __init__(self, inputs: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu_()


def _alex() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers = [
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    ]
    for inputs, outputs in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers), (1, 4, 7, 9, 11)


def _vgg() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers: list[nn.Module] = []
    taps: list[int] = []
    inputs = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        taps.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(taps)


def _squeeze() -> tuple[nn.Sequential, tuple[int, ...]]:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    layers = [
        nn.Conv2d(3, 64, 3, 2),
        nn.ReLU(),
        pool(),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        pool(),
        Fire(128, 32, 128),
    ]
    layers += [
        Fire(256, 32, 128),
        pool(),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    ]
    return nn.Sequential(*layers), (1, 4, 7, 9, 10, 11, 12)


class LpipsNet(nn.Module):
    """Feature maps of frames.

    Args:
        net: alex, vgg or squeeze.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, net: str) -> None:
        super().__init__()
        if net not in LAYERS:
            raise ValueError(f"net is {net!r}, expected one of {', '.join(LAYERS)}")
        self.features, self._taps = {"alex": _alex, "vgg": _vgg, "squeeze": _squeeze}[net]()
        shift, scale = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (SHIFT, SCALE))
        self.register_buffer("factor", 1 / (127.5 * scale), persistent=False)
        self.register_buffer("offset", (-1 - shift) / scale, persistent=False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """From ``(B, 3, H, W)``, values 0..255, to one map ``(B, C, h, w)`` a layer."""
        x = frames.to(torch.float32, memory_format=torch.channels_last) * self.factor + self.offset
        maps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self._taps:
                maps.append(x)
        return maps

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load a torchvision state dict, strictly; the classifier is left out.

        Raises:
            ValueError: a missing, surplus or misshapen part.
        """
        try:
            self.load_state_dict(
                {name: value for name, value in state.items() if not name.startswith("classifier.")}
            )
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split())[:200]) from None


def read_heads(net: str) -> list[Tensor]:
    """The authors' weights of a network, ``(C,)`` a layer.

    Raises:
        UserError: the package that ships them is not installed, or the file has another content.
    """
    name = f"lpips_{net}_heads"
    state = read_state_dict(assets.locate(name), f"asset {name}")
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(LAYERS[net]))]


@lru_cache(maxsize=3)
def describe(net: str) -> JudgeInfo:
    """Who this judge is, without opening it; the hash is the trunk's.

    Raises:
        UserError: trunk or heads are nowhere.
    """
    assets.locate(f"lpips_{net}_heads")
    assets.locate(f"lpips_{net}_trunk")
    heads, trunk = (assets.get(f"lpips_{net}_{part}").sha256 for part in ("heads", "trunk"))
    return JudgeInfo(f"lpips-{net}", trunk, f"LPIPS 0.1 on {TRUNKS[net]} (heads {heads[:16]})")


class LpipsJudge:
    """LPIPS of pairs of frames.

    Args:
        net: alex, vgg or squeeze.
        device: where it runs.

    Raises:
        UserError: its weights are nowhere, or are not those of the network.
    """

    def __init__(self, net: str, device: torch.device | str = "cpu") -> None:
        self.info = describe(net)
        self.device = torch.device(device)
        path = assets.locate(f"lpips_{net}_trunk")
        self._net = LpipsNet(net)
        try:
            self._net.load(read_state_dict(path, f"asset lpips_{net}_trunk"))
        except ValueError as error:
            raise UserError(
                f"asset lpips_{net}_trunk", path, f"torchvision's {TRUNKS[net]}", str(error)
            ) from None
        self._net.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self._heads = [head.to(self.device) for head in read_heads(net)]

    @torch.inference_mode()
    def distance(self, generated: Tensor, reference: Tensor) -> Tensor:
        """LPIPS ``(B,)`` of frames ``(B, 3, H, W)`` uint8; both sides go through the network as one batch."""
        maps = self._net(torch.cat([generated, reference]).to(self.device))
        return lpips(
            [m[: len(generated)] for m in maps], [m[len(generated) :] for m in maps], self._heads
        )
