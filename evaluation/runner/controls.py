"""Controls: rows made of the references alone, which every metric worth believing puts where they belong.

They cost little, because nothing is decoded for them: changed sound is heard by the sound's judges and joined with what
was seen of the reference; the still picture is asked about once and its answer repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.crop import CropBox
from evaluation.judges.landmark_track import HeldTrack
from evaluation.protocol import (
    EARLY,
    LATE,
    OTHER,
    SHIFT_FRAMES,
    SOUND_CONTROLS,
    STILL,
    NotScored,
    Unavailable,
)
from evaluation.runner.clip_features import SeenClip
from evaluation.runner.clip_reader import delayed, has_sound, load_sound, looped, whole_sound
from evaluation.runner.feature_extraction import Watched, Watcher, frame_key
from evaluation.runner.frame_pass import hold
from evaluation.runner.judge_registry import unavailable
from evaluation.runner.pairs import Group, Item
from evaluation.suite import hears
from evaluation.suite.base import Entry, Extractor, FrameExtractor, SoundExtractor, TrackExtractor


def plan(groups: Sequence[Group], entries: Mapping[str, Entry]) -> list[Group]:
    """The groups with the controls that belong to their references.

    Sound controls are planned where a metric can hear and the reference has a sound track; the other sound is that of the
    next reference in order, of another speaker where speakers are known.
    """
    blocked = unavailable(entries)
    usable = [entry for name, entry in entries.items() if name not in blocked]
    still = (STILL,) if any(entry.still for entry in usable) else ()
    owners = [
        group.reference
        for group in groups
        if group.reference is not None and group.scores_reference
    ]
    audible = [item for item in owners if has_sound(item.path)] if any(map(hears, usable)) else []
    others = {item.path: _other(at, audible) for at, item in enumerate(audible)}
    planned = []
    for group in groups:
        names: tuple[str, ...] = ()
        if group.reference is not None and group.scores_reference:
            other = others.get(group.reference.path)
            sound = (
                (LATE, EARLY, *((OTHER,) if other else ()))
                if group.reference.path in others
                else ()
            )
            names, group = (*sound, *still), replace(group, other_sound=other)
        planned.append(replace(group, controls=names))
    return planned


def _other(at: int, audible: Sequence[Item]) -> Item | None:
    """The next clip in order, of another speaker if there is one."""
    around = [*audible[at + 1 :], *audible[:at]]
    speaker = audible[at].extra.get("speaker")
    strangers = (
        item for item in around if speaker and item.extra.get("speaker") not in (None, "", speaker)
    )
    return next(strangers, around[0] if around else None)


def scored(entry: Entry, control: str) -> bool:
    """Whether a metric speaks to a control."""
    if control in SOUND_CONTROLS:
        return hears(entry)
    return entry.still


class ControlMaker:
    """Makes a reference's controls from what was found in it."""

    def __init__(self, extractors: Mapping[str, Extractor], watcher: Watcher) -> None:
        self._extractors, self._watcher = extractors, watcher

    def lacks_still(self, digest: str, box: CropBox) -> bool:
        """Whether an extractor has yet to see a reference's held frame."""
        keys = (
            _still_key(e, digest, box)
            for e in self._extractors.values()
            if isinstance(e, FrameExtractor)
        )
        return any(isinstance(where, str) and not self._watcher.cache.has(where) for where in keys)

    def make(self, control: str, reference: Watched, other: Item | None) -> SeenClip:
        """A control's clip; NotScored if there is none."""
        if control == STILL:
            return self._still(reference)
        return self._with_sound(control, reference, other)

    def _with_sound(self, control: str, reference: Watched, other: Item | None) -> SeenClip:
        frames = len(reference.clip.track)
        clip = reference.clip.with_features({}, {})
        change = (
            [control, sha256_of(other.path)]
            if control == OTHER and other is not None
            else [control]
        )
        for extractor in self._extractors.values():
            if isinstance(extractor, SoundExtractor):
                where = self._watcher.sound_key(extractor, reference.sha256, frames, *change)
                self._watcher.fill(
                    clip,
                    extractor,
                    where,
                    lambda function: function(_sound(control, reference, other, frames)),
                )
        return clip

    def _still(self, reference: Watched) -> SeenClip:
        """The first frame with a face, held; its sound is the reference's own."""
        frames, first = len(reference.clip.track), int(np.argmax(reference.clip.track.seen))
        clip = reference.clip.with_features({}, {}, HeldTrack(reference.clip.track, first, frames))
        for extractor in self._extractors.values():
            if isinstance(extractor, FrameExtractor):
                where = _still_key(extractor, reference.sha256, reference.box)
                self._watcher.fill(
                    clip,
                    extractor,
                    where,
                    lambda function, e=extractor: hold(
                        e, function, reference.look.first[e.view], frames
                    ),
                )
            elif isinstance(extractor, TrackExtractor):
                where = self._watcher.track_key(extractor, reference.sha256, reference.box, STILL)
                self._watcher.fill(clip, extractor, where, lambda function: function(clip.track))
        return clip


def _still_key(extractor: FrameExtractor, digest: str, box: CropBox) -> str | Unavailable:
    try:
        return frame_key(extractor, digest, box, STILL)
    except Unavailable as error:
        return error


def _sound(control: str, reference: Watched, other: Item | None, frames: int) -> np.ndarray:
    if control == OTHER:
        if other is None:
            raise NotScored("no other clip has sound")
        return looped(whole_sound(other.path), frames)
    return delayed(
        load_sound(reference.item.path, frames), SHIFT_FRAMES if control == LATE else -SHIFT_FRAMES
    )
