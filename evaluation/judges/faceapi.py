"""face-api.js' expression network (V. Muehler, MIT): seven emotions, no contempt, from a face of
112 x 112 pixels.

The weights are not shipped: put ``face_expression_model-weights_manifest.json`` and
``face_expression_model-shard1``, as they lie in that project's folder ``weights``, into the folder
that ``EMO_ASSETS`` names.

The network: four blocks of four convolutions, each adding up the outputs of those before it; all
but the very first are separable in depth; every block halves the picture, the mean of the last is
classified. Its input is the box of the 68 landmarks, 1.2 times as wide and high, letterboxed in
black, RGB less the mean of VGG's training set, over 255: what face-api.js does after its landmarks,
which here are MediaPipe's. On the same pixels the probabilities are those of face-api.js itself to
2e-6.

How good it is: about as good as ours. Of the 17 clips of five MEAD actors whose emotion it knows,
it names 10 (.59, 95 % .36 to .78; ours 9); of eleven clips of people acting fury, joy, grief and
surprise 4 (.36, .15 to .65; ours 5). Its mistakes are others: all joy is found, and joy in three of
seven furious clips too; of 45 videos by a generator it calls all 15 happy ones happy and 28 of the
30 angry and sad ones neutral (right in 15, ours in 26). ``python -m benchmarks emotion --videos
DIR`` prints the table for other videos when its files are there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from evaluation.judges.crops import grow, letterbox, outline

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


class Full(nn.Module):
    """A plain 3 x 3 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.filters, self.bias = (
            nn.Parameter(torch.zeros(outputs, inputs, 3, 3)),
            nn.Parameter(torch.zeros(outputs)),
        )
        self._stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(_same(x, self._stride), self.filters, self.bias, self._stride)


class Separable(nn.Module):
    """A 3 x 3 convolution of each channel by itself, then of all channels in each pixel."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise_filter = nn.Parameter(torch.zeros(inputs, 1, 3, 3))
        self.pointwise_filter = nn.Parameter(torch.zeros(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._stride = stride

    def forward(self, x: Tensor) -> Tensor:
        deep = functional.conv2d(
            _same(x, self._stride), self.depthwise_filter, None, self._stride, groups=x.shape[1]
        )
        return functional.conv2d(deep, self.pointwise_filter, self.bias)


class Block(nn.Module):
    """Four convolutions, the first with stride 2; each later one sees the sum of all before it."""

    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        self.conv0 = (Full if first else Separable)(inputs, outputs, 2)
        self.conv1, self.conv2, self.conv3 = (Separable(outputs, outputs, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        total = torch.relu(self.conv0(x))
        # The sum is of what the convolutions gave, before the rectifier of the sum so far.
        for layer in (self.conv1, self.conv2, self.conv3):
            total = total + layer(torch.relu(total))
        return torch.relu(total)


class Classifier(nn.Module):
    """The last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weights, self.bias = (
            nn.Parameter(torch.zeros(len(CLASSES), WIDTHS[-1])),
            nn.Parameter(torch.zeros(len(CLASSES))),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weights, self.bias)


class ExpressionNet(nn.Module):
    """``(B, 3, 112, 112)`` RGB 0..255 -> logits ``(B, 7)``; parameters are called as in the
    manifest, with dots."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(4):
            self.add_module(
                f"dense{number}", Block(WIDTHS[number], WIDTHS[number + 1], number == 0)
            )
        self.fc = Classifier()
        self.register_buffer("_mean", torch.tensor(MEAN)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.get_buffer("_mean")) / 255
        for number in range(4):
            x = self.get_submodule(f"dense{number}")(x)
        return self.fc(x.mean(dim=(2, 3)))


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the manifest says it is stored: float32, or bytes ``b`` that stand for ``b *
    scale + low``."""

    name: str
    shape: tuple[int, ...]
    scale: float | None = None
    low: float = 0.0

    def read(self, data: bytes, start: int) -> tuple[Tensor, int]:
        """The tensor whose first byte is ``data[start]``, and where the next begins; ValueError
        past the end."""
        stop = start + prod(self.shape) * (4 if self.scale is None else 1)
        if stop > len(data):
            raise ValueError(f"the numbers end before {self.name}")
        if self.scale is None:
            values = np.frombuffer(data[start:stop], "<f4").astype(np.float32)
        else:
            values = np.frombuffer(data[start:stop], np.uint8) * np.float32(
                self.scale
            ) + np.float32(self.low)
        return torch.from_numpy(values.reshape(self.shape)), stop


def _stored(entry: Mapping[str, Any]) -> StoredTensor:
    name, shape, packing = (
        str(entry["name"]),
        tuple(int(n) for n in entry["shape"]),
        entry.get("quantization"),
    )
    if (
        entry["dtype"] != "float32"
        or (packing and packing["dtype"] != "uint8")
        or min(shape, default=0) < 1
    ):
        raise ValueError(f"{name} is neither float32 nor bytes that stand for it")
    return (
        StoredTensor(name, shape, float(packing["scale"]), float(packing["min"]))
        if packing
        else StoredTensor(name, shape)
    )


def read_shard(manifest: Path, shard: Path) -> dict[str, Tensor]:
    """The tensors of a TensorFlow.js weights file, by name, in its own layout.

    The manifest says which they are and how they are stored; the name of the file that it gives is
    not used.

    Raises:
        ValueError: not such a manifest, another type of numbers, or a shard of another length.
    """
    try:
        stored = [
            _stored(entry)
            for group in json.loads(manifest.read_text("utf-8"))
            for entry in group["weights"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{manifest.name} is no manifest of weights ({error})") from None
    data, place = shard.read_bytes(), 0
    found = {}
    for one in stored:
        found[one.name], place = one.read(data, place)
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
        why = str(error).splitlines()[-1].strip()[:120]
        raise UserError(
            "asset faceapi",
            manifest,
            "face-api.js' face_expression_model",
            f"cannot be used ({why})",
        ) from None
    return net.eval()


def describe() -> JudgeInfo:
    """Who this judge is, without opening it.

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
        ways = f"emo assets fetch {MANIFEST}, then {SHARD}, or both in a folder named by {assets.ENVIRONMENT}"
        raise UserError("assets faceapi_expression", files, ways, "were not found")
    if problems:
        raise problems[0]
    return JudgeInfo(
        NAME,
        assets.get(SHARD).sha256,
        "face-api.js' expression network, seven emotions, box of 68 landmarks",
    )


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
