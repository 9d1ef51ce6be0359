"""Judges that are image networks: the Inception of FID and KID, LPIPS and ST-LPIPS.

The networks are those of ``pytorch_fid``, ``lpips`` and ``stlpips_pytorch``
(:mod:`emo_lightning.losses.perceptual_backbones`). The FID Inception is the original file
``pt_inception-2015-12-05`` where the user has it, else a package's copy; each score says by hash
which one was used.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from emo_lightning.core import assets
from emo_lightning.losses.perceptual_backbones import (
    LPIPS_NETS,
    ST_LPIPS,
    fid_inception,
    find_inception,
    lpips_net,
    st_lpips_net,
)
from evaluation.judges.base import JudgeInfo


@lru_cache(maxsize=1)
def describe_inception() -> JudgeInfo:
    """Name and weights of the Inception, without opening it; UserError where they are absent."""
    about = "InceptionV3 of FID (pt_inception-2015-12-05), pool3 features"
    return JudgeInfo("inception-v3-fid", assets.get(find_inception()[0]).sha256, about)


@lru_cache(maxsize=3)
def describe_lpips(net: str) -> JudgeInfo:
    """Name and weights of LPIPS on a network; the hash is the trunk's. UserError where a file is
    absent."""
    heads, trunk = f"lpips_{net}_heads", f"lpips_{net}_trunk"
    for name in (heads, trunk):
        assets.locate(name)
    about = f"LPIPS 0.1 on {LPIPS_NETS[net]} (heads {assets.get(heads).sha256[:16]})"
    return JudgeInfo(f"lpips-{net}", assets.get(trunk).sha256, about)


@lru_cache(maxsize=1)
def describe_st_lpips() -> JudgeInfo:
    """Name and weights of ST-LPIPS, without opening it; UserError where they are absent."""
    assets.locate(ST_LPIPS)
    about = "ST-LPIPS 0.0 on its authors' shift-tolerant AlexNet"
    return JudgeInfo("st-lpips-alex", assets.get(ST_LPIPS).sha256, about)


class InceptionJudge:
    """Pool3 features of frames, as pytorch-fid computes them; UserError where the weights are
    absent."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.info, self._device = describe_inception(), torch.device(device)
        self._net = fid_inception().to(self._device)

    @torch.inference_mode()
    def features(self, frames: Tensor) -> Tensor:
        """Features ``(B, 2048)`` float32 of frames ``(B, 3, H, W)`` uint8."""
        x = frames.to(self._device).to(torch.float32, memory_format=torch.channels_last)
        return self._net(x.div_(255))[0].flatten(1)


class PerceptualJudge:
    """LPIPS or ST-LPIPS of pairs of frames.

    Args:
        info: name and weights.
        net: a network of two batches in -1..1.
        device: where it runs.
    """

    def __init__(self, info: JudgeInfo, net: nn.Module, device: torch.device | str = "cpu") -> None:
        self.info, self._device = info, torch.device(device)
        self._net = net.to(self._device)

    @torch.inference_mode()
    def distance(self, generated: Tensor, reference: Tensor) -> Tensor:
        """Distance ``(B,)`` of frames ``(B, 3, H, W)`` uint8; 0 for equal frames."""
        form = {"device": self._device, "dtype": torch.float32}
        pair = (x.to(**form, memory_format=torch.channels_last) for x in (generated, reference))
        return self._net(*(x / 127.5 - 1 for x in pair)).flatten()


def open_lpips(net: str, device: torch.device | str = "cpu") -> PerceptualJudge:
    """LPIPS on ``alex``, ``vgg`` or ``squeeze``; UserError where a file is absent."""
    return PerceptualJudge(describe_lpips(net), lpips_net(net), device)


def open_st_lpips(device: torch.device | str = "cpu") -> PerceptualJudge:
    """ST-LPIPS; UserError where its weights are absent."""
    return PerceptualJudge(describe_st_lpips(), st_lpips_net(), device)
