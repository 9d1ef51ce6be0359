"""What a person does besides shaping sounds: resting face, habits of brow and cheek while talking, head movement, blinks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from emo_lightning.calibration.recording import Recording
from emo_lightning.core.constants import FPS
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.media.spectrogram import MelStream
from emo_lightning.models.motion.posenet import SMOOTH, PoseNet, smoothing
from emo_lightning.motion.emotions import EmotionTrack

LIDS = ("AU45_L", "AU45_R")
SHUT, OPEN = 0.5, 0.3
"""Lid closure at which a blink begins and ends."""
BLINK_RANGE, LEAST_BLINK_SECONDS = (8.0, 40.0), 40.0
"""Rates that are believed, and the film they need."""
SPAN, LEAST_SPANS = 200, 3
"""Frames within which head movement is measured (who sits otherwise does not move), and how many such spans it needs."""
GAIN_RANGE = (0.5, 2.0)
SEEDS = 2
PACES = ("slow", "quick")


def portraits(recordings: Sequence[Recording], count: int, seed: int) -> np.ndarray:
    """``(count, layout.size)`` faces of the person to stand for the portrait: first the calmest, then any."""
    joined = np.concatenate(
        [recording.coefficients.joined()[recording.useful] for recording in recordings]
    )
    effort = joined[:, recordings[0].coefficients.layout.slice("exp")].sum(1)
    calm = int(np.argsort(effort, kind="stable")[len(joined) // 10])
    return joined[[calm, *np.random.default_rng(seed).integers(len(joined), size=count - 1)]]


def blinks_per_minute(recordings: Sequence[Recording]) -> float:
    """Blinks a minute of film that shows the face."""
    count = frames = 0
    for recording in recordings:
        names = recording.coefficients.layout.exp_names
        lids = recording.coefficients["exp"][:, [names.index(lid) for lid in LIDS]].mean(1)
        for run in np.unique(recording.run[recording.run >= 0]):
            mine = lids[recording.run == run]
            mine = mine - np.median(mine)
            state = np.where(mine > SHUT, 1, np.where(mine < OPEN, 0, -1))
            known = state[state >= 0]
            count, frames = count + int((np.diff(known) == 1).sum()), frames + len(mine)
    return 60.0 * FPS * count / max(frames, 1)


def believed_blinks(recordings: Sequence[Recording]) -> float | None:
    """The rate to blink at; None with too little film to tell."""
    if sum(int((recording.run >= 0).sum()) for recording in recordings) < LEAST_BLINK_SECONDS * FPS:
        return None
    return float(np.clip(blinks_per_minute(recordings), *BLINK_RANGE))


def expression(recordings: Sequence[Recording]) -> dict[str, dict[str, float]]:
    """Mean of each unit while talking and while quiet (where there is a second of it): ``{"talking": {unit: value}, ...}``."""
    seen = [(recording, recording.run >= 0) for recording in recordings]
    names = recordings[0].coefficients.layout.exp_names
    parts = {
        "talking": np.concatenate([r.coefficients["exp"][face & r.spoken] for r, face in seen]),
        "quiet": np.concatenate([r.coefficients["exp"][face & ~r.spoken] for r, face in seen]),
    }
    return {
        part: {
            name: round(float(value), 3) for name, value in zip(names, rows.mean(0), strict=True)
        }
        for part, rows in parts.items()
        if len(rows) >= FPS
    }


def head_motion(
    recordings: Sequence[Recording], talker: AudioToMotion
) -> dict[str, dict[str, list[float]]] | None:
    """How much more than PoseNet's the person's head moves, slowly and quickly, each of its six numbers; None with too little film.

    Both are spreads within spans of ten seconds, parted by PoseNet's own filter, PoseNet's to the same sound.
    """
    real = [
        _spreads(
            np.concatenate([r.coefficients["angle"], r.coefficients["trans"]], axis=1)[r.run == run]
        )
        for r in recordings
        for run in np.unique(r.run[r.run >= 0])
    ]
    made = [
        _spreads(_drawn(recording, talker, seed))
        for recording in recordings
        for seed in range(SEEDS)
    ]
    people, networks = (np.concatenate(parts) for parts in (real, made))
    if len(people) < LEAST_SPANS or not len(networks):
        return None
    person, network = np.sqrt(people.mean(0)), np.sqrt(networks.mean(0))
    gain = np.clip(person / np.maximum(network, 1e-6), *GAIN_RANGE)
    tables = {"person": person, "network": network, "gain": gain}
    return {
        name: {pace: np.round(table[k], 5).tolist() for k, pace in enumerate(PACES)}
        for name, table in tables.items()
    }


def move_heads(net: PoseNet, gain: dict[str, list[float]]) -> None:
    """Multiply a network's slow and quick movements, six factors each."""
    slow, quick = (torch.tensor(gain[pace]) for pace in PACES)
    with torch.no_grad():
        net.log_size.bias.add_(slow.log())
        net.to_pose.weight.mul_(quick[:, None])
        net.to_pose.bias.mul_(quick)


def _drawn(recording: Recording, talker: AudioToMotion, seed: int) -> np.ndarray:
    """Pose ``(T, 6)`` that PoseNet makes to a recording's sound."""
    mel = MelStream(talker.mel_kind)
    rows = [mel.push(recording.wave), mel.finish()]
    source = recording.coefficients.frames(slice(0, 1))
    pieces = list(
        talker.generate(
            rows,
            source,
            EmotionTrack.constant("neutral", 1.0),
            seed,
            total_frames=len(recording.run),
        )
    )
    return np.concatenate(
        [np.concatenate([piece["angle"], piece["trans"]], axis=1) for piece in pieces]
    )


def _spreads(moved: np.ndarray) -> np.ndarray:
    """Variances ``(spans, 2, 6)`` of slow and quick movement within each span of a course ``(T, 6)``."""
    taps = smoothing()
    if len(moved) < SPAN + len(taps):
        return np.zeros((0, 2, moved.shape[1]))
    slow = np.stack([np.convolve(column, taps, "valid") for column in moved.T], axis=1)
    quick = moved[SMOOTH : len(moved) - SMOOTH] - slow
    count = len(slow) // SPAN
    return np.stack(
        [part[: count * SPAN].reshape(count, SPAN, -1).var(axis=1) for part in (slow, quick)],
        axis=1,
    )
