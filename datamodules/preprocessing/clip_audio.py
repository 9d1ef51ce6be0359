"""A clip's audio at 16 kHz: from its video, or from a recording beside it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from datamodules.preprocessing.face_tracking import ClipError
from datamodules.sources.clip import Clip
from emo_lightning.core.constants import SAMPLE_RATE, SAMPLES_PER_FRAME
from emo_lightning.media.audio_reader import SILENCE_PEAK, iter_audio
from emo_lightning.media.video_reader import VideoInfo


def decode_audio(
    path: Path, name: str, start: float | None = None, frames: int | None = None
) -> np.ndarray:
    """A recording ``(N,)`` from a time on, within full scale.

    Args:
        path: the recording or video.
        name: of the clip, for errors.
        start: seconds on the file's clock; its first sample when None.
        frames: most video frames of audio.

    Raises:
        ClipError: ``silent``.
        MediaError: it cannot be decoded.
    """
    blocks: list[np.ndarray] = []
    left = math.inf if frames is None else frames * SAMPLES_PER_FRAME
    for block in iter_audio(path, argument=name, start=start):
        blocks.append(block[: int(min(left, len(block)))])
        left -= len(block)
        if left <= 0:
            break
    wave = np.concatenate(blocks or [np.zeros(0, np.float32)])
    peak = float(np.abs(wave).max(initial=0.0))
    if peak < SILENCE_PEAK:
        raise ClipError("silent", "the audio never rises above -70 dBFS")
    # Shards hold 16-bit audio: what a codec decoded beyond full scale is attenuated, not clipped.
    return wave / np.float32(peak) if peak > 1.0 else wave


def clip_audio(
    clip: Clip,
    video: Path,
    audio: Path | None,
    info: VideoInfo,
    begin: float,
    frames: int,
    keep_silent: bool,
) -> np.ndarray | None:
    """The clip's audio from its first frame on; None where there is none and that is allowed.

    Args:
        clip: for its name.
        video: its file.
        audio: a recording to use when the video has no audio.
        info: facts of the video.
        begin: seconds of the video where the clip begins.
        frames: its length.
        keep_silent: whether a clip without audio is allowed.

    Raises:
        ClipError: ``no_audio``, ``silent``, or ``sound_differs`` for a recording of another length.
    """
    if info.has_audio:
        return decode_audio(video, clip.name, info.start + begin, frames)
    if audio is None:
        if keep_silent:
            return None
        detail = "the video has no audio, and no recording of its name was found"
        raise ClipError("no_audio", detail)
    wave = decode_audio(audio, clip.name)
    seconds = len(wave) / SAMPLE_RATE
    if abs(seconds - info.seconds) > max(0.5, 0.1 * info.seconds):
        detail = f"the recording has {seconds:.2f} s, the video {info.seconds:.2f} s"
        raise ClipError("sound_differs", detail)
    return wave[round(begin * SAMPLE_RATE) :]


def cut_audio(wave: np.ndarray, start: int, frames: int) -> np.ndarray:
    """The audio of some video frames, padded with silence at the end."""
    audio = wave[start * SAMPLES_PER_FRAME : (start + frames) * SAMPLES_PER_FRAME]
    return np.pad(audio, (0, frames * SAMPLES_PER_FRAME - len(audio)))
