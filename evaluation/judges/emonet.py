"""EmoNet (Toisoul, Kossaifi, Bulat, Tzimiropoulos & Pantic, Nature Machine Intelligence 2021):
eight emotions.

The weights are not shipped: put ``emonet_8.pth`` (its authors' repository, CC BY-NC-ND 4.0) into
the folder that ``EMO_ASSETS`` names. The network is a face alignment network of two hourglasses
(Bulat & Tzimiropoulos, ICCV 2017), whose features, weighted by the summed heatmaps of 68 landmarks,
go through four more blocks to eight emotions, valence and arousal. Layers are named as in the file;
with equal weights the logits are those of the authors' code.

Input as in the authors' test: RGB over 255, the upright square about the box of the 68 landmarks
whose side is 200 / 220 of the box's width and height together, black beyond the image.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.core.external_weights import read_state_dict
from evaluation.judges.base import JudgeInfo, file_info
from evaluation.judges.face_crops import cut, outline, square

NAME = "emonet"
SIDE = 256
SQUARE = 200 / 220
CLASSES = ("neutral", "happy", "sad", "surprised", "fear", "disgusted", "angry", "contempt")
"""The network's order, by our names; valence and arousal follow."""
WIDTH, POINTS, DEPTH, STACKS, BLOCKS = 256, 68, 4, 2, 4


class Residual(nn.Module):
    """Three 3 x 3 convolutions, their outputs concatenated (a half, a quarter, a quarter), and a
    skip."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = (inputs, outputs // 2, outputs // 4, outputs // 4)
        for number, (before, after) in enumerate(pairwise(widths), 1):
            self.add_module(f"bn{number}", nn.BatchNorm2d(before))
            self.add_module(f"conv{number}", nn.Conv2d(before, after, 3, padding=1, bias=False))
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            layers = nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False)
            self.downsample = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        found, last = [], x
        for number in (1, 2, 3):
            last = torch.relu(self.get_submodule(f"bn{number}")(last))
            last = self.get_submodule(f"conv{number}")(last)
            found.append(last)
        return torch.cat(found, dim=1) + self.downsample(x)


class EmoNetHourglass(nn.Module):
    """Halves the resolution four times and restores it, with a skip connection at each size."""

    def __init__(self) -> None:
        super().__init__()
        for level in range(DEPTH, 0, -1):
            for part in ("b1", "b2", "b3") if level > 1 else ("b1", "b2", "b2_plus", "b3"):
                self.add_module(f"{part}_{level}", Residual(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self._at(DEPTH, x)

    def _at(self, level: int, x: Tensor) -> Tensor:
        small = self.get_submodule(f"b2_{level}")(functional.max_pool2d(x, 2))
        small = self._at(level - 1, small) if level > 1 else self.get_submodule("b2_plus_1")(small)
        small = self.get_submodule(f"b3_{level}")(small)
        back = functional.interpolate(small, scale_factor=2, mode="nearest")
        return self.get_submodule(f"b1_{level}")(x) + back


class ToisoulEmoNet(nn.Module):
    """``(B, 3, 256, 256)`` RGB 0..1 -> ``(B, 10)``: logits of the eight emotions, valence,
    arousal."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64)
        self.conv2, self.conv3 = Residual(64, 128), Residual(128, 128)
        self.conv4 = Residual(128, WIDTH)
        for stack in range(STACKS):
            self.add_module(f"m{stack}", EmoNetHourglass())
            self.add_module(f"top_m_{stack}", Residual(WIDTH, WIDTH))
            self.add_module(f"conv_last{stack}", nn.Conv2d(WIDTH, WIDTH, 1))
            self.add_module(f"bn_end{stack}", nn.BatchNorm2d(WIDTH))
            self.add_module(f"l{stack}", nn.Conv2d(WIDTH, POINTS, 1))
            if stack < STACKS - 1:
                self.add_module(f"bl{stack}", nn.Conv2d(WIDTH, WIDTH, 1))
                self.add_module(f"al{stack}", nn.Conv2d(POINTS, WIDTH, 1))
        self.conv1x1_input_emo_2 = nn.Conv2d(WIDTH * (STACKS + 1), WIDTH, 1)
        blocks = ((Residual(WIDTH, WIDTH), nn.MaxPool2d(2)) for _ in range(BLOCKS))
        self.emo_net_2 = nn.Sequential(*(layer for block in blocks for layer in block))
        last = nn.Linear(128, len(CLASSES) + 2)
        self.emo_fc_2 = nn.Sequential(nn.Linear(WIDTH, 128), nn.BatchNorm1d(128), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.conv2(torch.relu(self.bn1(self.conv1(x)))), 2)
        x = self.conv4(self.conv3(x))
        features, heatmaps = self._align(x)
        weighted = features * heatmaps.sum(dim=1, keepdim=True)
        last = self.emo_net_2(self.conv1x1_input_emo_2(torch.cat([x, weighted], dim=1)))
        return self.emo_fc_2(last.mean(dim=(2, 3)))

    def _align(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Concatenated features ``(B, 512, 64, 64)``, and the last heatmaps ``(B, 68, 64, 64)``."""
        found, heatmaps = [], x
        for stack in range(STACKS):
            seen = self.get_submodule(f"top_m_{stack}")(self.get_submodule(f"m{stack}")(x))
            seen = self.get_submodule(f"conv_last{stack}")(seen)
            seen = torch.relu(self.get_submodule(f"bn_end{stack}")(seen))
            heatmaps = self.get_submodule(f"l{stack}")(seen)
            if stack < STACKS - 1:
                seen = self.get_submodule(f"bl{stack}")(seen)
                x = x + seen + self.get_submodule(f"al{stack}")(heatmaps)
            found.append(seen)
        return torch.cat(found, dim=1), heatmaps


def describe() -> JudgeInfo:
    """Name and weights, without opening them; UserError where they are absent."""
    about = "the user's EmoNet, eight emotions, square by 68 landmarks"
    return file_info(NAME, assets.locate(NAME), about)


def load(path: Path) -> ToisoulEmoNet:
    """The network with a user's weights; UserError unless the file holds all its tensors and no
    others."""
    state = read_state_dict(path, f"asset {NAME}")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    net = ToisoulEmoNet()
    # Files of older versions of torch do not count the batches that a layer was trained on.
    counts = {n: v for n, v in net.state_dict().items() if n.endswith("num_batches_tracked")}
    try:
        net.load_state_dict(counts | state, strict=True)
    except RuntimeError as error:
        problem = f"holds other tensors ({str(error).splitlines()[-1].strip()[:120]})"
        raise UserError(f"asset {NAME}", path, "emonet_8.pth", problem) from None
    return net.eval()


class EmoNetJudge:
    """Emotions of faces by EmoNet.

    Args:
        device: where it runs.

    Raises:
        UserError: its weights are absent or another network's.
    """

    classes = CLASSES

    def __init__(self, device: torch.device) -> None:
        self._net, self._device = load(assets.locate(NAME)).to(device), device

    def cut(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The face ``(256, 256, 3)`` in an image with 68 points."""
        box = outline(points)
        return cut(picture, square(box, SQUARE * (box[2] + box[3])), SIDE, SIDE)

    @torch.inference_mode()
    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """``(B, 8)`` in the order of :data:`CLASSES` for faces ``(B, 256, 256, 3)`` uint8 RGB."""
        images = torch.from_numpy(faces.transpose(0, 3, 1, 2).astype(np.float32) / 255)
        return self._net(images.to(self._device))[:, : len(CLASSES)].softmax(1).cpu().numpy()
