"""What the decoupler hears with: our own mel as it is, or the frozen first half of Whisper's encoder.

``mel`` hands the sound's rows on. ``whisper`` makes features of speech of them, on pieces of fixed length and place, each
with the same context, so a stream gives what the whole recording gives. Its weights are never part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from emo_lightning.models.decoupler.whisper import WhisperEncoder
from emo_lightning.models.layers.temporal import Reach

ROWS_PER_FRAME = 4
"""Rows of sound that go with a video frame, whatever the kind."""
STEP = 32
"""Video frames of a piece."""
CONTEXT = Reach(50, 5)
"""Video frames that Whisper hears before and after a piece: 2 s and 0.2 s; 0.6 s after it would gain less than 0.005 of correlation."""
MEL_SILENCE = -11.512925
"""log(1e-5): the floor of our mel."""
DEPTH = 2
"""Blocks of Whisper's encoder that are used. Lips follow from the second's features better than from the last's."""


@dataclass(frozen=True)
class FrontendInfo:
    """What a front end hands on: vectors a video frame, their width, and the key that a training batch has them under."""

    per_frame: int
    width: int
    key: str


FRONTENDS = {"mel": FrontendInfo(4, 80, "mel"), "whisper": FrontendInfo(2, 384, "whisper")}


class MelFrontend:
    """Hands the rows on."""

    kind = "mel"
    front_end = FRONTENDS["mel"]
    ahead = 0
    """Video frames of sound after a frame that are needed at most."""

    def __init__(self) -> None:
        self.quiet = np.full(self.front_end.width, MEL_SILENCE, np.float32)

    def stream(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same pieces ``(n, 80)``."""
        return iter(blocks)

    def listen(self) -> MelFrontendStream:
        """For rows that are pushed."""
        return MelFrontendStream()


class MelFrontendStream:
    """Rows pushed into :class:`MelFrontend`."""

    wanted = 0
    """Rows, counted from the sound's start, without which nothing more comes out."""

    def push(self, rows: np.ndarray) -> np.ndarray:
        """The same rows ``(n, 80)``."""
        return rows

    def finish(self) -> np.ndarray:
        """Nothing is left."""
        return np.zeros((0, MelFrontend.front_end.width), np.float32)


class WhisperFrontend:
    """Whisper's features, 50 a second.

    Args:
        encoder: with :data:`DEPTH` blocks at least; what follows them is not used.
        quiet_row: what silence is in the rows that come in.
    """

    kind = "whisper"
    front_end = FRONTENDS["whisper"]
    ahead = CONTEXT.future + STEP - 1

    def __init__(self, encoder: WhisperEncoder, quiet_row: float) -> None:
        self.encoder, self.quiet_row = encoder.requires_grad_(False).eval(), quiet_row
        self.quiet = self.piece(self.silence(CONTEXT.total + STEP)).mean(0)
        """What silence is in the features."""

    def stream(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Features ``(64, 384)`` a piece, the last shorter, of rows ``(n, 80)`` that arrive in pieces of any length.

        Four rows, a video frame, give two features; what lies before the first and after the last row is silence.
        """
        listener = self.listen()
        for block in blocks:
            made = listener.push(block)
            if len(made):
                yield made
        yield listener.finish()

    def listen(self) -> WhisperFrontendStream:
        """For rows that are pushed."""
        return WhisperFrontendStream(self)

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Features ``(2T, 384)`` of a whole recording's rows ``(4T, 80)``."""
        return np.concatenate(
            [np.zeros((0, self.front_end.width), np.float32), *self.stream([rows])]
        )

    @torch.no_grad()
    def piece(self, rows: np.ndarray) -> np.ndarray:
        """Features of the :data:`STEP` frames within their context."""
        features = self.encoder.after(torch.from_numpy(rows)[None], DEPTH)[0]
        start = self.front_end.per_frame * CONTEXT.past
        return features[start : start + self.front_end.per_frame * STEP].numpy()

    def silence(self, frames: int) -> np.ndarray:
        return np.full(
            (ROWS_PER_FRAME * frames, self.encoder.size.bands), self.quiet_row, np.float32
        )


class WhisperFrontendStream:
    """Rows pushed into a :class:`WhisperFrontend`; what comes out does not depend on how they are cut."""

    def __init__(self, ear: WhisperFrontend) -> None:
        self._ear, self._rows = ear, ear.silence(CONTEXT.past)
        self._heard = self._made = 0

    @property
    def wanted(self) -> int:
        """Rows, counted from the sound's start, without which nothing more comes out."""
        return ROWS_PER_FRAME * (self._made + STEP + CONTEXT.future)

    def push(self, rows: np.ndarray) -> np.ndarray:
        """Take ``(n, 80)`` rows; the features ``(m, 384)`` of the pieces that they complete."""
        self._heard += len(rows)
        self._rows = np.concatenate([self._rows, np.asarray(rows, np.float32)])
        out = [np.zeros((0, WhisperFrontend.front_end.width), np.float32)]
        while len(self._rows) >= ROWS_PER_FRAME * (CONTEXT.total + STEP):
            out.append(self._step(self._rows))
        return np.concatenate(out)

    def finish(self) -> np.ndarray:
        """The features that are left; after the last row is silence."""
        frames, out = (
            self._heard // ROWS_PER_FRAME,
            [np.zeros((0, WhisperFrontend.front_end.width), np.float32)],
        )
        while self._made < frames:
            left = WhisperFrontend.front_end.per_frame * (frames - self._made)
            out.append(
                self._step(np.concatenate([self._rows, self._ear.silence(CONTEXT.total + STEP)]))[
                    :left
                ]
            )
        return np.concatenate(out)

    def _step(self, rows: np.ndarray) -> np.ndarray:
        made = self._ear.piece(rows[: ROWS_PER_FRAME * (CONTEXT.total + STEP)])
        self._rows, self._made = self._rows[ROWS_PER_FRAME * STEP :], self._made + STEP
        return made


Ear = MelFrontend | WhisperFrontend
Listener = MelFrontendStream | WhisperFrontendStream


class WhisperProjection(nn.Module):
    """Whisper's features to the controller's channels; ``(B, 384, F) -> (B, width, F)``.

    The middle of the encoder has a few channels many times larger than the rest, and its positions in it; a norm over
    each channel's own statistics, learned in training, evens them out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FRONTENDS["whisper"].width, momentum=0.01, affine=False)
        self.mix = nn.Conv1d(FRONTENDS["whisper"].width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.mix(self.norm(features))
