"""Emotion tracks: emotion and level over time, from a YAML file or one constant emotion."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL, check_level, emotion_index
from emo_lightning.motion.transitions import (
    DISPLACED,
    OFFSETS,
    ONSETS,
    LinearRamp,
    SmoothStep,
    Transition,
)

EASES = ("natural", "linear")
_KEY_FIELDS = {"time", "emotion", "level", "onset", "offset", "ease"}
_SHAPE = "a YAML list of {time, emotion, level}, times rising from 0"


@dataclass(frozen=True)
class EmotionKey:
    """From ``time`` seconds on, this emotion (index) at this level.

    Attributes:
        time: seconds from the start of the video; a natural transition to this key is half
            complete then, a linear one entirely.
        emotion: index into :data:`EMOTIONS`.
        level: 1..15.
        onset: seconds in which this emotion rises, None for the track's.
        offset: seconds in which it decays, None for the track's.
        ease: ``natural`` rises at the emotion's pace, ``linear`` from the key before it.
    """

    time: float
    emotion: int
    level: float
    onset: float | None = None
    offset: float | None = None
    ease: str = "natural"


@dataclass(frozen=True)
class EmotionTrack:
    """Emotion over time within one video.

    ``keys`` are sorted by time, the first at 0. A natural transition is half complete at its key's
    time, so it begins a little before. An emotion rises within its onset; it decays to neutral, or
    to a lower level of itself, within its offset, which is longer; where another replaces it, the
    transition takes the other's onset, but no less than a third of its own offset (see
    :mod:`emo_lightning.motion.transitions`). ``onset`` and ``offset`` here replace the emotions'
    own for all keys without any. ``onset`` alone stands for both. Onset 0 jumps.
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
        """Load a YAML track.

        Args:
            path: ``{onset: 0.6, keys: [{time: 0, emotion: happy, level: 8}, ...]}`` or the list of
                keys alone. ``onset`` and ``offset`` (seconds) may stand beside ``keys`` and in
                each key, ``ease: linear`` in each but the first.

        Raises:
            UserError: unreadable file, unknown field or emotion, level out of range, or times that
                do not rise.
        """
        argument = "--emotion-track"
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(argument, path, _SHAPE, f"cannot be read ({reason})") from None
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
            unknown = sorted(map(str, set(data) - {"onset", "offset", "keys"}))
            if unknown:
                raise UserError(argument, source, _SHAPE, f"has unknown fields {unknown}")
            onset = _seconds(data.get("onset"), f"{argument} onset")
            offset = _seconds(data.get("offset"), f"{argument} offset")
            data = data.get("keys")
        if not isinstance(data, list) or not data:
            raise UserError(argument, source, _SHAPE, "holds no keys")
        keys: list[EmotionKey] = []
        for number, row in enumerate(data):
            if isinstance(row, tuple) and len(row) == 3:
                row = dict(zip(("time", "emotion", "level"), row, strict=True))
            before = keys[-1] if keys else None
            keys.append(_parse_key(row, f"{argument} key {number}", before))
        return EmotionTrack(tuple(keys), onset, offset)

    @cached_property
    def transitions(self) -> tuple[Transition, ...]:
        """The transition to each key after the first, around its time."""
        return tuple(itertools.starmap(self._transition, itertools.pairwise(self.keys)))

    def weights(self, times: np.ndarray) -> np.ndarray:
        """Share of each key at each time; a function of the time alone.

        Args:
            times: ``(T,)`` seconds.

        Returns:
            ``(T, K)`` float32, rows sum to 1.
        """
        times = np.asarray(times, np.float64)
        shares = np.zeros((len(times), len(self.keys)))
        shares[:, 0] = 1.0
        # Each transition is composited over all before it, so overlapping ones stay smooth and no
        # share is ever negative.
        pairs = zip(self.keys[1:], self.transitions, strict=True)
        for k, (key, transition) in enumerate(pairs, start=1):
            reached = transition(times - key.time)
            shares[:, :k] *= 1.0 - reached[:, None]
            shares[:, k] = reached
        return shares.astype(np.float32)

    def levels(self) -> np.ndarray:
        """``(K,)`` float32, each key's level."""
        return np.array([key.level for key in self.keys], np.float32)

    def to_json(self) -> dict[str, object]:
        """The content of a track file, which :meth:`load` accepts."""
        rows = []
        for key in self.keys:
            level = None if key.emotion == NEUTRAL else key.level
            row = {"time": key.time, "emotion": EMOTIONS[key.emotion], "level": level}
            row |= _given(onset=key.onset, offset=key.offset)
            rows.append(row if key.ease == EASES[0] else {**row, "ease": key.ease})
        return {**_given(onset=self.onset, offset=self.offset), "keys": rows}

    def _transition(self, before: EmotionKey, after: EmotionKey) -> Transition:
        if after.ease == "linear":
            return LinearRamp(after.time - before.time)
        names = EMOTIONS[before.emotion], EMOTIONS[after.emotion]
        decay = _first(before.offset, self.offset, self.onset, OFFSETS[names[0]])
        rise = _first(after.onset, self.onset, ONSETS[names[1]])
        lower = before.emotion == after.emotion and after.level < before.level
        if after.emotion == NEUTRAL or lower:
            return SmoothStep(decay)
        if before.emotion in (NEUTRAL, after.emotion) or rise == 0.0:
            return SmoothStep(rise)
        return SmoothStep(max(rise, decay / DISPLACED))


def _parse_key(row: object, where: str, before: EmotionKey | None) -> EmotionKey:
    """One checked entry of a track file."""
    if not isinstance(row, dict) or not {"time", "emotion"} <= set(row) <= _KEY_FIELDS:
        fields = "{time: seconds, emotion: name, level: 1..15}"
        raise UserError(where, row, f"{fields}, with onset, offset (seconds) or ease if wanted")
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
            f"{where} ease", ease, "a key before it to rise from", "is on the first key"
        )
    if ease == "linear" and "onset" in row:
        accepted = "either onset or ease: linear, which rises from the key before it"
        raise UserError(f"{where} onset", row["onset"], accepted)
    onset, offset = (_seconds(row.get(name), f"{where} {name}") for name in ("onset", "offset"))
    value = check_level(1.0 if level is None else level, f"{where} level")
    return EmotionKey(time, index, value, onset, offset, ease)


def _seconds(value: object, where: str) -> float | None:
    """A time or duration of a track file; None where there is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UserError(where, value, "seconds, 0 or more")
    return float(value)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _given(**values: float | None) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
