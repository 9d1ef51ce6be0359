"""Simulated clips of people who speak and feel, as the landmark judge would place their points:
what our judges learn from.
 Faces are the built-in model's own: a random person, resting habits, one of the combinations of
action units that FACS lists for an emotion, speech, blinks, a gaze, a turned head seen in
perspective, and the tracker's error. No real face and no generated video is in it, so that no
system under test can have been learned, and the labels are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.face.pose import rotation
from emo_lightning.motion.emotions import EMOTIONS

Units = Mapping[str, float]
# fmt: off
VARIANTS: Mapping[str, tuple[Units, ...]] = {
    "neutral": ({},),
    "angry": (
        {"AU4": 1.0, "AU5": 0.5, "AU7": 0.8, "AU23": 0.8}, {"AU4": 1.0, "AU5": 0.4, "AU7": 0.8, "AU17": 0.5, "AU23": 0.7, "press": 0.4},
        {"AU4": 1.0, "AU7": 0.9, "AU10": 0.5, "AU23": 0.5, "AU25": 0.5}, {"AU4": 0.9, "AU7": 0.8, "AU10": 0.5, "AU25": 0.6, "AU26": 0.5},
        {"AU4": 1.0, "AU7": 0.8, "AU9": 0.3, "AU23": 0.6}, {"AU4": 0.8, "AU7": 0.6},
        {"AU4": 0.8, "AU7": 0.9, "AU10": 0.4, "AU16": 0.5, "AU25": 0.5},
    ),
    "contempt": (
        {"AU14_L": 1.0}, {"AU12_L": 0.7, "AU14_L": 0.8}, {"AU12_L": 0.7}, {"AU12_L": 0.6, "AU10": 0.2, "AU14_L": 0.5},
        {"AU12_L": 0.6, "AU14_L": 0.8, "AU2_L": 0.5},
        {"AU12_L": 0.5, "AU14_L": 0.8, "AU1_L": 0.3, "AU2_L": 0.5, "AU1_R": 0.3, "AU2_R": 0.5, "AU7": 0.3},
    ),
    "disgusted": (
        {"AU9": 0.9}, {"AU9": 0.8, "AU15": 0.5, "AU16": 0.4, "AU25": 0.3}, {"AU9": 0.8, "AU17": 0.5, "AU4": 0.4, "AU7": 0.4},
        {"AU10": 0.9, "AU4": 0.3}, {"AU10": 0.8, "AU16": 0.5, "AU25": 0.5}, {"AU10": 0.8, "AU17": 0.6},
        {"AU9": 0.6, "AU10": 0.6, "AU7": 0.6, "AU4": 0.5},
        {"AU10": 0.7, "AU9": 0.4, "AU7": 0.7, "AU15": 0.4, "AU20": 0.3},
    ),
    "fear": (
        {"AU1": 1.0, "AU2": 0.6, "AU4": 0.5, "AU5": 0.8, "AU20": 0.7, "AU25": 0.5},
        {"AU1": 0.9, "AU2": 0.6, "AU4": 0.6, "AU5": 0.6, "AU25": 0.4},
        {"AU1": 1.0, "AU2": 0.5, "AU4": 0.6}, {"AU1": 1.0, "AU2": 0.6, "AU4": 0.4, "AU5": 0.7, "AU7": 0.4, "AU20": 0.8, "AU26": 0.5},
        {"AU5": 0.8, "AU20": 0.8, "AU25": 0.4, "AU1": 0.6, "AU4": 0.4}, {"AU1": 0.8, "AU4": 0.5, "AU5": 0.7, "AU26": 0.5},
    ),
    "happy": (
        {"AU6": 0.8, "AU12": 1.0, "AU25": 0.5}, {"AU12": 0.9, "AU6": 0.4}, {"AU12": 1.0, "AU25": 0.6, "AU6": 0.5, "AU10": 0.2},
        {"AU6": 0.9, "AU12": 1.0, "AU7": 0.4, "AU25": 0.5, "AU26": 0.4}, {"AU12": 0.8, "AU10": 0.5, "AU25": 0.6, "AU6": 0.4},
        {"AU12": 0.9, "AU10": 0.4, "AU6": 0.7, "AU25": 0.7},
    ),
    "sad": (
        {"AU1": 0.9, "AU4": 0.6}, {"AU1": 0.9, "AU4": 0.6, "AU15": 0.8}, {"AU1": 1.0, "AU4": 0.5, "AU15": 0.8, "AU17": 0.6},
        {"AU6": 0.4, "AU15": 0.9, "AU1": 0.5, "AU4": 0.3}, {"AU15": 0.7, "AU17": 0.6, "AU1": 0.4, "AU7": 0.4},
        {"AU1": 0.8, "AU4": 0.6, "AU7": 0.4, "AU15": 0.5},
    ),
    "surprised": (
        {"AU1": 1.0, "AU2": 1.0, "AU5": 0.7, "AU26": 0.7}, {"AU1": 1.0, "AU2": 1.0, "AU5": 0.6}, {"AU1": 0.9, "AU2": 0.9, "AU26": 0.7},
        {"AU5": 0.7, "AU26": 0.8, "AU1": 0.5, "AU2": 0.5}, {"AU1": 0.9, "AU2": 1.0},
    ),
}
"""Combinations of units by emotion, after the prototypes and major variants of Ekman, Friesen &
Hager (*FACS Investigator's Guide*, 2002); intensities at full strength are ours. A name without
a side means both; contempt's side is drawn."""
SPEECH: tuple[str, ...] = (
    "AU25", "AU26", "jaw", "pucker", "funnel", "press", "tuck", "AU16", "AU20", "AU10", "AU17", "AU14_L", "AU14_R", "AU12_L", "AU12_R",
)
SPEECH_SIZE = np.array([0.5, 0.45, 0.3, 0.5, 0.4, 0.4, 0.3, 0.35, 0.4, 0.3, 0.3, 0.15, 0.15, 0.3, 0.3])
"""Units that speech moves, and how far at most."""
GAINS = 0.3
"""Spread of the logarithm of one person's gain on one unit."""
HABIT = 0.08
"""Spread of what a resting face may hold of each unit."""
LOOKS: tuple[tuple[Units, float], ...] = (
    ({"AU1": 1.0, "AU2": 1.0}, 0.3), ({"AU1": 1.0}, 0.1), ({"AU2": 1.0}, 0.15), ({"AU4": 1.0}, 0.2), ({"AU5": 1.0}, 0.2),
    ({"AU7": 1.0}, 0.25), ({"AU12": 1.0}, 0.15), ({"AU15": 1.0}, 0.15), ({"AU10": 1.0}, 0.1), ({"AU14": 1.0}, 0.1),
)
"""Ways in which resting features look as if units moved them (high brows, narrow eyes, low
corners), and their spread to either side.
"""
EMPHASIS: tuple[tuple[Units, float], ...] = (
    ({"AU1": 0.7, "AU2": 0.8}, 0.35), ({"AU4": 0.6, "AU7": 0.3}, 0.1), ({"AU12": 0.5}, 0.1), ({"AU10": 0.5, "AU25": 0.3}, 0.15),
    ({"AU7": 0.6}, 0.15), ({"AU20": 0.5}, 0.1), ({"AU17": 0.5}, 0.1),
)
"""What speakers do whatever they feel, at up to this strength, and how often."""
# fmt: on
TURN = np.radians((8.0, 12.0, 6.0))
"""Spread of a clip's mean pitch, yaw and roll."""
DISTANCE = 7.0
"""Camera distance in eye-corner distances, for perspective; drawn between this and twice as much."""
SHAPE_ERROR, FRAME_ERROR = 0.008, 0.003
"""Tracker error that stays over a clip, smooth over the face, and that of each point in each frame
(eye-corner distances).
"""
IRIS = 0.062
"""Radius of an iris in eye-corner distances."""


@dataclass(frozen=True)
class Clips:
    """``points (C, F, 478, 3)`` in eye-corner distances, ``expression (C, F, 28)``, ``emotion
    (C,)``, ``strength (C,)`` 0..1.
    """

    points: np.ndarray
    expression: np.ndarray
    emotion: np.ndarray
    strength: np.ndarray


def simulate(clips: int, frames: int, rng: np.random.Generator) -> Clips:
    """Random clips with equal shares of the eight emotions; ``frames`` are moments apart from each
    other, not consecutive.
    """
    emotion = np.arange(clips) % len(EMOTIONS)
    strength = np.where(emotion == 0, 0.0, rng.uniform(0.35, 1.1, clips))
    expression = np.stack(
        [_expression(EMOTIONS[e], s, frames, rng) for e, s in zip(emotion, strength, strict=True)]
    )
    points = np.stack([_points(exp, rng) for exp in expression])
    return Clips(points.astype(np.float32), expression.astype(np.float32), emotion, strength)


def _vector(units: Units) -> np.ndarray:
    """``(28,)``; a name without a side means both."""
    out = np.zeros(len(EXP_NAMES))
    for name, value in units.items():
        out[
            [i for i, n in enumerate(EXP_NAMES) if n == name or n in (f"{name}_L", f"{name}_R")]
        ] = value
    return out


def _expression(emotion: str, strength: float, frames: int, rng: np.random.Generator) -> np.ndarray:
    """One clip's ``(F, 28)``."""
    variant = VARIANTS[emotion][int(rng.integers(len(VARIANTS[emotion])))]
    flip = rng.random() < 0.5
    target = _vector(
        {_other_side(name) if flip else name: value for name, value in variant.items()}
    )
    sides = rng.normal(0.0, 0.1, len(EXP_NAMES))
    target *= strength * np.exp(_by_unit(rng.normal(0.0, GAINS, len(EXP_NAMES))) + sides)
    habit = np.abs(_by_unit(rng.normal(0.0, HABIT, len(EXP_NAMES)))) * (
        rng.random(len(EXP_NAMES)) < 0.5
    )
    for units, often in EMPHASIS:
        habit = habit + _vector(units) * rng.uniform(0.2, 1.0) * (rng.random() < often)
    held = np.clip(rng.normal(0.9, 0.15, (frames, 1)), 0.2, 1.2)
    exp = habit + target * held * (1.0 + 0.1 * rng.standard_normal((frames, len(EXP_NAMES))))
    talk = np.zeros((frames, len(EXP_NAMES)))
    style = SPEECH_SIZE * rng.uniform(0.2, 1.3, len(SPEECH))
    talk[:, [EXP_NAMES.index(n) for n in SPEECH]] = (
        style * rng.uniform(0.0, 1.0, (frames, len(SPEECH))) ** 2
    )
    lids = np.where(rng.random(frames) < 0.08, rng.uniform(0.3, 1.0, frames), 0.0)[
        :, None
    ] * np.isin(EXP_NAMES, ("AU45_L", "AU45_R"))
    return np.clip(exp + talk + lids, 0.0, 1.2)


def _other_side(name: str) -> str:
    return {"_L": name[:-2] + "_R", "_R": name[:-2] + "_L"}.get(name[-2:], name)


def _by_unit(values: np.ndarray) -> np.ndarray:
    """Both sides of a unit share the value drawn for the left."""
    out = values.copy()
    for i, name in enumerate(EXP_NAMES):
        if name.endswith("_R"):
            out[i] = values[EXP_NAMES.index(name[:-2] + "_L")]
    return out


def _points(expression: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Landmarks ``(F, 478, 3)`` of a random person with these expressions."""
    model, frames = BuiltinFaceModel.load(), len(expression)
    looks = sum(_vector(units) * rng.normal(0.0, spread) for units, spread in LOOKS)
    identity = np.clip(
        rng.normal(0.0, 0.9, len(model.id_basis)), -2.0, 2.0
    ) @ model.id_basis.reshape(len(model.id_basis), -1)
    moved = (looks + expression) @ model.exp_basis.reshape(len(model.exp_basis), -1)
    shape = _smooth_error(rng) + model.mean + (identity + moved).reshape(frames, -1, 3)
    shape = _with_irises(shape, rng)
    angle = rng.normal(0.0, TURN) + rng.normal(0.0, TURN / 3, (frames, 3))
    turned = np.einsum("tij,tvj->tvi", rotation(angle), shape)
    away = DISTANCE * rng.uniform(1.0, 2.0)
    seen = np.concatenate(
        [turned[..., :2] * (away / (away + turned[..., 2:])), turned[..., 2:]], axis=-1
    )
    return seen + rng.normal(0.0, FRAME_ERROR, seen.shape)


def _smooth_error(rng: np.random.Generator) -> np.ndarray:
    """A displacement field ``(468, 3)`` that varies slowly over the face: a few random waves."""
    mean = BuiltinFaceModel.load().mean
    waves = rng.normal(0.0, 5.0, (6, 3))
    phases = mean @ waves.T + rng.uniform(0.0, 2 * np.pi, 6)
    return np.cos(phases) @ rng.normal(0.0, SHAPE_ERROR, (6, 3)) / np.sqrt(3.0)


def _with_irises(shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the ten iris points: centre, right, top, left, bottom, the right eye first, with one gaze
    for both eyes a frame.
    """
    gaze = rng.normal(0.0, (0.02, 0.008, 0.0), (len(shape), 3))
    ring = IRIS * np.array([(0, 0, 0), (1, 0, 0), (0, -1, 0), (-1, 0, 0), (0, 1, 0)])
    eyes = [
        ((shape[:, a] + shape[:, b]) / 2 + gaze)[:, None] + ring for a, b in ((33, 133), (263, 362))
    ]
    return np.concatenate([shape, *eyes], axis=1)
