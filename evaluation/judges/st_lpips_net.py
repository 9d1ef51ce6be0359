"""The ST-LPIPS judge: the authors' shift-tolerant AlexNet and heads, which their package ships whole."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from evaluation.judges.base import JudgeInfo
from evaluation.judges.lpips_net import SCALE, SHIFT
from evaluation.judges.weights import read_state_dict
from evaluation.metrics.lpips import LAYERS
from evaluation.metrics.st_lpips import st_lpips

ASSET = "st_lpips_alex"
CONVOLUTIONS = ("net.slice1.0", "net.slice2.5", "net.slice3.9", "net.slice4.11", "net.slice5.13")
BLUR = (0.25, 0.5, 0.25)


def downsample(x: Tensor) -> Tensor:
    """Every second cell of the picture, mirrored by two cells at its border and blurred with 1-2-1 both ways."""
    blur = torch.tensor(BLUR, dtype=x.dtype, device=x.device)
    kernel = (blur[:, None] * blur).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


class STLpipsNet(nn.Module):
    """Feature maps of frames, 64 channels to 256."""

    factor: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = (
            (3, 64, 11, 2),
            (64, 192, 5, 2),
            (192, 384, 3, 1),
            (384, 256, 3, 1),
            (256, 256, 3, 1),
        )
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, kernel, padding=padding) for i, o, kernel, padding in sizes
        )
        shift, scale = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (SHIFT, SCALE))
        self.register_buffer("factor", 1 / (127.5 * scale), persistent=False)
        self.register_buffer("offset", (-1 - shift) / scale, persistent=False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """From ``(B, 3, H, W)``, values 0..255, to one map ``(B, C, h, w)`` a layer."""
        x = frames.to(torch.float32, memory_format=torch.channels_last) * self.factor + self.offset
        maps = [downsample(self.convolutions[0](x)).relu_()]
        for i, convolution in enumerate(self.convolutions[1:], start=1):
            x = maps[-1]
            if i <= 2:
                x = downsample(F.max_pool2d(x, 3, 1))
            maps.append(convolution(x).relu_())
        return maps


@lru_cache(maxsize=1)
def describe() -> JudgeInfo:
    """Who this judge is, without opening it; UserError when its weights are nowhere."""
    assets.locate(ASSET)
    return JudgeInfo(
        "st-lpips-alex",
        assets.get(ASSET).sha256,
        "ST-LPIPS 0.0 on its authors' shift-tolerant AlexNet",
    )


def load_net() -> tuple[STLpipsNet, list[Tensor]]:
    """The network with the authors' weights, and the weight of each channel of each layer.

    Raises:
        UserError: the weights are nowhere, or are not those of the network.
    """
    path = assets.locate(ASSET)
    state = read_state_dict(path, f"asset {ASSET}")
    net = STLpipsNet()
    parts = {
        f"convolutions.{i}.{part}": f"{name}.{part}"
        for i, name in enumerate(CONVOLUTIONS)
        for part in ("weight", "bias")
    }
    try:
        net.load_state_dict({ours: state[theirs] for ours, theirs in parts.items()})
        return net, [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(LAYERS["alex"]))]
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"asset {ASSET}", path, "the authors' network", f"misses a part ({str(error)[:120]})"
        ) from None


class STLpipsJudge:
    """ST-LPIPS of pairs of frames.

    Args:
        device: where it runs.

    Raises:
        UserError: its weights are nowhere, or are not those of the network.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.info = describe()
        self.device = torch.device(device)
        self._net, heads = load_net()
        self._heads = [head.to(self.device) for head in heads]
        self._net.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def distance(self, generated: Tensor, reference: Tensor) -> Tensor:
        """ST-LPIPS ``(B,)`` of frames ``(B, 3, H, W)`` uint8; both sides go through the network as one batch."""
        maps = self._net(torch.cat([generated, reference]).to(self.device))
        return st_lpips(
            [m[: len(generated)] for m in maps], [m[len(generated) :] for m in maps], self._heads
        )
