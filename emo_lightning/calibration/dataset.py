"""What a fit sees: rows of sound's features beside the filmed expression and lips.

Shapes: n rows (frames in use), S portraits, F features, E expression coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emo_lightning.calibration.features import Heard, Readout
from emo_lightning.calibration.lips import lips_of_expression
from emo_lightning.calibration.recording import Recording
from emo_lightning.calibration.score import Sums
from emo_lightning.calibration.splits import Frames

PIECE = 38
"""Frames (1.5 s) that are drawn together when chance is measured; lips forget themselves sooner."""


@dataclass(frozen=True)
class Rows:
    """What was ``heard`` (S, n, ...), tracked ``exp`` (n, E) and ``lips`` (n, 2), ``identity`` (n, 40), whence each row is."""

    heard: Heard
    exp: np.ndarray
    lips: np.ndarray
    identity: np.ndarray
    frames: Frames

    def __len__(self) -> int:
        return len(self.exp)

    def __getitem__(self, pick: np.ndarray) -> Rows:
        return Rows(
            self.heard[pick],
            self.exp[pick],
            self.lips[pick],
            self.identity[pick],
            self.frames[pick],
        )

    @cached_property
    def centre(self) -> np.ndarray:
        """Mean features ``(F,)``."""
        return self.heard.features.mean((0, 1))

    @cached_property
    def covariance(self) -> np.ndarray:
        """Of the features, ``(F, F)``."""
        return np.cov(np.concatenate(self.heard.features).T, bias=True)

    def said(self, readout: Readout, portrait: int = 0) -> np.ndarray:
        """Expression ``(n, E)`` that a read-out gives."""
        return self.heard.said(readout, portrait)

    def said_lips(self, readout: Readout, portrait: int = 0) -> np.ndarray:
        """Opening and width ``(n, 2)`` that a read-out gives on the person's own face."""
        return lips_of_expression(self.identity, self.said(readout, portrait))

    def sums(self, readout: Readout) -> Sums:
        """For scores of a read-out and their intervals."""
        piece = self.frames.recording * 1_000_000 + self.frames.frame // PIECE
        return Sums.of(self.said_lips(readout), self.lips, self.frames.block, piece)


def rows_of(
    recordings: Sequence[Recording], heard: Sequence[Heard], lags: Sequence[int], frames: Frames
) -> Rows:
    """Rows for frames in use, the sound moved by each file's lag: frame t goes with what is heard at ``t - lag``."""
    at = frames.frame - np.asarray(lags)[frames.recording]
    inside = (at >= 0) & (at < np.array([len(r.run) for r in recordings])[frames.recording])
    frames, at = frames[inside], at[inside]
    parts = []
    for number in np.unique(frames.recording):
        mine = frames.recording == number
        film, t = recordings[number], frames.frame[mine]
        seen = (
            film.coefficients["exp"][t].astype(float),
            film.lips[t],
            film.coefficients["id"][t].astype(float),
        )
        parts.append((heard[number][at[mine]], *seen))
    sound, *seen = zip(*parts, strict=True)
    return Rows(Heard.joined(sound), *(np.concatenate(part) for part in seen), frames)
