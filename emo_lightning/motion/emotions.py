"""The eight emotions, the fifteen levels, and the emotion track over time.

Order and names are MEAD's. Levels run from 1 to 15 and may be fractional; MEAD's three annotated
intensities sit at 3, 8 and 13. Neutral has no level.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from emo_lightning.core.errors import UserError
from emo_lightning.motion.transitions import DISPLACED, OFFSETS, ONSETS, Crossover, Curve, Ramp

EMOTIONS: tuple[str, ...] = (
    "neutral",
    "angry",
    "contempt",
    "disgusted",
    "fear",
    "happy",
    "sad",
    "surprised",
)
NEUTRAL = 0
LEVEL_MIN, LEVEL_MAX = 1.0, 15.0
BAND_LIMIT = 5.0
"""The most levels by which a voice may move what was asked for, either way: a third of the scale."""
ANNOTATED_LEVELS: Mapping[int, float] = {1: 3.0, 2: 8.0, 3: 13.0}
"""MEAD's intensity (1, 2, 3) -> the level in the middle of its third of the scale."""

PROTOTYPES: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "angry": {
        "AU4": 1.2,
        "AU5": 0.35,
        "AU7": 0.95,
        "AU9": 0.65,
        "AU17": 0.45,
        "AU23": 0.8,
        "press": 0.8,
    },
    "contempt": {"AU12_L": 0.85, "AU14_L": 1.0, "AU7": 0.25, "AU2_L": 0.4, "AU17": 0.15},
    "disgusted": {"AU9": 1.0, "AU10": 0.4, "AU15": 0.35, "AU17": 0.4, "AU4": 0.5, "AU7": 0.4},
    "fear": {
        "AU1": 1.0,
        "AU2": 0.4,
        "AU4": 0.7,
        "AU5": 1.0,
        "AU7": 0.1,
        "AU20": 1.1,
        "AU25": 0.3,
        "AU26": 0.25,
    },
    "happy": {"AU6": 0.9, "AU12": 1.0, "AU25": 0.5},
    "sad": {"AU1": 1.0, "AU4": 0.6, "AU15": 0.9, "AU17": 0.5, "AU7": 0.2},
    "surprised": {"AU1": 1.0, "AU2": 1.0, "AU5": 0.8, "AU25": 0.1, "AU26": 0.55},
}
"""FACS prototypes (Ekman, Friesen & Hager, *FACS Investigator's Guide*, 2002), weights of ours.

At level 15 a face shows these units at these intensities (1 is the unit's maximum, FACS grade E). A name
without a side means both sides. Contempt is one-sided, on the subject's left. Anger is the one with lips pressed (AU24):
raised lids (AU5) and tight ones (AU7) together glare where either alone looks tired or startled.
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


def check_level(level: float, argument: str = "--level") -> float:
    """Return the level as a float; raise UserError outside 1..15 or when it is not a finite number."""
    try:
        value = float(level)
    except (TypeError, ValueError):
        raise UserError(argument, level, "a number from 1 to 15", "is not a number") from None
    if not math.isfinite(value) or not LEVEL_MIN <= value <= LEVEL_MAX:
        raise UserError(argument, level, "a number from 1 to 15", "is out of range")
    return value


def check_band(band: float | str, argument: str = "--level-from-voice") -> float:
    """Return how far a voice may move levels; raise UserError outside 0..5 or when it is not a finite number."""
    accepted = f"a number of levels from 0 (off) to {BAND_LIMIT:g}"
    try:
        value = float(band)
    except (TypeError, ValueError):
        raise UserError(argument, band, accepted, "is not a number") from None
    if not math.isfinite(value) or not 0.0 <= value <= BAND_LIMIT:
        raise UserError(argument, band, accepted, "is out of range")
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
        hits = [
            i
            for i, name in enumerate(exp_names)
            if name == unit or name in (f"{unit}_L", f"{unit}_R")
        ]
        if not hits:
            raise KeyError(
                f"{unit} (of {emotion}) is not among the expression names {tuple(exp_names)}"
            )
        out[hits] = weight
    return out


EASES = ("natural", "linear")
TRACK_SHAPE = "a YAML list of {time, emotion, level}, times rising from 0"


@dataclass(frozen=True)
class EmotionKey:
    """From ``time`` seconds on, this emotion (index) at this level.

    Attributes:
        time: seconds from the start of the video; half of a natural change to this key is done by then, all of a linear one.
        emotion: index into :data:`EMOTIONS`.
        level: 1..15.
        onset: seconds that this feeling takes to come, None for the track's.
        offset: seconds that it takes to leave, None for the track's.
        ease: ``natural`` comes as feelings do, ``linear`` grows steadily from the key before it.
    """

    time: float
    emotion: int
    level: float
    onset: float | None = None
    offset: float | None = None
    ease: str = "natural"


@dataclass(frozen=True)
class EmotionTrack:
    """How feeling changes within one video.

    ``keys`` are sorted by time, the first at 0. A natural change is half done at its key's time, so it is under way then and
    begins a little before. A feeling comes within its emotion's onset; it leaves for neutral, or fades to a lower level of itself,
    within its offset, which is longer; where another takes its place, the change takes the other's onset, but no less than a
    third of its own offset (see :mod:`emo_lightning.motion.transitions`). ``onset`` and ``offset`` here replace the emotions' own for all keys
    that bring none. ``onset`` alone stands for both. Onset 0 jumps.
    """

    keys: tuple[EmotionKey, ...]
    onset: float | None = None
    offset: float | None = None

    @staticmethod
    def constant(emotion: str, level: float) -> EmotionTrack:
        """One emotion at one level throughout."""
        return EmotionTrack((EmotionKey(0.0, emotion_index(emotion), check_level(level)),))

    @staticmethod
    def load(path: str | Path) -> EmotionTrack:
        """Read a YAML track: ``{onset: 0.6, keys: [{time: 0, emotion: happy, level: 8}, ...]}``; a bare list works.

        ``onset`` and ``offset`` (seconds) may stand beside ``keys`` and in each key, ``ease: linear`` in each but the first.

        Raises:
            UserError: unreadable file, unknown field, unknown emotion, level out of range, times that do not rise.
        """
        argument, shape = "--emotion-track", TRACK_SHAPE
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(argument, path, shape, f"cannot be read ({reason})") from None
        return EmotionTrack.parse(data, path, argument)

    @staticmethod
    def parse(
        data: object, source: object = "track", argument: str = "--emotion-track"
    ) -> EmotionTrack:
        """Track from the content of a track file; a key may also be ``(time, emotion, level)``.

        Args:
            data: a list of keys, or a mapping with ``keys``, ``onset`` and ``offset``.
            source: name of the data in error messages.
            argument: name of the setting in error messages.

        Raises:
            UserError: as :meth:`load`.
        """
        onset = offset = None
        if isinstance(data, dict):
            unknown = set(data) - {"onset", "offset", "keys"}
            if unknown:
                problem = f"has unknown fields {sorted(map(str, unknown))}"
                raise UserError(argument, source, TRACK_SHAPE, problem)
            onset, offset = (
                _seconds(data.get(name), f"{argument} {name}") for name in ("onset", "offset")
            )
            data = data.get("keys")
        if not isinstance(data, list) or not data:
            raise UserError(argument, source, TRACK_SHAPE, "holds no keys")
        keys: list[EmotionKey] = []
        for number, row in enumerate(data):
            if isinstance(row, tuple) and len(row) == 3:
                row = dict(zip(("time", "emotion", "level"), row, strict=True))
            keys.append(_read_key(row, f"{argument} key {number}", keys[-1] if keys else None))
        return EmotionTrack(tuple(keys), onset, offset)

    @cached_property
    def changes(self) -> tuple[Curve, ...]:
        """The curve of each key after the first, around its time."""
        return tuple(self._change(before, after) for before, after in itertools.pairwise(self.keys))

    def weights(self, times: np.ndarray) -> np.ndarray:
        """Share of each key at each moment; it depends on the moment alone.

        Args:
            times: ``(T,)`` seconds.

        Returns:
            ``(T, K)`` float32, rows sum to 1.
        """
        times = np.asarray(times, np.float64)
        shares = np.zeros((len(times), len(self.keys)))
        shares[:, 0] = 1.0
        # Each change lies over all before it, so changes that overlap stay smooth and no share is ever negative.
        for k, (key, change) in enumerate(zip(self.keys[1:], self.changes, strict=True), start=1):
            reached = change(times - key.time)
            shares[:, :k] *= 1.0 - reached[:, None]
            shares[:, k] = reached
        return shares.astype(np.float32)

    def levels(self) -> np.ndarray:
        """``(K,)`` float32, each key's level."""
        return np.array([key.level for key in self.keys], np.float32)

    def to_json(self) -> dict[str, object]:
        """What a track file would say, for a sidecar file; :meth:`load` reads it back."""
        times = {
            name: value
            for name, value in (("onset", self.onset), ("offset", self.offset))
            if value is not None
        }
        return {**times, "keys": self._rows()}

    def _rows(self) -> list[dict[str, object]]:
        """The keys as plain rows."""
        rows = []
        for key in self.keys:
            row: dict[str, object] = {"time": key.time, "emotion": EMOTIONS[key.emotion]}
            row["level"] = None if key.emotion == NEUTRAL else key.level
            row |= {
                name: value
                for name, value in (("onset", key.onset), ("offset", key.offset))
                if value is not None
            }
            rows.append(row | ({} if key.ease == EASES[0] else {"ease": key.ease}))
        return rows

    def _change(self, before: EmotionKey, after: EmotionKey) -> Curve:
        """How one key gives way to the next."""
        if after.ease == "linear":
            return Ramp(after.time - before.time)
        coming, leaving = self._onset(after), self._offset(before)
        if after.emotion == NEUTRAL or (
            before.emotion == after.emotion and after.level < before.level
        ):
            return Crossover(leaving)
        if before.emotion in (NEUTRAL, after.emotion) or coming == 0.0:
            return Crossover(coming)
        return Crossover(max(coming, leaving / DISPLACED))

    def _onset(self, key: EmotionKey) -> float:
        """Seconds that a key's feeling takes to come."""
        return next(
            s for s in (key.onset, self.onset, ONSETS[EMOTIONS[key.emotion]]) if s is not None
        )

    def _offset(self, key: EmotionKey) -> float:
        """Seconds that a key's feeling takes to leave."""
        return next(
            s
            for s in (key.offset, self.offset, self.onset, OFFSETS[EMOTIONS[key.emotion]])
            if s is not None
        )


_KEY_FIELDS = {"time", "emotion", "level", "onset", "offset", "ease"}


def _read_key(row: object, where: str, before: EmotionKey | None) -> EmotionKey:
    """One entry of a track file, checked."""
    if not isinstance(row, dict) or not {"time", "emotion"} <= set(row) <= _KEY_FIELDS:
        raise UserError(
            where,
            row,
            "{time: seconds, emotion: name, level: 1..15} with onset, offset (seconds) or ease if wanted",
        )
    time = _seconds(row["time"], f"{where} time")
    if time is None:
        raise UserError(f"{where} time", None, "seconds, 0 or more")
    if before is None and time > 0:
        raise UserError(f"{where} time", time, "0: the first key starts the video")
    if before is not None and time <= before.time:
        raise UserError(f"{where} time", time, f"more than the key before it ({before.time})")
    index = emotion_index(str(row["emotion"]), f"{where} emotion")
    level = row.get("level")
    if level is None and index != NEUTRAL:
        raise UserError(where, row, "a level for every emotion but neutral", "has no level")
    ease = row.get("ease", EASES[0])
    if ease not in EASES:
        raise UserError(f"{where} ease", ease, " or ".join(EASES))
    if before is None and ease != EASES[0]:
        raise UserError(
            f"{where} ease", ease, "a key before it to grow from", "is on the first key"
        )
    if ease == "linear" and "onset" in row:
        raise UserError(
            f"{where} onset",
            row["onset"],
            "either onset or ease: linear, which grows from the key before it",
        )
    onset, offset = (_seconds(row.get(name), f"{where} {name}") for name in ("onset", "offset"))
    return EmotionKey(
        time,
        index,
        check_level(1.0 if level is None else level, f"{where} level"),
        onset,
        offset,
        ease,
    )


def _seconds(value: object, where: str) -> float | None:
    """A time or duration of a track file; None where there is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UserError(where, value, "seconds, 0 or more")
    return float(value)
