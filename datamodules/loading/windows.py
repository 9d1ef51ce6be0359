"""Cutting clips into what one training step sees: windows for stages 1 and 2, pairs of frames for stage 3.

Shape letters: W frames in a window, S pixels a side, C the layout's size, K the coefficient context of stage 3.
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

_QUIET = np.float32(np.log(MEL_FLOOR))


class Labels:
    """What a batch says of a clip: key, emotion, level (nan unknown), intensity (-1 unknown), speaker (its place in the list).

    A clip without an emotion counts as ``unlabelled``.
    """

    def __init__(self, speakers: Sequence[str], unlabelled: str) -> None:
        self.places, self.unlabelled = {name: i for i, name in enumerate(speakers)}, unlabelled

    def __call__(self, sample: Sample) -> dict[str, Any]:
        meta = sample.meta
        return {
            "key": sample.key,
            "emotion": np.int64(EMOTIONS.index(meta.emotion or self.unlabelled)),
            "level": np.float32(np.nan if meta.level is None else meta.level),
            "intensity": np.int64(-1 if meta.intensity is None else meta.intensity),
            "speaker": np.int64(self.places.get(meta.speaker, -1)),
        }


@dataclass(frozen=True)
class AudioClip:
    """A clip ready for stages 1 and 2: ``mel (4T, 80)``, ``au (T, 17)``, ``coefficients (T, C)``, ``phones (T,)``, its labels, and, where
    they are wanted, Whisper's features ``(2T, 384)``."""

    frames: int
    labels: dict[str, Any]
    mel: np.ndarray
    au: np.ndarray
    coefficients: np.ndarray
    phones: np.ndarray
    whisper: np.ndarray | None = None

    @staticmethod
    def of(sample: Sample, labels: Labels, teacher: bool = False) -> AudioClip:
        """Compute the clip's spectrogram, once; SampleError where the ``teacher``'s features are wanted and missing."""
        if teacher and sample.whisper is None:
            raise SampleError("missing_member", "whisper.npy")
        assert sample.wave is not None and sample.au is not None and sample.coefficients is not None
        frames, marks = sample.meta.frames, sample.meta.extra.get("phones")
        phones = np.full(frames, -1) if marks is None else frame_phones(marks, frames)
        mel = log_mel(levelled(sample.wave))
        return AudioClip(
            frames,
            labels(sample),
            mel,
            sample.au,
            sample.coefficients.joined(),
            phones,
            sample.whisper if teacher else None,
        )

    def window(self, start: int, size: int, source: int, layout: Layout) -> dict[str, Any]:
        """Frames ``start .. start + size - 1``; beyond the clip the mask is False, sound is quiet and the face holds still."""
        at = np.minimum(np.arange(start, start + size), self.frames - 1)
        mel = self.mel[4 * start : 4 * (start + size)]
        missing = 4 * size - len(mel)
        if missing:
            mel = np.concatenate([mel, np.full((missing, mel.shape[1]), _QUIET)])
        blocks = {name: self.coefficients[at, layout.slice(name)] for name in layout.blocks}
        mask = np.arange(start, start + size) < self.frames
        own = {
            "mel": mel,
            "au": self.au[at],
            "phone": self.phones[at],
            "mask": mask,
            "source": self.coefficients[source],
        }
        if self.whisper is not None:
            own["whisper"] = self.whisper[
                np.minimum(np.arange(2 * start, 2 * (start + size)), 2 * self.frames - 1)
            ].astype(np.float32)
        return {**own, **blocks, **self.labels}


@dataclass(frozen=True)
class VideoClip:
    """A clip ready for stage 3: its mp4, ``coefficients (T, C)``, and its labels."""

    frames: int
    labels: dict[str, Any]
    video: bytes
    coefficients: np.ndarray

    @staticmethod
    def of(sample: Sample, labels: Labels) -> VideoClip:
        """Keep the mp4 as it is: frames are decoded when a pair is drawn."""
        assert sample.video is not None and sample.coefficients is not None
        return VideoClip(
            sample.meta.frames, labels(sample), sample.video, sample.coefficients.joined()
        )

    def pair(self, source: int, driving: int, size: int, context: int) -> dict[str, Any]:
        """Two frames ``(3, S, S)`` in [0, 1] and the coefficients around each, ``(K, C)``, edges repeated.

        Raises:
            SampleError: ``bad_video`` when the mp4 cannot be decoded or lacks a frame.
        """
        try:
            images = decode_mp4_bytes(self.video, [source, driving])
        except ValueError as error:
            raise SampleError("bad_video", str(error)) from None
        return {
            "source_image": _image(images[0], size),
            "driving_image": _image(images[1], size),
            "source_coeffs": self._around(source, context),
            "driving_coeffs": self._around(driving, context),
            **self.labels,
        }

    def _around(self, frame: int, context: int) -> np.ndarray:
        at = np.arange(frame - context // 2, frame - context // 2 + context)
        return self.coefficients[np.clip(at, 0, self.frames - 1)]


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack rows into a batch of tensors; ``key`` stays a list of strings."""
    batch: dict[str, Any] = {"key": [row["key"] for row in rows]}
    for name in rows[0]:
        if name != "key":
            batch[name] = torch.from_numpy(np.stack([row[name] for row in rows]))
    return batch


def _image(frame: np.ndarray, size: int) -> np.ndarray:
    if frame.shape[0] != size or frame.shape[1] != size:
        shrink = frame.shape[0] > size
        frame = cv2.resize(
            frame, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
        )
    return np.ascontiguousarray(frame.transpose(2, 0, 1), np.float32) / np.float32(255.0)
