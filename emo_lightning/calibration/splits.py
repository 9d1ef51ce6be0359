"""The film cut into blocks of some seconds: most to fit, every fourth to judge by, and a gap between so that no sound is in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emo_lightning.calibration.recording import Recording
from emo_lightning.core.constants import FPS

EVERY = 4
"""One block in so many is held out."""
FOLDS = 4
"""Parts of the fitting blocks that take turns in choosing."""
LONG, SHORT = 5.0, 2.5
"""Seconds of a block, and where there is little film."""
LITTLE = 45.0
LEAST_SHARE = 0.3
"""A block with less of it in use is left out of judging."""


@dataclass(frozen=True)
class Frames:
    """Rows of one kind: which recording, which frame of it, which block."""

    recording: np.ndarray
    frame: np.ndarray
    block: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, pick: np.ndarray) -> Frames:
        return Frames(self.recording[pick], self.frame[pick], self.block[pick])


def in_blocks(recordings: Sequence[Recording]) -> Frames:
    """Every frame that shows a face that speaks, with the number of its block; blocks never span two files."""
    length = round(
        FPS * (LONG if sum(int(r.useful.sum()) for r in recordings) / FPS >= LITTLE else SHORT)
    )
    parts, blocks = [], 0
    for number, recording in enumerate(recordings):
        frame = np.flatnonzero(recording.useful)
        count = max(1, round(len(recording.run) / length))
        block = np.minimum(frame * count // max(len(recording.run), 1), count - 1)
        kept = np.bincount(block, minlength=count) >= LEAST_SHARE * len(recording.run) / count
        renumbered = np.cumsum(kept) - 1 + blocks
        blocks += int(kept.sum())
        use = kept[block]
        parts.append((np.full(int(use.sum()), number), frame[use], renumbered[block[use]]))
    return Frames(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def held_out(frames: Frames) -> np.ndarray:
    """``(n,)`` bool: rows in every fourth block."""
    return frames.block % EVERY == EVERY - 1


def fold_of(frames: Frames) -> np.ndarray:
    """``(n,)`` int: the turn in which a row's block judges; for rows that are not held out."""
    return (frames.block - frames.block // EVERY) % FOLDS


def apart_from(frames: Frames, judging: np.ndarray, gap: int) -> np.ndarray:
    """``(n,)`` bool: rows at least ``gap`` frames away from any judging row of the same recording."""
    far = ~judging
    for number in np.unique(frames.recording):
        mine = frames.recording == number
        there = np.sort(frames.frame[mine & judging])
        if len(there):
            at = frames.frame[mine]
            right = np.clip(np.searchsorted(there, at), 0, len(there) - 1)
            left = np.maximum(right - 1, 0)
            far[mine] &= np.minimum(np.abs(there[right] - at), np.abs(there[left] - at)) > gap
    return far
