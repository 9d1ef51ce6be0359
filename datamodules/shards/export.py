"""Export of a shard set's clips to ordinary files: mp4, first frame, audio, and a manifest."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import soundfile

from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import Sample
from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.media.video_writer import write_video

COLUMNS = ("generated", "reference", "emotion", "level", "speaker", "sentence")


@dataclass(frozen=True)
class ExportedClip:
    """Files and labels of one clip."""

    key: str
    video: Path
    portrait: Path
    audio: Path
    emotion: str | None
    level: float | None
    speaker: str
    sentence: str | None


def export_clips(
    data: str | Path,
    out: Path,
    split: str | None = None,
    limit: int | None = None,
    argument: str = "data",
) -> list[ExportedClip]:
    """Write ``KEY.mp4`` to ``out`` and ``KEY.png`` and ``KEY.wav`` to ``out/inputs``.

    Args:
        data: a shard set with video.
        out: a folder; made if it is missing.
        split: train, val or test; all by default.
        limit: at most so many clips, the first in the set's own order.
        argument: what the user calls the shard set, for messages.

    Raises:
        UserError: see :func:`datamodules.shards.index.read_index`.
    """
    inputs = out / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    clips: list[ExportedClip] = []
    for sample in iter_samples(data, split, argument=argument):
        if limit is not None and len(clips) >= limit:
            break
        clips.append(_export(sample, out, inputs))
    return clips


def write_manifest(clips: list[ExportedClip], folder: Path) -> Path:
    """Write ``manifest.csv`` for a folder of videos generated from these clips.

    :mod:`evaluation.runner.pairs` reads it.
    """
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for clip in clips:
            names, level = [f"{clip.key}.mp4", clip.video.name], clip.level
            labels = [clip.emotion or "", "" if level is None else level, clip.speaker]
            writer.writerow([*names, *labels, clip.sentence or ""])
    return path


def _export(sample: Sample, out: Path, inputs: Path) -> ExportedClip:
    frames, meta = decode_mp4_bytes(sample.video), sample.meta
    video, portrait = out / f"{sample.key}.mp4", inputs / f"{sample.key}.png"
    audio = portrait.with_suffix(".wav")
    write_video(video, frames, sample.wave)
    cv2.imwrite(str(portrait), np.ascontiguousarray(frames[0][:, :, ::-1]))
    soundfile.write(audio, sample.wave, SAMPLE_RATE, subtype="PCM_16")
    labels = (meta.emotion, meta.level, meta.speaker, meta.sentence)
    return ExportedClip(sample.key, video, portrait, audio, *labels)
