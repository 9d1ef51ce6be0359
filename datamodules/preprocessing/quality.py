"""Facts of a sample that say how good it is, and the flags that follow; nothing is thrown away for them.

``extra.quality`` has the numbers, ``extra.flags`` the words: ``quiet``, ``little_speech``, ``clipped`` for the sound; ``blur``,
``smeared``, ``small_face``, ``profile``, ``occlusion``, ``bridged`` for the picture; ``sync`` where lips and sound agree best at
another time.

The thresholds are ours. Beside each is what it does to real clips as they are and to the same clips made bad: GRID (401
clips, one speaker), and 45 clips of MEAD, speeches and talks (29 with sound). A flag is a reason to look, not a verdict.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from emo_lightning.core.constants import FPS, SAMPLES_PER_FRAME
from emo_lightning.face.texture import REGIONS, SKIN
from emo_lightning.media.loudness import SpeechLevel

QUIET_DB = -45.0
SPEECH_RANGE_DB, SURE_DB = 20.0, 10.0
"""How far below the level of the speech a frame may be and still count as spoken at most; and is taken for speech in any case."""
FLOOR_DB, NOISE_DB = -60.0, 12.0
"""Quietest speech, and how far above the clip's own noise (the quietest tenth of its frames) speech is.

Held against the word times of 201 GRID clips, 0.91 of the frames called speech are in a word and 0.91 of those in a word are
called speech; without regard to the noise it was 0.60 and 0.99.
"""
HANGOVER = 4
"""Frames of a pause within speech that do not end it."""
LITTLE_SPEECH = 0.2
CLIPPED, NEAR_PEAK = 0.01, 0.8
"""Share of samples above 0.8 of the clip's own peak, which tells a flattened wave even after a lossy codec bent its tops.

None of 146 real recordings has more than 0.0065; of 20 of them, cut at half of their peak 9 in 10 have more, at a quarter all.
"""
REFERENCE = 256
"""Side of the crop at which sharpness is measured."""
BLUR = 8.0
"""None of 446 real clips is below (9.1 is the least). Of 71 of them, blurred by a Gaussian of 1.5 pixels of the crop 0.73 are, of
2 pixels 0.97, of 3 pixels 0.99; enlarged from a half, a third, a quarter of the size 0.23, 0.35, 0.87."""
SMEARED = 0.55
"""Change from row to row over change from column to column in the lower half of the face. A decoder that lost the rest of a
picture repeats its last row downwards. 112 real clips have 0.71 or more, the one ruined like that 0.41."""
SMALL_FACE = 64.0
"""Pixels of the original between the face's far edges, below which the crop shows little."""
PROFILE = 0.6
"""Radians of yaw (34 degrees), where the far corner of the mouth begins to hide. Chosen by geometry, not on clips: none of the 446
turns beyond 0.22 at its median."""
OCCLUDED = 0.10
"""Change of a skin region's tone against the clip's median (CIELAB, L over 100) that something in front of it makes.

None of 415 real clips is flagged. Of 71 with a patch over one cheek for a quarter of the time, all are where it is black or white,
0.80 where it is the person's own skin a fifth darker, 0.31 where it is a twentieth darker: a hand may well go unseen. What is in
front of the face all the time is never seen.
"""
SYNC_REACH, SYNC_FREE, SYNC_GAIN, SYNC_LEAST = 13, 4, 0.15, 0.35
"""Frames tried to both sides; lags that count as in time; by how much another must win, and its least correlation.

A best lag at the end of the reach says nothing. Opening and loudness go together in GRID (median correlation 0.67) and hardly
elsewhere (0.27). Suspected are 0.04 of GRID's clips and none of the 29 others as they are; with the sound 8 frames late 0.51 and
0.24, 8 frames early 0.27 and 0.14, 4 frames late 0.06 and 0.17. A clip without the flag need not be in time.
"""
LIPS, FACE = (13, 14), (10, 152)
"""Vertices of the inner lips' middle, and of forehead and chin."""


def sound_facts(wave: np.ndarray) -> tuple[dict[str, Any], list[str], np.ndarray]:
    """Loudness and speech activity of a clip's sound.

    Returns:
        ``loudness`` (dB of the speech below full scale), ``speech`` ([begin, end] in seconds), ``speech_share``; flags; and the
        level of each frame in dB, ``(T,)``.
    """
    meter = SpeechLevel()
    meter.push(wave)
    level = meter.level()
    whole = max(1, len(wave) // SAMPLES_PER_FRAME)
    power = np.square(
        np.pad(wave, (0, max(0, SAMPLES_PER_FRAME - len(wave))))[: whole * SAMPLES_PER_FRAME],
        dtype=np.float64,
    )
    levels = 10 * np.log10(power.reshape(whole, -1).mean(1) + 1e-12)
    noise = min(float(np.percentile(levels, 10)) + NOISE_DB, level - SURE_DB)
    spoken = _closed(levels > max(level - SPEECH_RANGE_DB, FLOOR_DB, noise))
    share = float(spoken.mean())
    edges = np.flatnonzero(np.diff(np.concatenate([[0], spoken.astype(int), [0]])))
    facts = {
        "loudness": round(level, 1),
        "speech": [
            [round(a / FPS, 2), round(b / FPS, 2)] for a, b in edges.reshape(-1, 2).tolist()
        ],
        "speech_share": round(share, 3),
    }
    clipped = float((np.abs(wave) > NEAR_PEAK * np.abs(wave).max()).mean()) > CLIPPED
    flags = [
        name
        for name, bad in (
            ("quiet", level < QUIET_DB),
            ("little_speech", share < LITTLE_SPEECH),
            ("clipped", clipped),
        )
        if bad
    ]
    return facts, flags, levels


def picture_facts(
    crops: list[np.ndarray],
    points: np.ndarray,
    texture: np.ndarray,
    yaw: np.ndarray,
    pixels: float,
    bridged: int,
) -> tuple[dict[str, Any], list[str]]:
    """Sharpness, pose and occlusion of a clip's pictures.

    Args:
        crops: ``(S, S, 3)`` uint8, T of them.
        points: ``(T, N, 3)`` landmarks in crop units.
        texture: ``(T, 24)``, see :mod:`emo_lightning.face.texture`.
        yaw: ``(T,)`` radians.
        pixels: of the original over the face's extent.
        bridged: frames whose landmarks were interpolated.
    """
    looked = range(0, len(crops), max(1, len(crops) // 8))
    sharpness = float(np.median([_sharpness(crops[t], points[t]) for t in looked]))
    evenness = float(np.median([_evenness(crops[t], points[t]) for t in looked]))
    turned = float((np.abs(yaw) > PROFILE).mean())
    hidden = _occlusion(texture)
    facts = {
        "sharpness": round(sharpness, 2),
        "evenness": round(evenness, 2),
        "face_pixels": round(pixels),
        "yaw": round(float(np.median(yaw)), 3),
        "profile_share": round(turned, 3),
        "occluded_share": round(hidden, 3),
    }
    tests = {
        "blur": sharpness < BLUR,
        "smeared": evenness < SMEARED,
        "small_face": pixels < SMALL_FACE,
        "profile": turned > 0.5,
        "occlusion": hidden > 0.1,
        "bridged": bridged > 0,
    }
    return facts, [name for name, bad in tests.items() if bad]


def sync_facts(points: np.ndarray, levels: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """Whether the lips open when it is loud: correlation in time, and the lag in frames where it is best.

    A positive lag: the sound comes after the lips. Clips under two seconds or with 68 landmarks say nothing.
    """
    frames = min(len(points), len(levels))
    if frames < 2 * FPS or points.shape[1] == 68:
        return {}, []
    opening = np.linalg.norm(points[:frames, LIPS[0]] - points[:frames, LIPS[1]], axis=-1)
    opening = opening / np.linalg.norm(points[:frames, FACE[0]] - points[:frames, FACE[1]], axis=-1)
    loud = np.maximum(levels[:frames], levels[:frames].max() - 40)
    scores = {lag: _correlation(opening, loud, lag) for lag in range(-SYNC_REACH, SYNC_REACH + 1)}
    best = max(scores, key=lambda lag: (scores[lag], -abs(lag)))
    in_time = max(score for lag, score in scores.items() if abs(lag) <= SYNC_FREE)
    off = (
        SYNC_FREE < abs(best) < SYNC_REACH
        and scores[best] > SYNC_LEAST
        and scores[best] > in_time + SYNC_GAIN
    )
    return {"sync": {"lag": best, "best": round(scores[best], 3), "in_time": round(in_time, 3)}}, [
        "sync"
    ] if off else []


def _correlation(opening: np.ndarray, loud: np.ndarray, lag: int) -> float:
    """Of the lips with the sound ``lag`` frames later."""
    frames = len(opening)
    a = opening[max(0, -lag) : frames - max(0, lag)]
    b = loud[max(0, lag) : frames - max(0, -lag)]
    if a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _closed(spoken: np.ndarray) -> np.ndarray:
    """Short pauses filled, lone frames dropped."""
    out = spoken.copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[1], out.astype(int), [1]]))).reshape(-1, 2)
    for begin, end in edges:
        if end - begin <= HANGOVER and begin > 0 and end < len(out):
            out[begin:end] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[0], out.astype(int), [0]]))).reshape(-1, 2)
    for begin, end in edges:
        if end - begin < 2:
            out[begin:end] = False
    return out


def _sharpness(crop: np.ndarray, points: np.ndarray) -> float:
    """Mean size of the second derivative over the face, in hundredths of the face's own contrast, at 256 pixels a side."""
    if crop.shape[0] != REFERENCE:
        crop = cv2.resize(
            crop,
            (REFERENCE, REFERENCE),
            interpolation=cv2.INTER_AREA if crop.shape[0] > REFERENCE else cv2.INTER_LINEAR,
        )
    size = REFERENCE
    low = np.clip(((points[:, :2].min(0) + 1) * size / 2).astype(int), 0, size - 8)
    high = np.clip(((points[:, :2].max(0) + 1) * size / 2).astype(int), low + 8, size)
    face = cv2.cvtColor(crop[low[1] : high[1], low[0] : high[0]], cv2.COLOR_RGB2GRAY).astype(
        np.float32
    )
    return (
        100.0 * float(np.abs(cv2.Laplacian(face, cv2.CV_32F)).mean()) / max(float(face.std()), 1.0)
    )


def _evenness(crop: np.ndarray, points: np.ndarray) -> float:
    """Mean change from row to row over that from column to column in the lower half of the face; small where rows repeat."""
    size = crop.shape[0]
    low = np.clip(((points[:, :2].min(0) + 1) * size / 2).astype(int), 0, size - 8)
    high = np.clip(((points[:, :2].max(0) + 1) * size / 2).astype(int), low + 8, size)
    face = cv2.cvtColor(
        crop[(low[1] + high[1]) // 2 : high[1], low[0] : high[0]], cv2.COLOR_RGB2GRAY
    ).astype(np.float32)
    return float(
        np.abs(np.diff(face, axis=0)).mean() / max(float(np.abs(np.diff(face, axis=1)).mean()), 0.1)
    )


def _occlusion(texture: np.ndarray) -> float:
    """Share of frames in which a skin region looks unlike itself in the rest of the clip."""
    tones = texture[:, : 3 * len(REGIONS)].reshape(len(texture), len(REGIONS), 3)
    skin = tones[:, [list(REGIONS).index(name) for name in SKIN]]
    # Light that changes on the whole face is no occlusion.
    change = skin - np.median(skin, 0)
    change = change - np.median(change, 1, keepdims=True)
    return float((np.linalg.norm(change, axis=-1).max(1) > OCCLUDED).mean())
