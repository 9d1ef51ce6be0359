"""face-api.js' expression network (V. Muehler, MIT): seven emotions, no contempt, from a face of
112 x 112 pixels.

The weights are not shipped: put ``face_expression_model-weights_manifest.json`` and
``face_expression_model-shard1``, as they lie in that project's folder ``weights``, into the folder
that ``EMO_ASSETS`` names.

Four blocks of four convolutions, each adding up the outputs of those before it; all but the first
are depthwise separable; every block halves the resolution, the mean of the last is classified.
Input as in face-api.js: the box of the 68 landmarks, 1.2 times as wide and high, letterboxed in
black, RGB less the mean of VGG's training set, over 255.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from evaluation.judges.base import JudgeInfo
from evaluation.judges.face_crops import grow, letterbox, outline

MANIFEST, SHARD = "faceapi_expression_manifest", "faceapi_expression_weights"
NAME = "faceapi"
SIDE = 112
PADDING = 1.2
CLASSES = ("neutral", "happy", "sad", "angry", "fear", "disgusted", "surprised")
"""The network's order, by our names."""
MEAN = (122.782, 117.001, 104.298)
WIDTHS = (3, 32, 64, 128, 256)


def _same(x: Tensor, stride: int) -> Tensor:
    """Borders of zeros as TensorFlow's "same" puts them for a kernel of 3: with stride 2 on an even
    side, right and below alone."""
    return functional.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))


class Convolution(nn.Module):
    """A 3 x 3 convolution, plain or depthwise separable; parameters are named as in the
    manifest."""

    def __init__(self, inputs: int, outputs: int, stride: int, plain: bool = False) -> None:
        super().__init__()
        self._stride, self._plain = stride, plain
        if plain:
            self.filters = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        else:
            self.depthwise_filter = nn.Parameter(torch.zeros(inputs, 1, 3, 3))
            self.pointwise_filter = nn.Parameter(torch.zeros(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x, stride = _same(x, self._stride), self._stride
        if self._plain:
            return functional.conv2d(x, self.filters, self.bias, stride)
        deep = functional.conv2d(x, self.depthwise_filter, None, stride, groups=x.shape[1])
        return functional.conv2d(deep, self.pointwise_filter, self.bias)


class DenseBlock(nn.Module):
    """Four convolutions, the first with stride 2; the input of each later one is the sum of all
    before it."""

    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        self.conv0 = Convolution(inputs, outputs, 2, first)
        self.conv1, self.conv2, self.conv3 = (Convolution(outputs, outputs, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        total = torch.relu(self.conv0(x))
        # The sum is of the convolutions' outputs, before the rectifier of the sum so far.
        for layer in (self.conv1, self.conv2, self.conv3):
            total = total + layer(torch.relu(total))
        return torch.relu(total)


class Classifier(nn.Module):
    """The last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(len(CLASSES), WIDTHS[-1]))
        self.bias = nn.Parameter(torch.zeros(len(CLASSES)))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weights, self.bias)


class ExpressionNet(nn.Module):
    """``(B, 3, 112, 112)`` RGB 0..255 -> logits ``(B, 7)``; parameters are called as in the
    manifest, with dots."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(4):
            block = DenseBlock(WIDTHS[number], WIDTHS[number + 1], number == 0)
            self.add_module(f"dense{number}", block)
        self.fc = Classifier()
        self.register_buffer("_mean", torch.tensor(MEAN)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.get_buffer("_mean")) / 255
        for number in range(4):
            x = self.get_submodule(f"dense{number}")(x)
        return self.fc(x.mean(dim=(2, 3)))


def _decode(entry: Mapping[str, Any], data: bytes, start: int) -> tuple[Tensor, int]:
    """The tensor of a manifest's entry whose first byte is ``data[start]``, and where the next
    begins.

    It is stored as float32, or as bytes ``b`` that stand for ``b * scale + min``.
    """
    shape, packing = tuple(int(n) for n in entry["shape"]), entry.get("quantization")
    kinds = entry["dtype"], packing["dtype"] if packing else "uint8"
    if kinds != ("float32", "uint8") or min(shape, default=0) < 1:
        raise ValueError(f"{entry['name']} is neither float32 nor bytes that stand for it")
    stop = start + prod(shape) * (1 if packing else 4)
    if stop > len(data):
        raise ValueError(f"the numbers end before {entry['name']}")
    values = np.frombuffer(data[start:stop], np.uint8 if packing else "<f4").astype(np.float32)
    if packing:
        values = values * np.float32(packing["scale"]) + np.float32(packing["min"])
    return torch.from_numpy(values.reshape(shape)), stop


def read_shard(manifest: Path, shard: Path) -> dict[str, Tensor]:
    """The tensors of a TensorFlow.js weights file, by name, in its own layout.

    The manifest says which they are and how they are stored; the file name that it gives is not
    used.

    Raises:
        ValueError: not such a manifest, another type of numbers, or a shard of another length.
    """
    data, place = shard.read_bytes(), 0
    found = {}
    try:
        groups = json.loads(manifest.read_text("utf-8"))
        for entry in (entry for group in groups for entry in group["weights"]):
            found[str(entry["name"])], place = _decode(entry, data, place)
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{manifest.name} is no manifest of weights ({error})") from None
    if place != len(data):
        raise ValueError(f"{shard.name} holds {len(data)} bytes, its manifest says {place}")
    return found


ORDER: Mapping[str, Sequence[int]] = {
    "filters": (3, 2, 0, 1),
    "pointwise_filter": (3, 2, 0, 1),
    "depthwise_filter": (2, 3, 0, 1),
    "weights": (1, 0),
    "bias": (0,),
}
"""Axes of TensorFlow's tensors in the order outputs, inputs, height, width."""


def from_tensorflow(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors by the names and in the layout of :class:`ExpressionNet`; ValueError for a
    kind that it does not have."""
    found = {}
    for name, value in tensors.items():
        axes = ORDER.get(name.rsplit("/", 1)[-1], ())
        if len(axes) != value.ndim:
            raise ValueError(f"{name} has shape {tuple(value.shape)}")
        found[name.replace("/", ".")] = value.permute(*axes).contiguous()
    return found


def load(manifest: Path, shard: Path) -> ExpressionNet:
    """The network with its weights; UserError unless the files hold exactly its tensors."""
    net = ExpressionNet()
    try:
        net.load_state_dict(from_tensorflow(read_shard(manifest, shard)), strict=True)
    except (ValueError, RuntimeError) as error:
        problem = f"cannot be used ({str(error).splitlines()[-1].strip()[:120]})"
        accepted = "face-api.js' face_expression_model"
        raise UserError("asset faceapi", manifest, accepted, problem) from None
    return net.eval()


def describe() -> JudgeInfo:
    """Name and weights, without opening them.

    Raises:
        UserError: one of its files is absent or has another content; names both if both are.
    """
    problems = []
    for asset in (MANIFEST, SHARD):
        try:
            assets.locate(asset)
        except UserError as error:
            problems.append(error)
    if len(problems) == 2 and problems[0].problem == problems[1].problem == "was not found":
        files = " and ".join(assets.get(asset).filename for asset in (MANIFEST, SHARD))
        accepted = f"emo assets fetch {MANIFEST}, then {SHARD}, or both in ${assets.ENVIRONMENT}"
        raise UserError("assets faceapi_expression", files, accepted, "were not found")
    if problems:
        raise problems[0]
    about = "face-api.js' expression network, seven emotions, box of 68 landmarks"
    return JudgeInfo(NAME, assets.get(SHARD).sha256, about)


class FaceApiJudge:
    """Emotions of faces by face-api.js' network.

    Args:
        device: where it runs.
        net: the network; None loads the user's.

    Raises:
        UserError: its files are absent.
    """

    classes = CLASSES

    def __init__(self, device: torch.device, net: ExpressionNet | None = None) -> None:
        self._net = (net or load(assets.locate(MANIFEST), assets.locate(SHARD))).to(device)
        self._device = device

    def cut(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The face ``(112, 112, 3)`` in a picture with 68 points."""
        return letterbox(picture, grow(outline(points), PADDING, PADDING), SIDE)

    @torch.inference_mode()
    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """``(B, 7)`` in the order of :data:`CLASSES` for faces ``(B, 112, 112, 3)`` uint8 RGB."""
        pictures = torch.from_numpy(faces.transpose(0, 3, 1, 2).astype(np.float32)).to(self._device)
        return self._net(pictures).softmax(1).cpu().numpy()
