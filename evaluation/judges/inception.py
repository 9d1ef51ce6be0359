"""The Inception judge: what FID, KID and our perceptual distance look at.

Its weights are those of ``pt_inception-2015-12-05``, from the user's own copy or from the package that ships them. The two
files hold the same network (their features agree to 1e-5), and each score says by hash which one was used.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from evaluation.judges.base import JudgeInfo
from evaluation.judges.inception_net import FEATURES, Conv, InceptionNet
from evaluation.judges.weights import read_state_dict, read_storages

__all__ = ["FEATURES", "InceptionJudge", "describe", "read_weights"]

SIZE = 299
ORIGINAL, PACKAGED = "fid_inception", "fid_inception_torchscript"


def find() -> tuple[str, Path]:
    """The asset's name and file: the original file where there is one, else the package's.

    Raises:
        UserError: neither is there, or one has another content.
    """
    found = {
        status.asset.name: status.path
        for status in assets.list_assets()
        if status.asset.name in (ORIGINAL, PACKAGED)
    }
    name = ORIGINAL if found[ORIGINAL] is not None else PACKAGED
    return name, assets.locate(name)


@lru_cache(maxsize=1)
def describe() -> JudgeInfo:
    """Who this judge is, without opening it."""
    name, _ = find()
    return JudgeInfo(
        "inception-v3-fid",
        assets.get(name).sha256,
        "InceptionV3 of FID (pt_inception-2015-12-05), pool3 features",
    )


def read_weights(name: str, path: Path) -> dict[str, Tensor]:
    """The network's state dict in pytorch-fid's layout, without its classifier."""
    return _from_torchscript(path) if name == PACKAGED else read_state_dict(path, name)


def _from_torchscript(path: Path) -> dict[str, Tensor]:
    """The package's archive: for each convolution its weight, then shift, mean and variance of a batch norm without gain.

    Its convolutions stand in the order in which :class:`InceptionNet` defines its own.
    """
    parts = {
        name: part.conv.weight.shape
        for name, part in InceptionNet().named_modules()
        if isinstance(part, Conv)
    }
    tensors = iter(
        read_storages(
            path, [s for shape in parts.values() for s in (shape, shape[:1], shape[:1], shape[:1])]
        )
    )
    state: dict[str, Tensor] = {}
    for name in parts:
        state[f"{name}.conv.weight"] = next(tensors)
        for key in ("bias", "running_mean", "running_var"):
            state[f"{name}.bn.{key}"] = next(tensors)
        state[f"{name}.bn.weight"] = torch.ones_like(state[f"{name}.bn.bias"])
    return state


class InceptionJudge:
    """Features of frames.

    Args:
        device: where it runs.

    Raises:
        UserError: its weights are nowhere.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        name, path = find()
        self.info = describe()
        self.device = torch.device(device)
        self._net = InceptionNet()
        try:
            self._net.fold(read_weights(name, path))
        except (KeyError, ValueError) as error:
            raise UserError(f"asset {name}", path, "the InceptionV3 of FID", str(error)) from None
        self._net.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(self, frames: Tensor) -> Tensor:
        """Pool3 features, as pytorch-fid computes them: frames in 0..1, resized once to 299 (bilinear, no antialiasing), in -1..1.

        Args:
            frames: ``(B, 3, H, W)`` uint8.

        Returns:
            ``(B, 2048)`` float32.
        """
        x = self._scaled(frames, SIZE)
        return self._net(x)[0]

    def _scaled(self, frames: Tensor, size: int) -> Tensor:
        x = frames.to(self.device).to(torch.float32, memory_format=torch.channels_last).div_(255)
        if x.shape[2:] != (size, size):
            x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
        return x.mul_(2).sub_(1)
