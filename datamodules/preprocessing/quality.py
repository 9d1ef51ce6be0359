"""Quality facts of a sample, and the flags that follow; nothing is discarded for them.

``extra.quality`` has the numbers, ``extra.flags`` the words: ``quiet``, ``little_speech``,
``clipped`` for the audio; ``blur``, ``smeared``, ``small_face``, ``profile``, ``occlusion``,
``bridged`` (and ``low_frame_rate`` of the original) for the video; ``sync`` where lips and audio
correlate best at another time.

The thresholds are ours, chosen on GRID, MEAD, speeches and talks, as they are and degraded; a flag
is a reason to check, not a verdict.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from emo_lightning.core.constants import FPS, SAMPLES_PER_FRAME
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.texture import REGIONS, SKIN
from emo_lightning.media.loudness import SpeechLevel

QUIET_DB = -45.0
SPEECH_RANGE_DB, SURE_DB = 20.0, 10.0
"""Below the speech level: to the first a frame may be speech; to the second it is in any case."""
FLOOR_DB, NOISE_DB = -60.0, 12.0
"""Quietest speech; and its distance from the clip's noise, the quietest tenth of its frames."""
HANGOVER = 4
"""Frames of a pause that does not end a speech segment."""
LITTLE_SPEECH = 0.2
CLIPPED, NEAR_PEAK = 0.01, 0.8
"""Share of samples above 0.8 of the clip's own peak: clipping shows even after a lossy codec."""
REFERENCE = 256
"""Side of the crop at which sharpness is measured."""
BLUR = 8.0
SMEARED = 0.55
"""Vertical over horizontal gradient in the lower half of the face: a decoder that lost the rest of
a picture repeats its last row downwards."""
SMALL_FACE = 64.0
"""Pixels of the original over the face's extent."""
PROFILE = 0.6
"""Radians of yaw (34 degrees), where the far corner of the mouth begins to hide."""
OCCLUDED = 0.10
"""Change of a skin region's tone against the clip's median (CIELAB, L over 100). What is before the
face in every frame is not noticed."""
SYNC_REACH, SYNC_FREE, SYNC_GAIN, SYNC_LEAST = 13, 4, 0.15, 0.35
"""Frames of lag tried both ways; lags that count as in sync; the margin by which another lag must
win; its least correlation. A clip without the flag need not be in sync."""
LIPS, FACE = (13, 14), (10, 152)
"""Vertices of the inner lips' middle, and of forehead and chin."""


def audio_quality(wave: np.ndarray) -> tuple[dict[str, Any], list[str], np.ndarray]:
    """Loudness and speech activity of a clip's audio.

    Returns:
        ``loudness`` (dB of the speech below full scale), ``speech`` ([begin, end] in seconds),
        ``speech_share``; flags; and the level of each frame in dB, ``(T,)``.
    """
    meter = SpeechLevel()
    meter.add(wave)
    level = meter.level()
    whole = max(1, len(wave) // SAMPLES_PER_FRAME)
    padded = np.pad(wave, (0, max(0, SAMPLES_PER_FRAME - len(wave))))[: whole * SAMPLES_PER_FRAME]
    power = np.square(padded, dtype=np.float64).reshape(whole, -1).mean(1)
    levels = 10 * np.log10(power + 1e-12)
    noise = min(float(np.percentile(levels, 10)) + NOISE_DB, level - SURE_DB)
    spoken = _speech_segments(levels > max(level - SPEECH_RANGE_DB, FLOOR_DB, noise))
    share = float(spoken.mean())
    edges = np.flatnonzero(np.diff(np.concatenate([[0], spoken.astype(int), [0]])))
    segments = [[round(a / FPS, 2), round(b / FPS, 2)] for a, b in edges.reshape(-1, 2).tolist()]
    facts = {"loudness": round(level, 1), "speech": segments, "speech_share": round(share, 3)}
    near_peak = float((np.abs(wave) > NEAR_PEAK * np.abs(wave).max()).mean())
    tests = {
        "quiet": level < QUIET_DB,
        "little_speech": share < LITTLE_SPEECH,
        "clipped": near_peak > CLIPPED,
    }
    return facts, [name for name, bad in tests.items() if bad], levels


def video_quality(
    crops: list[np.ndarray],
    points: np.ndarray,
    coefficients: Coefficients,
    pixels: float,
    bridged: int,
) -> tuple[dict[str, Any], list[str]]:
    """Sharpness, pose and occlusion of a clip's frames.

    Args:
        crops: ``(S, S, 3)`` uint8, T of them.
        points: ``(T, N, 3)`` landmarks in crop units.
        coefficients: of the built-in model, with texture.
        pixels: of the original over the face's extent.
        bridged: frames whose landmarks were interpolated.
    """
    chosen = range(0, len(crops), max(1, len(crops) // 8))
    sharpness = float(np.median([_sharpness(crops[t], points[t]) for t in chosen]))
    evenness = float(np.median([_gradient_ratio(crops[t], points[t]) for t in chosen]))
    yaw = coefficients["angle"][:, 1]
    turned = float((np.abs(yaw) > PROFILE).mean())
    hidden = _occluded_share(coefficients["tex"])
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


def sync_quality(points: np.ndarray, levels: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """Correlation of lip opening and loudness, and the lag in frames where it is best.

    A positive lag: the audio comes after the lips. Not computed for clips under two seconds or
    with 68 landmarks.
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
    out_of_sync = (
        SYNC_FREE < abs(best) < SYNC_REACH
        and scores[best] > SYNC_LEAST
        and scores[best] > in_time + SYNC_GAIN
    )
    facts = {"lag": best, "best": round(scores[best], 3), "in_time": round(in_time, 3)}
    return {"sync": facts}, ["sync"] if out_of_sync else []


def _correlation(opening: np.ndarray, loud: np.ndarray, lag: int) -> float:
    """Of the lips with the audio ``lag`` frames later."""
    frames = len(opening)
    a = opening[max(0, -lag) : frames - max(0, lag)]
    b = loud[max(0, lag) : frames - max(0, -lag)]
    if a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _speech_segments(spoken: np.ndarray) -> np.ndarray:
    """Short pauses filled, single frames dropped."""
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


def _face_grey(crop: np.ndarray, points: np.ndarray, lower_half: bool = False) -> np.ndarray:
    """The face in grey, float32."""
    size = crop.shape[0]
    low = np.clip(((points[:, :2].min(0) + 1) * size / 2).astype(int), 0, size - 8)
    high = np.clip(((points[:, :2].max(0) + 1) * size / 2).astype(int), low + 8, size)
    top = (low[1] + high[1]) // 2 if lower_half else low[1]
    face = cv2.cvtColor(crop[top : high[1], low[0] : high[0]], cv2.COLOR_RGB2GRAY)
    return face.astype(np.float32)


def _sharpness(crop: np.ndarray, points: np.ndarray) -> float:
    """Mean absolute Laplacian over the face at 256 pixels a side, in percent of its contrast."""
    if crop.shape[0] != REFERENCE:
        how = cv2.INTER_AREA if crop.shape[0] > REFERENCE else cv2.INTER_LINEAR
        crop = cv2.resize(crop, (REFERENCE, REFERENCE), interpolation=how)
    face = _face_grey(crop, points)
    laplacian = float(np.abs(cv2.Laplacian(face, cv2.CV_32F)).mean())
    return 100.0 * laplacian / max(float(face.std()), 1.0)


def _gradient_ratio(crop: np.ndarray, points: np.ndarray) -> float:
    """Vertical over horizontal gradient in the lower half of the face."""
    face = _face_grey(crop, points, lower_half=True)
    horizontal = max(float(np.abs(np.diff(face, axis=1)).mean()), 0.1)
    return float(np.abs(np.diff(face, axis=0)).mean() / horizontal)


def _occluded_share(texture: np.ndarray) -> float:
    """Share of frames in which a skin region differs from itself in the rest of the clip."""
    tones = texture[:, : 3 * len(REGIONS)].reshape(len(texture), len(REGIONS), 3)
    skin = tones[:, [list(REGIONS).index(name) for name in SKIN]]
    # A change of light on the whole face is no occlusion.
    change = skin - np.median(skin, 0)
    change = change - np.median(change, 1, keepdims=True)
    return float((np.linalg.norm(change, axis=-1).max(1) > OCCLUDED).mean())
