"""Our lip-sync judge, ``emo-sync-1``: two small streams embed lips and audio of one moment close
together.

The protocol is SyncNet's: windows of 5 frames and 0.2 s of audio, one frame apart, compared at
shifts of up to 15 frames. Its input is not: not pixels but the landmarks of lips and chin, without
the head's movement and the person's resting mouth (:mod:`evaluation.judges.mouth`), because one
person's frames do not generalise to other faces, while lips open and close alike. The audio is a
log-mel spectrogram without its mean, which removes most of a microphone's coloration. Embeddings
have unit length, so distances lie between 0 and 2.

Scores carry the judge's name; they are not SyncNet's. ``python -m benchmarks sync`` measures it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.regions import LIP_INNER
from emo_lightning.media.spectrogram import N_MELS, log_mel
from evaluation.judges import landmarks
from evaluation.judges.base import JudgeInfo
from evaluation.judges.mouth import POINTS, mouth_shape

NAME = "emo-sync-1"
WEIGHTS = Path(__file__).parents[1] / "assets" / "lip_sync.safetensors"
WINDOW = 5
"""Frames of a window."""
ROWS = 4
"""Mel rows a frame."""
DIMENSION = 64
FLOOR = 8.0
"""Natural-log units under the sound's loud parts beyond which audio counts as silence."""
MOVEMENT, GAP, LOUDNESS = 0.04, 0.08, 2.0
"""Usual sizes, by which inputs are divided: movement of a lip point and distance between the lips
(IOD), log magnitude."""
_PLACE = {int(vertex): row for row, vertex in enumerate(POINTS)}
UPPER = [_PLACE[int(v)] for v in LIP_INNER[0][1:-1]]
LOWER = [_PLACE[int(v)] for v in LIP_INNER[1][1:-1]]
"""Rows of the inner lips' points that face each other."""
INPUTS = 3 * len(POINTS) + len(UPPER)


class LipSyncNet(nn.Module):
    """Both streams. A clip goes through at once: what a window's embedding depends on is the window
    alone."""

    def __init__(
        self,
        dimension: int = DIMENSION,
        width: int = 128,
        audio_width: int = 160,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.reduce = nn.Conv1d(INPUTS, width // 2, 1)
        self.lip_layers = nn.ModuleList(
            [_Layer(width // 2, width, 3), _Layer(width, width, 3), _Layer(width, width, 1)]
        )
        self.lip_output = nn.Conv1d(width, dimension, 1)
        self.bands = nn.ModuleList([_Band(1, 12), _Band(12, 24)])
        self.audio_layers = nn.ModuleList(
            [
                _Layer(24 * (N_MELS // 4), audio_width, ROWS, ROWS),
                _Layer(audio_width, audio_width, 2),
                _Layer(audio_width, audio_width, 3),
            ]
        )
        self.audio_output = nn.Conv1d(audio_width, dimension, 1)

    def lips(self, shape: Tensor) -> Tensor:
        """Mouth shapes ``(B, T, 45, 3)`` of whole clips (:func:`mouth_shape`) -> unit vectors ``(B,
        T - 4, D)``."""
        hidden = self.reduce(self.drop(lip_inputs(shape)).transpose(1, 2))
        for layer in self.lip_layers:
            hidden = layer(self.drop(hidden))
        return normalize(self.lip_output(hidden).transpose(1, 2), dim=-1)

    def voice(self, mel: Tensor) -> Tensor:
        """Log-mel spectrograms ``(B, 4 T, 80)`` of whole clips -> unit vectors ``(B, T - 4,
        D)``."""
        hidden = voice_inputs(mel)[:, None]
        for band in self.bands:
            hidden = band(hidden)
        hidden = hidden.transpose(2, 3).flatten(1, 2)
        for layer in self.audio_layers:
            hidden = layer(self.drop(hidden))
        return normalize(self.audio_output(hidden).transpose(1, 2), dim=-1)


class _Layer(nn.Module):
    """Convolution over time without padding, normalised."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(before, after, kernel, stride), nn.BatchNorm1d(after)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.norm(self.conv(x)))


class _Band(nn.Module):
    """Convolution over three mel rows and five bands; half as many bands come out."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv, self.norm = (
            nn.Conv2d(before, after, (3, 5), (1, 2), (0, 2)),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.norm(self.conv(x)))


def lip_inputs(shape: Tensor) -> Tensor:
    """``(B, T, 45, 3)`` -> ``(B, T, 144)``: movement about each point's median over the clip, and
    nine distances between the lips."""
    movement = shape - shape.median(dim=1, keepdim=True).values
    gap = torch.linalg.vector_norm(shape[:, :, LOWER] - shape[:, :, UPPER], dim=-1)
    return torch.cat([movement.flatten(2) / MOVEMENT, gap / GAP], dim=-1)


def voice_inputs(mel: Tensor) -> Tensor:
    """``(B, 4 T, 80)`` log-mel, quiet parts levelled and each band's mean over the clip taken
    away."""
    loud = mel.flatten(1).quantile(0.99, dim=1)[:, None, None]
    mel = torch.maximum(mel, loud - FLOOR)
    return (mel - mel.mean(dim=1, keepdim=True)) / LOUDNESS


@lru_cache(maxsize=1)
def describe() -> JudgeInfo:
    """Who this judge is, without opening it."""
    return JudgeInfo(
        NAME,
        sha256_of(WEIGHTS),
        f"two-stream lip-sync judge of this project on landmarks by {landmarks.describe().name}",
    )


class LipSyncJudge:
    """Embeddings of a clip's lips and voice, one row a window, windows one frame apart."""

    def __init__(self, weights: Path = WEIGHTS, device: torch.device | None = None) -> None:
        self.info = describe()
        self._device = device or torch.device("cpu")
        self._net = LipSyncNet()
        state = {n: value.float() for n, value in load_file(weights).items()}
        self._net.load_state_dict(state, strict=True)
        self._net.eval().to(self._device)

    @torch.inference_mode()
    def lips(self, points: np.ndarray) -> np.ndarray:
        """Landmarks of a whole clip -> embeddings.

        Args:
            points: ``(T, 468 or more, 3)`` in any unit, nan where no face was found.

        Returns:
            ``(T - 4, D)`` float32, nan for windows in which fewer than three of five frames show a
            face.

        Raises:
            ValueError: fewer than five frames, or no face at all.
        """
        seen = np.isfinite(points[:, 0, 0])
        if len(points) < WINDOW or not seen.any():
            found = f"the clip has {len(points)} frames, {int(seen.sum())} with a face"
            raise ValueError(f"{found}; at least {WINDOW} and one are needed")
        shape = torch.from_numpy(mouth_shape(points[nearest(seen)])).to(self._device)
        rows = self._net.lips(shape[None])[0].cpu().numpy()
        rows[np.convolve(seen, np.ones(WINDOW), "valid") < 3] = np.nan
        return rows

    @torch.inference_mode()
    def voice(self, wave: np.ndarray) -> np.ndarray:
        """``(640 T,)`` float32 at 16 kHz -> ``(T - 4, D)`` float32; ValueError for fewer than five
        frames of sound."""
        mel = log_mel(wave)
        if len(mel) < ROWS * WINDOW:
            raise ValueError(
                f"the sound has {len(wave)} samples, at least {640 * WINDOW} are needed"
            )
        return self._net.voice(torch.from_numpy(mel).to(self._device)[None])[0].cpu().numpy()


def nearest(seen: np.ndarray) -> np.ndarray:
    """For each of ``(T,)`` frames the nearest one that was seen."""
    good = np.flatnonzero(seen)
    after = np.clip(np.searchsorted(good, np.arange(len(seen))), 0, len(good) - 1)
    before = np.maximum(after - 1, 0)
    at = np.arange(len(seen))
    return np.where(
        np.abs(good[before] - at) <= np.abs(good[after] - at), good[before], good[after]
    )
