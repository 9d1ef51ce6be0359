"""SyncNet (Chung & Zisserman 2016): the network of ``syncnet_v2.model`` and its inputs.

The weights are not shipped: put ``syncnet_v2.model`` (Oxford VGG's download, research use) into the
folder that ``EMO_ASSETS`` names. With equal weights and 224 x 224 images, embeddings and scores are
those of syncnet_python. The audio input is 13 MFCCs a hundred times a second
(``python_speech_features``), twenty of them a window.

syncnet_python crops the face by S3FD's box: with half side ``b`` of the longer edge, from b above
the box's centre to 1.8 b below it and 1.4 b to either side, scaled to 224 x 224, BGR 0..255. Here
no second detector runs: the box is that of the face's landmarks, enlarged and moved up as a
detector trained on WIDER FACE places it (:data:`BOX_SCALE`, :data:`BOX_RISE`). It is the median
over the window's five frames, and beyond the image the border is repeated instead of grey.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from emo_lightning.core import assets
from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.core.errors import UserError
from emo_lightning.core.external_weights import read_state_dict
from evaluation.judges.base import JudgeInfo, file_info
from evaluation.protocol import Unavailable

ASSET = "syncnet"
WINDOW = 5
"""Frames of a window."""
ROWS = 4
"""MFCC rows a frame."""
SIDE = 224
DIMENSION = 1024
CROP_SCALE = 0.4
SPAN = 2 * (1 + CROP_SCALE)
"""Side of the crop in half sides of the face's box."""
BOX_SCALE, BOX_RISE = 1.2, 0.15
"""A detector's box over that of the landmarks, and how far its centre lies above theirs in half
sides of theirs."""
HOP = 160
"""Samples of an MFCC row."""


class SyncNet(nn.Module):
    """The two streams; parameter names are those of ``syncnet_v2.model``."""

    def __init__(self, dimension: int = DIMENSION) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_block(nn.Conv2d(1, 64, 3, padding=1)),
            nn.MaxPool2d(1),
            *_block(nn.Conv2d(64, 192, 3, padding=1)),
            nn.MaxPool2d(3, (1, 2)),
            *_block(nn.Conv2d(192, 384, 3, padding=1)),
            *_block(nn.Conv2d(384, 256, 3, padding=1)),
            *_block(nn.Conv2d(256, 256, 3, padding=1)),
            nn.MaxPool2d(3, 2),
            *_block(nn.Conv2d(256, 512, (5, 4))),
        )
        self.netcnnlip = nn.Sequential(
            *_block(nn.Conv3d(3, 96, (5, 7, 7), (1, 2, 2))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(nn.Conv3d(256, 512, (1, 6, 6))),
        )
        self.netfcaud, self.netfclip = _head(dimension), _head(dimension)

    def lips(self, pictures: Tensor) -> Tensor:
        """Windows ``(B, 3, 5, 224, 224)`` BGR 0..255 -> ``(B, D)``."""
        return self.netfclip(self.netcnnlip(pictures).flatten(1))

    def voice(self, coefficients: Tensor) -> Tensor:
        """Windows ``(B, 1, 13, 20)`` of MFCCs -> ``(B, D)``."""
        return self.netfcaud(self.netcnnaud(coefficients).flatten(1))


def _block(layer: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, nn.Module, nn.Module]:
    norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm3d
    return layer, norm(layer.out_channels), nn.ReLU(inplace=True)


def _head(dimension: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, dimension)
    )


def locate(folder: str | Path | None = None) -> Path:
    """The user's weights; UserError saying where to put them."""
    return assets.locate(ASSET, folder)


def describe() -> JudgeInfo:
    """Name and weights, without opening them; UserError or Unavailable where something is
    absent."""
    if importlib.util.find_spec("python_speech_features") is None:
        install = "pip install --no-deps python_speech_features"
        raise Unavailable(f"the package python_speech_features is not installed ({install})")
    about = "SyncNet (Chung & Zisserman 2016), face crop by landmarks"
    return file_info("syncnet_v2", locate(), about)


def load(path: Path) -> SyncNet:
    """The network with a user's weights; UserError unless the file holds exactly its tensors."""
    state = read_state_dict(path, f"asset {ASSET}")
    net = SyncNet()
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        problem = f"holds other tensors ({str(error).splitlines()[-1].strip()})"
        raise UserError(f"asset {ASSET}", path, "syncnet_v2.model", problem) from None
    return net.eval()


def to_int16(wave: np.ndarray) -> np.ndarray:
    """``(N,)`` float in [-1, 1] as the 16-bit samples that a wav file would hold."""
    return np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int16)


def face_windows(crops: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SyncNet's input from consecutive frames.

    Args:
        crops: ``(B, S, S, 3)`` uint8 RGB, B at least 5.
        points: ``(B, P, 2 or more)`` landmarks in their pixels, nan where no face was found.

    Returns:
        ``(B - 4, 5, 224, 224, 3)`` uint8 BGR, and ``(B - 4,)`` bool: windows in which a face was
        found.
    """
    low, high = points[..., :2].min(axis=1), points[..., :2].max(axis=1)
    count = len(crops) - WINDOW + 1
    out, seen = np.zeros((count, WINDOW, SIDE, SIDE, 3), np.uint8), np.zeros(count, bool)
    for first in range(count):
        rows = np.arange(first, first + WINDOW)
        rows = rows[np.isfinite(low[rows, 0])]
        if not len(rows):
            continue
        seen[first] = True
        reach = float(np.median((high - low)[rows].max(axis=1))) / 2
        x, y = np.median((low + high)[rows] / 2, axis=0)
        half, y = BOX_SCALE * reach, y - BOX_RISE * reach
        corner = x - (1 + CROP_SCALE) * half, y - half
        for place in range(WINDOW):
            out[first, place] = _cut(crops[first + place], *corner, SPAN * half)[..., ::-1]
    return out, seen


def _cut(picture: np.ndarray, left: float, top: float, side: float) -> np.ndarray:
    """A square of a picture at 224 x 224."""
    step = side / SIDE
    matrix = np.array([[step, 0.0, left + step / 2 - 0.5], [0.0, step, top + step / 2 - 0.5]])
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=flags, borderMode=border)


class SyncNetJudge:
    """Embeddings of lips and voice by a :class:`SyncNet`, one row a window, windows one frame
    apart."""

    def __init__(self, net: SyncNet, device: torch.device, batch: int = 20) -> None:
        self._net, self._device, self._batch = net.eval().to(device), device, batch

    @torch.inference_mode()
    def lips(self, windows: np.ndarray) -> np.ndarray:
        """``(N, 5, 224, 224, 3)`` uint8 BGR -> ``(N, D)`` float32."""
        rows = []
        for part in np.array_split(windows, range(self._batch, len(windows), self._batch)):
            images = torch.from_numpy(part.transpose(0, 4, 1, 2, 3).astype(np.float32))
            rows.append(self._net.lips(images.to(self._device)).cpu())
        return torch.cat(rows).numpy()

    @torch.inference_mode()
    def voice(self, wave: np.ndarray) -> np.ndarray:
        """``(N,)`` int16 -> ``(N // 640 - 5, D)`` float32; the last window is skipped, as there.

        Raises:
            ValueError: fewer than six frames of audio.
        """
        count = len(wave) // (ROWS * HOP) - WINDOW
        if count < 1:
            least = (WINDOW + 1) * ROWS * HOP
            raise ValueError(f"the audio has {len(wave)} samples, at least {least} are needed")
        rows = importlib.import_module("python_speech_features").mfcc(wave, SAMPLE_RATE)
        coefficients = torch.from_numpy(rows.T.astype(np.float32)).unfold(1, ROWS * WINDOW, ROWS)
        windows = coefficients.transpose(0, 1)[:count, None].to(self._device)
        parts = windows.split(self._batch * 8)
        return torch.cat([self._net.voice(part).cpu() for part in parts]).numpy()
