"""Rows of training batches: windows of clips for stages 1 and 2, pairs of frames for stage 3.

Shape letters: W frames in a window, S pixels a side, C the layout's size, K the coefficient context
of stage 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from datamodules.shards.phones import frame_phones
from datamodules.shards.schema import Sample, SampleError
from emo_lightning.face.coefficients import Layout
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import MEL_FLOOR, log_mel
from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.motion.emotions import EMOTIONS

_SILENCE = np.float32(np.log(MEL_FLOOR))


UNLABELLED = "neutral"
"""Emotion of clips without a label."""


@dataclass(frozen=True)
class Labels:
    """Labels of a batch's row: key, emotion, level (nan unknown), intensity (-1 unknown), speaker.

    Attributes:
        speakers: a row's speaker is a place in this list, -1 where it is not there.
    """

    speakers: Sequence[str]

    def __call__(self, sample: Sample) -> dict[str, Any]:
        meta = sample.meta
        known = meta.speaker in self.speakers
        return {
            "key": sample.key,
            "emotion": np.int64(EMOTIONS.index(meta.emotion or UNLABELLED)),
            "level": np.float32(np.nan if meta.level is None else meta.level),
            "intensity": np.int64(-1 if meta.intensity is None else meta.intensity),
            "speaker": np.int64(self.speakers.index(meta.speaker) if known else -1),
        }


@dataclass(frozen=True)
class AudioClip:
    """A decoded clip for stages 1 and 2.

    ``mel (4T, 80)``, ``au (T, 17)``, ``coefficients (T, C)``, ``phones (T,)``, its labels, and,
    where they are wanted, Whisper's features ``(2T, 384)``.
    """

    frames: int
    labels: dict[str, Any]
    mel: np.ndarray
    au: np.ndarray
    coefficients: np.ndarray
    phones: np.ndarray
    whisper: np.ndarray | None = None

    @staticmethod
    def of(sample: Sample, labels: Labels, teacher: bool = False) -> AudioClip:
        """From a sample; SampleError where the ``teacher``'s features are wanted and missing."""
        if teacher and sample.whisper is None:
            raise SampleError("missing_member", "whisper.npy")
        assert sample.wave is not None and sample.au is not None and sample.coefficients is not None
        frames, marks = sample.meta.frames, sample.meta.extra.get("phones")
        return AudioClip(
            frames,
            labels(sample),
            log_mel(levelled(sample.wave)),
            sample.au,
            sample.coefficients.joined(),
            np.full(frames, -1) if marks is None else frame_phones(marks, frames),
            sample.whisper if teacher else None,
        )

    def window(self, start: int, size: int, source: int, layout: Layout) -> dict[str, Any]:
        """Row of frames ``start .. start + size - 1``.

        Beyond the clip's end the mask is False, the audio silent and the face that of the end.
        """
        frames = np.arange(start, start + size)
        at = np.minimum(frames, self.frames - 1)
        mel = self.mel[4 * start : 4 * (start + size)]
        if len(mel) < 4 * size:
            silence = np.full((4 * size - len(mel), mel.shape[1]), _SILENCE)
            mel = np.concatenate([mel, silence])
        row = {name: self.coefficients[at, layout.slice(name)] for name in layout.blocks}
        row |= {"mel": mel, "au": self.au[at], "phone": self.phones[at]}
        row |= {"mask": frames < self.frames, "source": self.coefficients[source]}
        if self.whisper is not None:
            halves = np.minimum(np.arange(2 * start, 2 * (start + size)), 2 * self.frames - 1)
            row["whisper"] = self.whisper[halves].astype(np.float32)
        return row | self.labels


@dataclass(frozen=True)
class VideoClip:
    """A clip for stage 3: its mp4, ``coefficients (T, C)``, and its labels."""

    frames: int
    labels: dict[str, Any]
    video: bytes
    coefficients: np.ndarray

    @staticmethod
    def of(sample: Sample, labels: Labels) -> VideoClip:
        """From a sample; frames are decoded when a pair needs them."""
        assert sample.video is not None and sample.coefficients is not None
        coefficients = sample.coefficients.joined()
        return VideoClip(sample.meta.frames, labels(sample), sample.video, coefficients)

    def pair(self, source: int, driving: int, size: int, context: int) -> dict[str, Any]:
        """Row of two frames ``(3, S, S)`` uint8 and the coefficients around each ``(K, C)``.

        Raises:
            SampleError: ``bad_video`` when the mp4 cannot be decoded or lacks a frame.
        """
        try:
            images = decode_mp4_bytes(self.video, [source, driving])
        except ValueError as error:
            raise SampleError("bad_video", str(error)) from None
        return {
            "source_image": planes(resized(images[0], size)),
            "driving_image": planes(resized(images[1], size)),
            "source_coeffs": self._around(source, context),
            "driving_coeffs": self._around(driving, context),
            **self.labels,
        }

    def _around(self, frame: int, context: int) -> np.ndarray:
        at = np.arange(frame - context // 2, frame - context // 2 + context)
        return self.coefficients[np.clip(at, 0, self.frames - 1)]


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Batch of tensors from rows; ``key`` stays a list of strings."""
    batch: dict[str, Any] = {"key": [row["key"] for row in rows]}
    for name in rows[0]:
        if name != "key":
            column = [row[name] for row in rows]
            # np.stack is slow on scalars.
            array = np.stack(column) if np.ndim(column[0]) else np.array(column)
            batch[name] = torch.from_numpy(array)
    return batch


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """A square picture of another side."""
    if len(image) == side:
        return image
    interpolation = cv2.INTER_AREA if len(image) > side else cv2.INTER_CUBIC
    return cv2.resize(image, (side, side), interpolation=interpolation)


def planes(image: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` to ``(3, H, W)``, contiguous."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))
