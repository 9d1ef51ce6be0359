"""The eight emotions, the fifteen levels, and the action units of each emotion.

Order and names are MEAD's. Levels run from 1 to 15 and may be fractional; MEAD's three annotated
intensities sit at 3, 8 and 13. Neutral has no level.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from emo_lightning.core.errors import UserError

EMOTIONS: tuple[str, ...] = tuple(
    "neutral angry contempt disgusted fear happy sad surprised".split()
)
NEUTRAL = 0
SYNONYMS: Mapping[str, str] = {
    "neutral": "calm none normal",
    "angry": "anger ang mad",
    "contempt": "contemptuous scorn",
    "disgusted": "disgust dis",
    "fear": "fearful afraid scared fea",
    "happy": "happiness joy joyful hap smile",
    "sad": "sadness sorrow",
    "surprised": "surprise sur astonished",
}
"""Other words for each emotion, as corpora and users write them."""
LEVEL_MIN, LEVEL_MAX = 1.0, 15.0
MAX_VOICE_LEVELS = 5.0
"""The most levels by which a voice may move the level asked for, either way."""
ANNOTATED_LEVELS: Mapping[int, float] = {1: 3.0, 2: 8.0, 3: 13.0}
"""MEAD's intensity (1, 2, 3) -> the level in the middle of its third of the scale."""

PROTOTYPES: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "angry": {"AU4": 1.2, "AU5": 0.35, "AU7": 0.95, "AU9": 0.65, "AU17": 0.45, "AU23": 0.8,
              "press": 0.8},
    "contempt": {"AU12_L": 0.85, "AU14_L": 1.0, "AU7": 0.25, "AU2_L": 0.4, "AU17": 0.15},
    "disgusted": {"AU9": 1.0, "AU10": 0.4, "AU15": 0.35, "AU17": 0.4, "AU4": 0.5, "AU7": 0.4},
    "fear": {"AU1": 1.0, "AU2": 0.4, "AU4": 0.7, "AU5": 1.0, "AU7": 0.1, "AU20": 1.1, "AU25": 0.3,
             "AU26": 0.25},
    "happy": {"AU6": 0.9, "AU12": 1.0, "AU25": 0.5},
    "sad": {"AU1": 1.0, "AU4": 0.6, "AU15": 0.9, "AU17": 0.5, "AU7": 0.2},
    "surprised": {"AU1": 1.0, "AU2": 1.0, "AU5": 0.8, "AU25": 0.1, "AU26": 0.55},
}  # fmt: skip
"""FACS prototypes (Ekman, Friesen & Hager, *FACS Investigator's Guide*, 2002), weights of ours.

At level 15 a face shows these units at these intensities (1 is the unit's maximum, FACS grade E).
A name without a side means both sides. Contempt is one-sided, on the subject's left. Anger is the
one with lips pressed (AU24): raised lids (AU5) and tight ones (AU7) together glare where either
alone looks tired or startled.
"""

SIGNATURE_UNITS: Mapping[str, tuple[str, ...]] = {
    "angry": ("AU4", "AU7", "AU23"),
    "contempt": ("AU12_L", "AU14_L"),
    "disgusted": ("AU9",),
    "fear": ("AU1", "AU5", "AU20"),
    "happy": ("AU6", "AU12"),
    "sad": ("AU1", "AU15"),
    "surprised": ("AU1", "AU2", "AU5"),
}
"""The units from which each emotion's level is measured on a face."""


def check_emotion(name: str, argument: str = "--emotion") -> str:
    """The emotion's name in :data:`EMOTIONS`, from it or a synonym in any case.

    Raises:
        UserError: an unknown name; it suggests the nearest one.
    """
    word = str(name).strip().lower()
    known = {other: ours for ours, others in SYNONYMS.items() for other in (ours, *others.split())}
    if word in known:
        return known[word]
    near = difflib.get_close_matches(word, known, 1)
    problem = "is not an emotion" + (f"; did you mean {known[near[0]]}?" if near else "")
    raise UserError(argument, name, ", ".join(EMOTIONS), problem)


def emotion_index(name: str, argument: str = "--emotion") -> int:
    """Index of an emotion in :data:`EMOTIONS`; see :func:`check_emotion`."""
    return EMOTIONS.index(check_emotion(name, argument))


def check_level(level: float | str, argument: str = "--level") -> float:
    """The level as a float; UserError outside 1..15 or where it is not a finite number."""
    return check_number(level, argument, (LEVEL_MIN, LEVEL_MAX), "a number from 1 to 15")


def check_voice_levels(levels: float | str, argument: str = "--level-from-voice") -> float:
    """Levels by which a voice may move the level; UserError outside 0..5 or where not finite."""
    accepted = f"a number of levels from 0 (off) to {MAX_VOICE_LEVELS:g}"
    return check_number(levels, argument, (0.0, MAX_VOICE_LEVELS), accepted)


def check_number(
    value: float | str, argument: str, limits: tuple[float, float], accepted: str
) -> float:
    """A number within limits as a float; UserError otherwise."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(argument, value, accepted, "is not a number") from None
    if not math.isfinite(number) or not limits[0] <= number <= limits[1]:
        raise UserError(argument, value, accepted, "is out of range")
    return number


def prototype_exp(emotion: str, exp_names: Sequence[str]) -> np.ndarray:
    """The emotion's level-15 face as an expression vector.

    Args:
        emotion: one of :data:`EMOTIONS`.
        exp_names: the layout's expression names, e.g. ``("AU1_L", "AU1_R", ...)``.

    Returns:
        ``(len(exp_names),)`` float32.

    Raises:
        KeyError: the prototype names a unit that the layout lacks.
    """
    out = np.zeros(len(exp_names), np.float32)
    for unit, weight in PROTOTYPES[emotion].items():
        out[unit_indices(unit, exp_names)] = weight
    return out


def unit_indices(unit: str, exp_names: Sequence[str]) -> list[int]:
    """Where a unit stands in a layout; both sides for a name without one.

    Raises:
        KeyError: the layout lacks the unit.
    """
    names = (unit, f"{unit}_L", f"{unit}_R")
    indices = [k for k, name in enumerate(exp_names) if name in names]
    if not indices:
        raise KeyError(f"{unit} is not among the expression names {tuple(exp_names)}")
    return indices
