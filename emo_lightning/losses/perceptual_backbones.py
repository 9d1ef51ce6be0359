"""The image networks that packages ship, as feature extractors that gradients go through; for a perceptual loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from evaluation.judges.inception import find, read_weights
from evaluation.judges.inception_net import InceptionNet
from evaluation.judges.st_lpips_net import ASSET, load_net


class InceptionTrunk(nn.Module):
    """Five early layers of FID's Inception, of pictures as they are: ``(B, 3, S, S)`` in 0..1, S at least 32.

    Raises:
        UserError: its weights are nowhere.
    """

    name = "inception"

    def __init__(self) -> None:
        super().__init__()
        name, path = find()
        whole = InceptionNet()
        whole.fold(read_weights(name, path))
        self.net = nn.ModuleList([whole.Conv2d_1a_3x3, whole.Conv2d_2a_3x3, whole.Conv2d_2b_3x3, whole.Conv2d_3b_1x1,
                                  whole.Conv2d_4a_3x3, whole.Mixed_5b])  # fmt: skip
        self.sha256 = assets.get(name).sha256

    def forward(self, image: Tensor) -> list[Tensor]:
        first, second, third, squeeze, fourth, fifth = self.net
        maps = [first(2.0 * image - 1.0)]
        maps.append(second(maps[-1]))
        maps.append(third(maps[-1]))
        maps.append(fourth(squeeze(F.max_pool2d(maps[-1], 3, 2))))
        maps.append(fifth(F.max_pool2d(maps[-1], 3, 2)))
        return maps


class STLpipsTrunk(nn.Module):
    """The five layers of ST-LPIPS's shift-tolerant AlexNet: ``(B, 3, S, S)`` in 0..1, S at least 32.

    Raises:
        UserError: its weights are nowhere.
    """

    name = "stlpips"

    def __init__(self) -> None:
        super().__init__()
        self.net = load_net()[0]
        self.sha256 = assets.get(ASSET).sha256

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.net(255.0 * image)


TRUNKS: Mapping[str, Callable[[], nn.Module]] = {
    "inception": InceptionTrunk,
    "stlpips": STLpipsTrunk,
}
"""Cheapest first."""


def open_trunk(name: str) -> nn.Module:
    """A frozen trunk with ``name`` and ``sha256``; UserError when its weights are nowhere, KeyError for another name."""
    return TRUNKS[name]().eval().requires_grad_(False)


def first_trunk() -> nn.Module | None:
    """The cheapest trunk whose weights are there."""
    for name in TRUNKS:
        try:
            return open_trunk(name)
        except UserError:
            continue
    return None
