"""What a person does besides shaping sounds: resting face, habits of brow and cheek while talking, head movement, blinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emo_lightning.audio import MelStream
from emo_lightning.calibration.film import Recording
from emo_lightning.emotions import EmotionTrack
from emo_lightning.models.talker import Talker
from emo_lightning.video import FPS

LIDS = ("AU45_L", "AU45_R")
SHUT, OPEN = 0.5, 0.3
"""Lid closure at which a blink begins and ends."""
SPAN = 48
"""Frames within which head movement is measured: slower drift is a change of posture."""
GAIN_RANGE = (0.4, 2.0)
SEED_COUNT = 4
LEAST_MOTION = 250
"""Frames of unbroken film that head movement needs."""


def portraits(recordings: Sequence[Recording], count: int, seed: int) -> np.ndarray:
    """``(count, layout.size)`` faces of the person to stand for the portrait: first the calmest, then any."""
    joined = np.concatenate([recording.coefficients.joined()[recording.useful] for recording in recordings])
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


def expression(recordings: Sequence[Recording]) -> dict[str, dict[str, float]]:
    """Mean of each unit while talking and while quiet (where there is a second of it): ``{"talking": {unit: value}, ...}``."""
    seen = [(recording, recording.run >= 0) for recording in recordings]
    names = recordings[0].coefficients.layout.exp_names
    parts = {
        "talking": np.concatenate([r.coefficients["exp"][face & r.spoken] for r, face in seen]),
        "quiet": np.concatenate([r.coefficients["exp"][face & ~r.spoken] for r, face in seen]),
    }
    return {
        part: {name: round(float(value), 3) for name, value in zip(names, rows.mean(0), strict=True)}
        for part, rows in parts.items()
        if len(rows) >= FPS
    }


def head_motion(recordings: Sequence[Recording], talker: Talker) -> dict[str, Any] | None:
    """How much more than PoseNet's the person's head moves, each of its six numbers; None with too little film.

    Both are spreads within spans of two seconds, PoseNet's to the same sound.
    """
    real, made = [], []
    for recording in recordings:
        moved = np.concatenate([recording.coefficients["angle"], recording.coefficients["trans"]], axis=1)
        for run in np.unique(recording.run[recording.run >= 0]):
            real.append(_spread(moved[recording.run == run]))
        if len(recording.run) < 2 * SPAN:
            continue
        source = recording.coefficients.frames(slice(0, 1))
        stream = MelStream(talker.sound)
        mel = [stream.push(recording.wave), stream.finish()]
        for seed in range(SEED_COUNT):
            track = EmotionTrack.constant("neutral", 1.0)
            pieces = list(talker.generate(mel, source, track, seed=seed, total_frames=len(recording.run)))
            drawn = np.concatenate([np.concatenate([p["angle"], p["trans"]], axis=1) for p in pieces])
            made.append(_spread(drawn))
    if not made or sum(len(part) for part in real) * SPAN < LEAST_MOTION:
        return None
    person, network = (np.sqrt(np.concatenate(parts).mean(0)) for parts in (real, made))
    gain = np.clip(person / np.maximum(network, 1e-6), *GAIN_RANGE)
    names = ("pitch", "yaw", "roll", "x", "y", "scale")
    return {
        name: {"person": round(float(p), 5), "network": round(float(n), 5), "gain": round(float(g), 3)}
        for name, p, n, g in zip(names, person, network, gain, strict=True)
    }


def _spread(moved: np.ndarray) -> np.ndarray:
    """Variances ``(spans, 6)`` of pose within each span."""
    spans = moved[: len(moved) // SPAN * SPAN].reshape(-1, SPAN, moved.shape[1])
    return spans.var(axis=1)
