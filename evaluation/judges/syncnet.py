"""SyncNet (Chung & Zisserman 2016): the network of ``syncnet_v2.model``, its inputs.

The weights are not shipped: put ``syncnet_v2.model`` (Oxford VGG's download, research use) into the
folder that ``EMO_ASSETS`` names. Given the same weights and the same 224 x 224 pictures, embeddings
and scores are those of syncnet_python.

**Sound**: 13 MFCCs a hundred times a second (:func:`mfcc`), twenty of them a window.

**Pictures**: syncnet_python crops the face by S3FD's box: with half side ``b`` of the longer edge
(median over 13 frames), from b above the box's centre to 1.8 b below it and 1.4 b to either side,
scaled to 224 x 224, BGR 0..255. Here everything is the same but where the box comes from: no second
detector runs; the box is that of the face's landmarks, 1.2 times as large and moved up by 0.15 of
its half side, which is how a detector trained on the same annotations (WIDER FACE) sees them: 1.22
and 0.16, standard deviation 0.08 and 0.06 over 102 frames of thirty clips. It is the median over
the window's five frames, and beyond the picture the border is repeated instead of grey.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.core.external_weights import read_state_dict
from evaluation.judges.base import JudgeInfo, file_info

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
_RATE, _LENGTH, _HOP, _FFT = 16_000, 400, 160, 512
_FILTERS, _COEFFICIENTS, _LIFTER, _EMPHASIS = 26, 13, 22, 0.97


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
    """Name and weights, without opening them; UserError where they are absent."""
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


def mfcc(wave: np.ndarray) -> np.ndarray:
    """MFCCs as ``python_speech_features.mfcc`` 0.6 computes them with its defaults on 16-bit sound
    at 16 kHz (to 1e-9).

    Frames of 25 ms without a window, every 10 ms; 26 triangular filters on 512 points from 0 to 8
    kHz; the first coefficient is the frame's log energy.

    Args:
        wave: ``(N,)`` int16.

    Returns:
        ``(1 + ceil((N - 400) / 160), 13)`` float64.
    """
    samples = wave.astype(np.float64)
    samples = np.append(samples[0], samples[1:] - _EMPHASIS * samples[:-1])
    count = 1 + max(0, -(-(len(samples) - _LENGTH) // _HOP))
    padded = np.pad(samples, (0, max(0, (count - 1) * _HOP + _LENGTH - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _LENGTH)[::_HOP][:count]
    power = np.square(np.abs(np.fft.rfft(frames, _FFT))) / _FFT
    # As there, only an exact zero is replaced, or the logarithm would be infinite.
    energy, bands = power.sum(axis=1), power @ _filters().T
    tiny = np.finfo(float).eps
    energy, bands = np.where(energy == 0, tiny, energy), np.where(bands == 0, tiny, bands)
    cepstra = dct(np.log(bands), type=2, axis=1, norm="ortho")[:, :_COEFFICIENTS]
    cepstra *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(_COEFFICIENTS) / _LIFTER)
    cepstra[:, 0] = np.log(energy)
    return cepstra


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """``(26, 257)`` triangles, evenly spaced in mel, corners on whole bins."""
    top = 2595 * np.log10(1 + _RATE / 2 / 700.0)
    hertz = 700 * (10 ** (np.linspace(0, top, _FILTERS + 2) / 2595.0) - 1)
    corner = np.floor((_FFT + 1) * hertz / _RATE)
    bins, out = np.arange(_FFT // 2 + 1), np.zeros((_FILTERS, _FFT // 2 + 1))
    for row, (left, middle, right) in enumerate(zip(corner, corner[1:], corner[2:], strict=False)):
        rise, fall = (bins >= left) & (bins < middle), (bins >= middle) & (bins < right)
        out[row, rise], out[row, fall] = (
            (bins[rise] - left) / (middle - left),
            (right - bins[fall]) / (right - middle),
        )
    return out


def to_int16(wave: np.ndarray) -> np.ndarray:
    """``(N,)`` float in [-1, 1] as the 16-bit samples that a wav file would hold."""
    return np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int16)


def face_windows(crops: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pictures that SyncNet sees of consecutive frames.

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
        for place in range(WINDOW):
            out[first, place] = _cut(
                crops[first + place], x - (1 + CROP_SCALE) * half, y - half, SPAN * half
            )[..., ::-1]
    return out, seen


def _cut(picture: np.ndarray, left: float, top: float, side: float) -> np.ndarray:
    """A square of a picture at 224 x 224."""
    step = side / SIDE
    matrix = np.array([[step, 0.0, left + step / 2 - 0.5], [0.0, step, top + step / 2 - 0.5]])
    return cv2.warpAffine(
        picture,
        matrix,
        (SIDE, SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


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
            pictures = torch.from_numpy(part.transpose(0, 4, 1, 2, 3).astype(np.float32)).to(
                self._device
            )
            rows.append(self._net.lips(pictures).cpu())
        return torch.cat(rows).numpy()

    @torch.inference_mode()
    def voice(self, wave: np.ndarray) -> np.ndarray:
        """``(N,)`` int16 -> ``(N // 640 - 5, D)`` float32; the last window is left out, as there.

        Raises:
            ValueError: fewer than six frames of sound.
        """
        count = len(wave) // (ROWS * _HOP) - WINDOW
        if count < 1:
            least = (WINDOW + 1) * ROWS * _HOP
            raise ValueError(f"the audio has {len(wave)} samples, at least {least} are needed")
        coefficients = torch.from_numpy(mfcc(wave).T.astype(np.float32))
        windows = torch.stack(
            [coefficients[None, :, ROWS * n : ROWS * (n + WINDOW)] for n in range(count)]
        )
        return torch.cat(
            [
                self._net.voice(part.to(self._device)).cpu()
                for part in windows.split(self._batch * 8)
            ]
        ).numpy()
