"""The eight emotions, the fifteen levels, and the emotion track over time.

Order and names are MEAD's. Levels run from 1 to 15 and may be fractional; MEAD's three annotated
intensities sit at 3, 8 and 13. Neutral has no level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from emo_lightning.errors import UserError

EMOTIONS: tuple[str, ...] = ("neutral", "angry", "contempt", "disgusted", "fear", "happy", "sad", "surprised")
NEUTRAL = 0
LEVEL_MIN, LEVEL_MAX = 1.0, 15.0
ANNOTATED_LEVELS: Mapping[int, float] = {1: 3.0, 2: 8.0, 3: 13.0}
"""MEAD's intensity (1, 2, 3) -> the level in the middle of its third of the scale."""

PROTOTYPES: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "angry": {"AU4": 1.0, "AU5": 0.3, "AU7": 0.7, "AU9": 0.3, "AU23": 0.8, "AU17": 0.3},
    "contempt": {"AU12_L": 0.75, "AU14_L": 1.0, "AU7": 0.2, "AU2_L": 0.3},
    "disgusted": {"AU9": 0.9, "AU10": 0.3, "AU15": 0.4, "AU17": 0.45, "AU4": 0.45, "AU7": 0.45},
    "fear": {"AU1": 1.0, "AU2": 0.6, "AU4": 0.5, "AU5": 0.7, "AU7": 0.3, "AU20": 0.8, "AU26": 0.25},
    "happy": {"AU6": 0.8, "AU12": 1.0, "AU7": 0.25, "AU25": 0.45},
    "sad": {"AU1": 1.0, "AU4": 0.6, "AU15": 0.9, "AU17": 0.45, "AU7": 0.2},
    "surprised": {"AU1": 1.0, "AU2": 1.0, "AU5": 0.7, "AU26": 0.55},
}
"""FACS prototypes (Ekman, Friesen & Hager, *FACS Investigator's Guide*, 2002), weights of ours.

At level 15 a face shows these units at these intensities (1 is the unit's maximum, FACS grade E). A name
without a side means both sides. Contempt is one-sided, on the subject's left.
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
"""The units by which each emotion's level is read back from a face."""


def emotion_index(name: str, argument: str = "--emotion") -> int:
    """Return the emotion's place in :data:`EMOTIONS`; raise UserError for an unknown name."""
    if name not in EMOTIONS:
        raise UserError(argument, name, ", ".join(EMOTIONS), "is not an emotion")
    return EMOTIONS.index(name)


def check_level(level: float, argument: str = "--level") -> float:
    """Return the level as a float; raise UserError outside 1..15 or when it is not a finite number."""
    try:
        value = float(level)
    except (TypeError, ValueError):
        raise UserError(argument, level, "a number from 1 to 15", "is not a number") from None
    if not math.isfinite(value) or not LEVEL_MIN <= value <= LEVEL_MAX:
        raise UserError(argument, level, "a number from 1 to 15", "is out of range")
    return value


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
        hits = [i for i, name in enumerate(exp_names) if name == unit or name in (f"{unit}_L", f"{unit}_R")]
        if not hits:
            raise KeyError(f"{unit} (of {emotion}) is not among the expression names {tuple(exp_names)}")
        out[hits] = weight
    return out


@dataclass(frozen=True)
class EmotionKey:
    """From ``time`` seconds on, this emotion (index) at this level."""

    time: float
    emotion: int
    level: float


@dataclass(frozen=True)
class EmotionTrack:
    """How feeling changes within one video.

    ``keys`` are sorted by time, the first at 0. Around each later key the weights cross over during ``onset``
    seconds, centred on the key, along a smoothstep, so nothing jumps.
    """

    keys: tuple[EmotionKey, ...]
    onset: float = 0.6

    @staticmethod
    def constant(emotion: str, level: float) -> EmotionTrack:
        """One emotion at one level throughout."""
        return EmotionTrack((EmotionKey(0.0, emotion_index(emotion), check_level(level)),))

    @staticmethod
    def load(path: str | Path) -> EmotionTrack:
        """Read a YAML track: ``{onset: 0.6, keys: [{time: 0, emotion: happy, level: 8}, ...]}``; a bare list works.

        Raises:
            UserError: unreadable file, unknown field, unknown emotion, level out of range, times that do not rise.
        """
        argument, shape = "--emotion-track", "a YAML list of {time, emotion, level}, times rising from 0"
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(argument, path, shape, f"cannot be read ({reason})") from None
        onset = 0.6
        if isinstance(data, dict):
            unknown = set(data) - {"onset", "keys"}
            if unknown:
                raise UserError(argument, path, shape, f"has unknown fields {sorted(map(str, unknown))}")
            onset, data = data.get("onset", onset), data.get("keys")
        if not isinstance(data, list) or not data:
            raise UserError(argument, path, shape, "holds no keys")
        if isinstance(onset, bool) or not isinstance(onset, (int, float)) or not 0 <= onset < math.inf:
            raise UserError(f"{argument} onset", onset, "seconds, 0 or more")
        keys = []
        for number, row in enumerate(data):
            where = f"{argument} key {number}"
            if not isinstance(row, dict) or not {"time", "emotion"} <= set(row) <= {"time", "emotion", "level"}:
                raise UserError(where, row, "{time: seconds, emotion: name, level: 1..15}")
            time, name = row["time"], str(row["emotion"])
            if isinstance(time, bool) or not isinstance(time, (int, float)) or not 0 <= time < math.inf:
                raise UserError(f"{where} time", time, "seconds, 0 or more")
            if keys and time <= keys[-1].time:
                raise UserError(f"{where} time", time, f"more than the key before it ({keys[-1].time})")
            index = emotion_index(name, f"{where} emotion")
            if "level" not in row and index != NEUTRAL:
                raise UserError(where, row, "a level for every emotion but neutral", "has no level")
            keys.append(EmotionKey(float(time), index, check_level(row.get("level", 1.0), f"{where} level")))
        if keys[0].time > 0:
            raise UserError(f"{argument} key 0 time", keys[0].time, "0: the first key starts the video")
        return EmotionTrack(tuple(keys), float(onset))

    def weights(self, times: np.ndarray) -> np.ndarray:
        """Share of each key at each moment.

        Args:
            times: ``(T,)`` seconds.

        Returns:
            ``(T, K)`` float32, rows sum to 1.
        """
        times = np.asarray(times, np.float64)
        reached = np.ones((len(times), len(self.keys) + 1))
        for k, key in enumerate(self.keys[1:], start=1):
            if self.onset > 0:
                x = np.clip((times - key.time) / self.onset + 0.5, 0.0, 1.0)
                reached[:, k] = x * x * (3.0 - 2.0 * x)
            else:
                reached[:, k] = times >= key.time
        reached[:, -1] = 0.0
        # Keys closer together than one onset overlap; the running minimum keeps every share non-negative.
        reached = np.minimum.accumulate(reached, axis=1)
        return (reached[:, :-1] - reached[:, 1:]).astype(np.float32)

    def to_json(self) -> list[dict[str, object]]:
        """Plain rows for a sidecar file."""
        return [{"time": k.time, "emotion": EMOTIONS[k.emotion], "level": None if k.emotion == NEUTRAL else k.level} for k in self.keys]
