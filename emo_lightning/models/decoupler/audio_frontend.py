"""Audio front ends: log-mel spectrogram, or features of the frozen Whisper encoder.

``mel`` passes the rows of the spectrogram on. ``whisper`` encodes segments of fixed length and
place, each with the same context, so a stream gives the features of the whole recording. Whisper's
weights are never part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from emo_lightning.models.decoupler.whisper import WhisperEncoder
from emo_lightning.models.layers.temporal import ReceptiveField

ROWS_PER_FRAME = 4
"""Spectrogram rows per video frame, for every front end."""
SEGMENT = 32
"""Video frames of a segment that Whisper encodes at a time."""
CONTEXT = ReceptiveField(50, 5)
"""Video frames before and after a segment that Whisper's attention includes: 2 s and 0.2 s."""
MEL_SILENCE = -11.512925
"""log(1e-5): the floor of the log-mel spectrogram."""
DEPTH = 2
"""Blocks of Whisper's encoder in use; lips follow from the second's features better than from later
ones."""


@dataclass(frozen=True)
class FrontendInfo:
    """Vectors per video frame, their width, and their key in a training batch."""

    per_frame: int
    width: int
    key: str


FRONTENDS = {"mel": FrontendInfo(4, 80, "mel"), "whisper": FrontendInfo(2, 384, "whisper")}


class MelFrontend:
    """Identity on log-mel rows; without state, it is also its own stream.

    Attributes:
        silence: ``(80,)`` vector of silence.
        lookahead: video frames of audio after a frame that are needed at most.
        rows_needed: see :class:`WhisperFrontendStream`.
    """

    kind = "mel"
    front_end = FRONTENDS["mel"]
    lookahead = rows_needed = 0

    def __init__(self) -> None:
        self.silence = np.full(self.front_end.width, MEL_SILENCE, np.float32)

    def transform(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same blocks ``(n, 80)``."""
        return iter(blocks)

    def open_stream(self) -> MelFrontend:
        """One stream of rows."""
        return self

    def add(self, rows: np.ndarray) -> np.ndarray:
        """The same rows ``(n, 80)``."""
        return rows

    def flush(self) -> np.ndarray:
        """Remaining features: none."""
        return np.zeros((0, self.front_end.width), np.float32)


class WhisperFrontend:
    """Features of the frozen Whisper encoder, 50 per second.

    Args:
        encoder: with at least :data:`DEPTH` blocks; later ones are not used.
        silent_row: value of silence in the input rows.

    Attributes:
        silence: ``(384,)`` feature vector of silence.
        lookahead: video frames of audio after a frame that are needed at most.
    """

    kind = "whisper"
    front_end = FRONTENDS["whisper"]
    lookahead = CONTEXT.future + SEGMENT - 1

    def __init__(self, encoder: WhisperEncoder, silent_row: float) -> None:
        self.encoder, self.silent_row = encoder.requires_grad_(False).eval(), silent_row
        self.silence = self.encode(self.silent_rows(CONTEXT.total + SEGMENT)).mean(0)

    def transform(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Features ``(64, 384)`` per segment, the last shorter, of rows ``(n, 80)`` in any blocks.

        Four rows, one video frame, give two features; before and after the rows is silence.
        """
        stream = self.open_stream()
        for block in blocks:
            features = stream.add(block)
            if len(features):
                yield features
        yield stream.flush()

    def open_stream(self) -> WhisperFrontendStream:
        """One stream of rows."""
        return WhisperFrontendStream(self)

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Features ``(2T, 384)`` of a whole recording's rows ``(4T, 80)``."""
        return np.concatenate([_no_features(), *self.transform([rows])])

    @torch.no_grad()
    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Features ``(64, 384)`` of the segment in the middle of ``rows``, context included."""
        device = self.encoder.positions.device
        features = self.encoder.encode(torch.from_numpy(rows)[None].to(device), DEPTH)[0]
        start = self.front_end.per_frame * CONTEXT.past
        return features[start : start + self.front_end.per_frame * SEGMENT].float().cpu().numpy()

    def silent_rows(self, frames: int) -> np.ndarray:
        """Input rows of ``frames`` video frames of silence."""
        shape = (ROWS_PER_FRAME * frames, self.encoder.size.bands)
        return np.full(shape, self.silent_row, np.float32)


class WhisperFrontendStream:
    """One stream through a :class:`WhisperFrontend`; the output does not depend on the blocks."""

    def __init__(self, frontend: WhisperFrontend) -> None:
        self._frontend, self._rows = frontend, frontend.silent_rows(CONTEXT.past)
        self._received = self._encoded = 0

    @property
    def rows_needed(self) -> int:
        """Rows needed, from the start of the audio, before the next output."""
        return ROWS_PER_FRAME * (self._encoded + SEGMENT + CONTEXT.future)

    def add(self, rows: np.ndarray) -> np.ndarray:
        """Add ``(n, 80)`` rows; return the features ``(m, 384)`` of the segments they complete."""
        self._received += len(rows)
        self._rows = np.concatenate([self._rows, np.asarray(rows, np.float32)])
        features = [_no_features()]
        while len(self._rows) >= ROWS_PER_FRAME * (CONTEXT.total + SEGMENT):
            features.append(self._next_segment(self._rows))
        return np.concatenate(features)

    def flush(self) -> np.ndarray:
        """Remaining features, with silence after the last row."""
        frames, features = self._received // ROWS_PER_FRAME, [_no_features()]
        silence = self._frontend.silent_rows(CONTEXT.total + SEGMENT)
        while self._encoded < frames:
            remaining = WhisperFrontend.front_end.per_frame * (frames - self._encoded)
            features.append(self._next_segment(np.concatenate([self._rows, silence]))[:remaining])
        return np.concatenate(features)

    def _next_segment(self, rows: np.ndarray) -> np.ndarray:
        features = self._frontend.encode(rows[: ROWS_PER_FRAME * (CONTEXT.total + SEGMENT)])
        self._rows = self._rows[ROWS_PER_FRAME * SEGMENT :]
        self._encoded += SEGMENT
        return features


def _no_features() -> np.ndarray:
    return np.zeros((0, FRONTENDS["whisper"].width), np.float32)


AudioFrontend = MelFrontend | WhisperFrontend


class WhisperProjection(nn.Module):
    """Whisper's features to the controller's channels; ``(B, 384, F) -> (B, width, F)``.

    A few channels in the middle of the encoder are many times larger than the rest; batch norm with
    the statistics of training evens them out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FRONTENDS["whisper"].width, momentum=0.01, affine=False)
        self.mix = nn.Conv1d(FRONTENDS["whisper"].width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.mix(self.norm(features))
