"""The Inception-v3 of FID: the network of ``pt_inception-2015-12-05``, layer for layer, with its batch norms folded in.

C. Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, in the variant that FID has always used: average pools
leave the padding out, and the last block pools by maximum. Parts are named as in torchvision and pytorch-fid, so a state
dict in that layout loads by name. A folded network gives the unfolded one's features to 1e-5 and saves a pass over every
activation; pools before 1 x 1 convolutions are taken after them, where there are fewer channels, which changes no value either.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 2048
BN_EPSILON = 1e-3
Pair = tuple[int, int]


class Conv(nn.Module):
    """Convolution, folded batch norm, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | Pair = 1,
        stride: int = 1,
        padding: int | Pair = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.conv(x))


class PooledConv(Conv):
    """3 x 3 average pool over the cells inside the picture, then a 1 x 1 convolution; computed in the other order."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(F.avg_pool2d(self.conv(x), 3, 1, 1, count_include_pad=False))


class MaxPooledConv(Conv):
    """3 x 3 maximum, then a 1 x 1 convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.max_pool2d(x, 3, 1, 1))


class BlockA(nn.Module):
    """35 x 35 cells."""

    def __init__(self, inputs: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 64)
        self.branch5x5_1 = Conv(inputs, 48)
        self.branch5x5_2 = Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Conv(inputs, 64)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = PooledConv(inputs, pool)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat(
            [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(x)],
            1,
        )


class BlockB(nn.Module):
    """35 x 35 to 17 x 17 cells."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, 3, 2)
        self.branch3x3dbl_1 = Conv(inputs, 64)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17 x 17 cells, convolutions of one row or one column."""

    def __init__(self, width: int) -> None:
        super().__init__()
        row: dict[str, int | Pair] = {"kernel": (1, 7), "padding": (0, 3)}
        column: dict[str, int | Pair] = {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = Conv(768, 192)
        self.branch7x7_1 = Conv(768, width)
        self.branch7x7_2 = Conv(width, width, **row)
        self.branch7x7_3 = Conv(width, 192, **column)
        self.branch7x7dbl_1 = Conv(768, width)
        self.branch7x7dbl_2 = Conv(width, width, **column)
        self.branch7x7dbl_3 = Conv(width, width, **row)
        self.branch7x7dbl_4 = Conv(width, width, **column)
        self.branch7x7dbl_5 = Conv(width, 192, **row)
        self.branch_pool = PooledConv(768, 192)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(x)], 1)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8 cells."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(768, 192)
        self.branch3x3_2 = Conv(192, 320, 3, 2)
        self.branch7x7x3_1 = Conv(768, 192)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), long, F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8 x 8 cells; the last block pools by maximum."""

    def __init__(self, inputs: int, pool: type[Conv]) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 320)
        self.branch3x3_1 = Conv(inputs, 384)
        self.branch3x3_2a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Conv(inputs, 448)
        self.branch3x3dbl_2 = Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = pool(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        wide = [
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
        ]
        return torch.cat([self.branch1x1(x), *wide, self.branch_pool(x)], 1)


class InceptionNet(nn.Module):
    """From pictures ``(B, 3, 299, 299)`` in -1..1 to features; the parts stand in the order of the computation."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = (
            BlockA(192, 32),
            BlockA(256, 64),
            BlockA(288, 64),
        )
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            BlockC(128),
            BlockC(160),
            BlockC(160),
            BlockC(192),
        )
        self.Mixed_7a = BlockD()
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, PooledConv), BlockE(2048, MaxPooledConv)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features ``(B, 2048)``, and the maps ``(B, C, h, w)`` after each of five scales, from 64 channels to 2048."""
        x = F.max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))), 3, 2)
        maps = [x]
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        maps.append(x)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        maps.append(x)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        maps.append(x)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        maps.append(x)
        return x.mean(dim=(2, 3)), maps

    def fold(self, state: Mapping[str, Tensor]) -> None:
        """Load a state dict in pytorch-fid's layout, each batch norm folded into its convolution; the classifier is left out.

        Raises:
            KeyError: a part is missing.
            ValueError: a part has another shape, or there is one that this network does not have.
        """
        unused = {
            name
            for name in state
            if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
        }
        with torch.no_grad():
            for name, part in self.named_modules():
                if not isinstance(part, Conv):
                    continue
                keys = [
                    f"{name}.{key}"
                    for key in (
                        "conv.weight",
                        "bn.weight",
                        "bn.bias",
                        "bn.running_mean",
                        "bn.running_var",
                    )
                ]
                weight, gain, shift, mean, variance = (state[key].to(torch.float64) for key in keys)
                if weight.shape != part.conv.weight.shape:
                    raise ValueError(
                        f"{keys[0]} has shape {tuple(weight.shape)}, expected {tuple(part.conv.weight.shape)}"
                    )
                scale = gain / (variance + BN_EPSILON).sqrt()
                part.conv.weight.copy_(weight * scale[:, None, None, None])
                part.conv.bias.copy_(shift - mean * scale)
                unused -= set(keys)
        if unused:
            raise ValueError(f"{sorted(unused)[0]} is not a part of this network")
