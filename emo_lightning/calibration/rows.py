"""What a fit sees: rows of sound's features beside the filmed expression and lips.

Shapes: n rows (frames in use), S portraits, F features, E expression coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emo_lightning.calibration.blocks import Frames
from emo_lightning.calibration.film import Recording
from emo_lightning.calibration.heard import Heard, Readout, spoken
from emo_lightning.calibration.lips import lips_of_expression
from emo_lightning.calibration.score import Sums

PIECE = 38
"""Frames (1.5 s) that are drawn together when chance is measured; lips forget themselves sooner."""


@dataclass(frozen=True)
class Rows:
    """``features`` (S, n, F), ``felt`` (S, n, E), tracked ``exp`` (n, E) and ``lips`` (n, 2), ``identity`` (n, 40), whence each row is."""

    features: np.ndarray
    felt: np.ndarray
    exp: np.ndarray
    lips: np.ndarray
    identity: np.ndarray
    frames: Frames

    def __len__(self) -> int:
        return len(self.exp)

    def __getitem__(self, pick: np.ndarray) -> Rows:
        heard = self.features[:, pick], self.felt[:, pick]
        return Rows(*heard, self.exp[pick], self.lips[pick], self.identity[pick], self.frames[pick])

    @cached_property
    def centre(self) -> np.ndarray:
        """Mean features ``(F,)``."""
        return self.features.mean((0, 1))

    @cached_property
    def covariance(self) -> np.ndarray:
        """Of the features, ``(F, F)``."""
        return np.cov(self.features.reshape(-1, self.features.shape[-1]).T, bias=True)

    def said(self, readout: Readout, portrait: int = 0) -> np.ndarray:
        """Expression ``(n, E)`` that a read-out gives."""
        return spoken(self.features[portrait], self.felt[portrait], readout)

    def said_lips(self, readout: Readout, portrait: int = 0) -> np.ndarray:
        """Opening and width ``(n, 2)`` that a read-out gives on the person's own face."""
        return lips_of_expression(self.identity, self.said(readout, portrait))

    def sums(self, readout: Readout) -> Sums:
        """For scores of a read-out and their intervals."""
        piece = self.frames.recording * 1_000_000 + self.frames.frame // PIECE
        return Sums.of(self.said_lips(readout), self.lips, self.frames.block, piece)


def rows_of(recordings: Sequence[Recording], heard: Sequence[Heard], lags: Sequence[int], frames: Frames) -> Rows:
    """Rows for frames in use, the sound moved by each file's lag: frame t goes with what is heard at ``t - lag``."""
    at = frames.frame - np.asarray(lags)[frames.recording]
    inside = (at >= 0) & (at < np.array([len(r.run) for r in recordings])[frames.recording])
    frames, at = frames[inside], at[inside]
    parts = []
    for number in np.unique(frames.recording):
        mine = frames.recording == number
        film, sound, t, k = recordings[number], heard[number], frames.frame[mine], at[mine]
        seen = film.coefficients
        parts.append((sound.features[:, k], sound.felt[:, k], seen["exp"][t].astype(float), film.lips[t], seen["id"][t].astype(float)))
    features, felt, exp, lips, identity = zip(*parts, strict=True)
    whole = [np.concatenate(part) for part in (exp, lips, identity)]
    return Rows(np.concatenate(features, axis=1), np.concatenate(felt, axis=1), *whole, frames)
