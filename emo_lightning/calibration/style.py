"""A person's style besides articulation: resting face, habits of brow and cheek, head, blinks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from emo_lightning.calibration.recording import Recording
from emo_lightning.calibration.refit import LIDS
from emo_lightning.core.constants import FPS
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.media.spectrogram import MelStream
from emo_lightning.models.motion.posenet import SMOOTH, PoseNet, smoothing
from emo_lightning.motion.emotion_track import EmotionTrack

SHUT, OPEN = 0.5, 0.3
"""Lid closure at which a blink begins and ends."""
BLINK_RANGE, MIN_BLINK_SECONDS = (8.0, 40.0), 40.0
"""Plausible blinks a minute, and the video needed to count them."""
SPAN, MIN_SPANS = 200, 3
"""Frames within which head movement is taken, and how many such spans it needs."""
GAIN_RANGE = (0.5, 2.0)
SEEDS = 2
BANDS = ("slow", "quick")


def sample_portraits(recordings: Sequence[Recording], count: int, seed: int) -> np.ndarray:
    """``(count, layout.size)`` faces that stand for the portrait: the calmest, then random ones."""
    faces = np.concatenate([r.coefficients.joined()[r.usable] for r in recordings])
    effort = faces[:, recordings[0].coefficients.layout.slice("exp")].sum(1)
    calm = int(np.argsort(effort, kind="stable")[len(faces) // 10])
    return faces[[calm, *np.random.default_rng(seed).integers(len(faces), size=count - 1)]]


def blinks_per_minute(recordings: Sequence[Recording]) -> float:
    """Blinks a minute of video that shows the face."""
    count = frames = 0
    for recording in recordings:
        names = recording.coefficients.layout.exp_names
        lids = recording.coefficients["exp"][:, [names.index(lid) for lid in LIDS]].mean(1)
        for segment in np.unique(recording.segment[recording.segment >= 0]):
            closure = lids[recording.segment == segment]
            closure = closure - np.median(closure)
            state = np.where(closure > SHUT, 1, np.where(closure < OPEN, 0, -1))
            count += int((np.diff(state[state >= 0]) == 1).sum())
            frames += len(closure)
    return 60.0 * FPS * count / max(frames, 1)


def plausible_blink_rate(recordings: Sequence[Recording]) -> float | None:
    """Blinks a minute, limited to a human range; None with too little video."""
    if sum(int((r.segment >= 0).sum()) for r in recordings) < MIN_BLINK_SECONDS * FPS:
        return None
    return float(np.clip(blinks_per_minute(recordings), *BLINK_RANGE))


def mean_expression(recordings: Sequence[Recording]) -> dict[str, dict[str, float]]:
    """Mean of each unit while talking and while quiet, where there is a second of it:
    ``{"talking": {unit: value}, "quiet": ...}``."""
    names, means = recordings[0].coefficients.layout.exp_names, {}
    for part in ("talking", "quiet"):
        chosen = [(r, r.speaking if part == "talking" else ~r.speaking) for r in recordings]
        exp = np.concatenate([r.coefficients["exp"][(r.segment >= 0) & rows] for r, rows in chosen])
        if len(exp) >= FPS:
            means[part] = {n: round(float(v), 3) for n, v in zip(names, exp.mean(0), strict=True)}
    return means


def head_motion_gain(
    recordings: Sequence[Recording], talker: AudioToMotion
) -> dict[str, dict[str, list[float]]] | None:
    """Gain of the person's head movement over PoseNet's for the same audio, slow and quick, for
    each of the six pose values; None with too little video.

    Both are spreads within spans of ten seconds, separated by PoseNet's own low-pass filter.
    """
    real, generated = [], []
    for recording in recordings:
        pose = np.concatenate([recording.coefficients[n] for n in ("angle", "trans")], axis=1)
        for segment in np.unique(recording.segment[recording.segment >= 0]):
            real.append(_band_variances(pose[recording.segment == segment]))
        for seed in range(SEEDS):
            generated.append(_band_variances(_generated_pose(recording, talker, seed)))
    people, networks = np.concatenate(real), np.concatenate(generated)
    if len(people) < MIN_SPANS or not len(networks):
        return None
    person, network = np.sqrt(people.mean(0)), np.sqrt(networks.mean(0))
    gain = np.clip(person / np.maximum(network, 1e-6), *GAIN_RANGE)
    tables = {"person": person, "network": network, "gain": gain}
    return {
        name: {band: np.round(table[k], 5).tolist() for k, band in enumerate(BANDS)}
        for name, table in tables.items()
    }


def scale_head_motion(net: PoseNet, gain: dict[str, list[float]]) -> None:
    """Multiply a network's slow and quick movements, six factors each."""
    slow, quick = (torch.tensor(gain[band], device=net.unit.device) for band in BANDS)
    with torch.no_grad():
        net.log_size.bias.add_(slow.log())
        net.to_pose.weight.mul_(quick[:, None])
        net.to_pose.bias.mul_(quick)


def _generated_pose(recording: Recording, talker: AudioToMotion, seed: int) -> np.ndarray:
    """Pose ``(T, 6)`` that PoseNet gives for a recording's audio."""
    mel, track = MelStream(talker.mel_kind), EmotionTrack.constant("neutral", 1.0)
    rows = [mel.add(recording.wave), mel.flush()]
    source, total = recording.coefficients.frames(slice(0, 1)), len(recording.segment)
    pieces = list(talker.generate(rows, source, track, seed, total_frames=total))
    return np.concatenate([np.concatenate([p["angle"], p["trans"]], axis=1) for p in pieces])


def _band_variances(pose: np.ndarray) -> np.ndarray:
    """Variances ``(spans, 2, 6)`` of slow and quick movement within each span of ``(T, 6)``."""
    taps = smoothing()
    if len(pose) < SPAN + len(taps):
        return np.zeros((0, 2, pose.shape[1]))
    slow = np.stack([np.convolve(column, taps, "valid") for column in pose.T], axis=1)
    quick, count = pose[SMOOTH : len(pose) - SMOOTH] - slow, len(slow) // SPAN
    bands = [part[: count * SPAN].reshape(count, SPAN, -1).var(axis=1) for part in (slow, quick)]
    return np.stack(bands, axis=1)
