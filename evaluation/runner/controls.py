"""Controls: rows made of the references alone, which every metric worth believing must rank
correctly.

They cost little, because no frame is decoded for them: changed audio goes through the audio
extractors and is joined with the reference's visual features; the still image is processed once and
repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from emo_lightning.core.constants import SAMPLES_PER_FRAME
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.crop import CropBox
from evaluation.judges.landmark_track import HeldTrack
from evaluation.protocol import (
    AUDIO_CONTROLS,
    EARLY,
    LATE,
    OTHER,
    SHIFT_FRAMES,
    STILL,
    NotScored,
    Unavailable,
)
from evaluation.runner.clip_reader import delayed, has_audio, load_audio, whole_audio
from evaluation.runner.feature_extraction import (
    ClipAnalyzer,
    ClipFeatures,
    ExtractedClip,
    frame_key,
    track_parts,
)
from evaluation.runner.frame_pass import still_rows
from evaluation.runner.pairs import ClipGroup, Item
from evaluation.suite import unavailable, uses_audio
from evaluation.suite.base import AudioExtractor, Entry, FrameExtractor, TrackExtractor


def plan(groups: Sequence[ClipGroup], entries: Mapping[str, Entry]) -> list[ClipGroup]:
    """The groups with the controls that belong to their references.

    Audio controls are planned where a metric uses the audio and the reference has an audio track;
    the other audio is that of the next reference in order, of another speaker where speakers are
    known.
    """
    blocked = unavailable(entries)
    usable = [entry for name, entry in entries.items() if name not in blocked]
    still = (STILL,) if any(entry.still for entry in usable) else ()
    reporting = [g for g in groups if g.reference is not None and g.scores_reference]
    audible: list[Item] = []
    if any(map(uses_audio, usable)):
        audible = [g.reference for g in reporting if has_audio(g.reference.path)]
    others = {item.path: _other(at, audible) for at, item in enumerate(audible)}
    planned = []
    for group in groups:
        if group.reference is None or not group.scores_reference:
            planned.append(replace(group, controls=()))
            continue
        path = group.reference.path
        other = others.get(path)
        audio = (LATE, EARLY, *((OTHER,) if other else ())) if path in others else ()
        planned.append(replace(group, other_audio=other, controls=(*audio, *still)))
    return planned


def _other(at: int, audible: Sequence[Item]) -> Item | None:
    """The next clip in order, of another speaker if there is one."""
    around = [*audible[at + 1 :], *audible[:at]]
    speaker = audible[at].extra.get("speaker")
    foreign = (i for i in around if speaker and i.extra.get("speaker") not in (None, "", speaker))
    return next(foreign, around[0] if around else None)


def applies_to_control(entry: Entry, control: str) -> bool:
    """Whether a metric is scored on a control."""
    return uses_audio(entry) if control in AUDIO_CONTROLS else entry.still


class ControlMaker:
    """Makes a reference's controls from its features."""

    def __init__(self, analyzer: ClipAnalyzer) -> None:
        self._analyzer = analyzer

    def lacks_still(self, digest: str, box: CropBox) -> bool:
        """Whether features of a reference's held frame are not cached."""
        return not all(self._analyzer.cache.has(where) for where in self._still_keys(digest, box))

    def _still_keys(self, digest: str, box: CropBox) -> Iterator[str]:
        for extractor in self._analyzer.extractors.values():
            if isinstance(extractor, FrameExtractor):
                try:
                    yield frame_key(extractor, digest, box, STILL)
                except Unavailable:
                    continue

    def make(self, control: str, reference: ExtractedClip, other: Item | None) -> ClipFeatures:
        """A control's clip; NotScored if there is none."""
        if control == STILL:
            return self._still(reference)
        return self._with_audio(control, reference, other)

    def _with_audio(
        self, control: str, reference: ExtractedClip, other: Item | None
    ) -> ClipFeatures:
        clip, frames = reference.clip.copy(), len(reference.clip.track)
        change = [sha256_of(other.path)] if control == OTHER and other is not None else []
        parts = ["sound", reference.sha256, frames, control, *change]
        for extractor in self._analyzer.extractors.values():
            if isinstance(extractor, AudioExtractor):
                self._analyzer.fill(
                    clip, extractor, parts, lambda: _audio(control, reference, other, frames)
                )
        return clip

    def _still(self, reference: ExtractedClip) -> ClipFeatures:
        """The first frame with a face, held; its audio is the reference's own."""
        track, digest = reference.clip.track, reference.sha256
        held = HeldTrack(track, int(np.argmax(track.seen)), len(track))
        clip = reference.clip.copy(held)
        for extractor in self._analyzer.extractors.values():
            if isinstance(extractor, FrameExtractor):
                self._fill_still(clip, extractor, reference)
            elif isinstance(extractor, TrackExtractor):
                parts = track_parts(digest, track.box, STILL)
                self._analyzer.fill(clip, extractor, parts, lambda: held)
        return clip

    def _fill_still(
        self, clip: ClipFeatures, extractor: FrameExtractor, reference: ExtractedClip
    ) -> None:
        name, cache = extractor.name, self._analyzer.cache
        try:
            where = frame_key(extractor, reference.sha256, clip.track.box, STILL)
            features = cache.load(where)
            if features is None:
                function = self._analyzer.opened.function(name, extractor)
                crop = reference.first[extractor.view]
                features = still_rows(extractor, function, crop, len(clip.track))
                cache.save(where, features)
            clip.put(name, features, where)
        except (NotScored, Unavailable) as error:
            clip.put(name, str(error))


def _audio(control: str, reference: ExtractedClip, other: Item | None, frames: int) -> np.ndarray:
    if control != OTHER:
        by = SHIFT_FRAMES if control == LATE else -SHIFT_FRAMES
        return delayed(load_audio(reference.item.path, frames), by)
    if other is None:
        raise NotScored("no other clip has audio")
    # Cut to the length of the frames, or repeated up to it.
    return np.resize(whole_audio(other.path), SAMPLES_PER_FRAME * frames)
