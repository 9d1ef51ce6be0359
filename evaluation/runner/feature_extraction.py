"""Features of a clip by all extractors: from the cache, or computed in one pass over its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from emo_lightning.core.errors import UserError
from emo_lightning.face.crop import CropBox, crop_image
from evaluation.judges import action_units, landmarks
from evaluation.judges.base import JudgeInfo
from evaluation.judges.landmark_track import (
    Judges,
    Track,
    check_faces,
    own_box,
    place_beside,
    shared_box,
)
from evaluation.protocol import SIZE, NotScored, Unavailable
from evaluation.runner.cache import FeatureCache, key
from evaluation.runner.clip_reader import BoundedFrames, ClipFrames, load_audio
from evaluation.runner.frame_pass import Crop, FramePass
from evaluation.runner.pairs import Item
from evaluation.suite import describe_judge
from evaluation.suite.base import (
    AudioExtractor,
    Extractor,
    Features,
    FrameExtractor,
    FrameFunction,
    FrameMetric,
    TrackExtractor,
    View,
)


class OpenJudges:
    """Functions of extractors and frame metrics, opened when first needed, once a process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._functions: dict[str, Callable[..., Any] | Unavailable] = {}

    def function(self, name: str, source: Extractor | FrameMetric) -> Callable[..., Any]:
        """The opened function; Unavailable, at every call, when its judge cannot be opened."""
        if name not in self._functions:
            try:
                describe_judge(source)
                self._functions[name] = source.open(self.device)
            except (Unavailable, UserError, OSError) as error:
                self._functions[name] = Unavailable(str(error))
        found = self._functions[name]
        if isinstance(found, Unavailable):
            raise found
        return found


@dataclass
class ClipFeatures:
    """One clip as metrics see it.

    Attributes:
        name, emotion, level, extra: as in the pairing.
        track: its landmarks.
        found: extractor -> its features, or why it has none.
        stored: extractor -> their key in the cache.
    """

    name: str
    emotion: str | None
    level: float | None
    extra: Mapping[str, str]
    track: Track
    found: dict[str, Features | str] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)

    def features(self, extractor: str) -> Features:
        """Its features; NotScored with the reason why there are none."""
        found = self.found.get(extractor, f"{extractor} was not computed")
        if isinstance(found, str):
            raise NotScored(found)
        return found

    def put(self, extractor: str, found: Features | str, stored: str | None = None) -> None:
        """Add an extractor's features and their key, or the reason why there are none."""
        self.found[extractor] = found
        self.stored.pop(extractor, None)
        if stored is not None and not isinstance(found, str):
            self.stored[extractor] = stored

    def copy(self, track: Track | None = None) -> ClipFeatures:
        """The same clip, to be changed, perhaps with another track."""
        track = track or self.track
        return replace(self, track=track, found=dict(self.found), stored=dict(self.stored))


@dataclass
class OpenClip:
    """A clip whose crop is known, before its features are computed.

    Attributes:
        item, sha256: the clip.
        reader: its frames.
        points: ``(T, 478, 3)`` landmarks; None where the pass over the frames finds them.
        box: its crop.
        shared: whether that is its reference's crop, or one aligned with it.
    """

    item: Item
    sha256: str
    reader: ClipFrames
    points: np.ndarray | None
    box: CropBox
    shared: bool


@dataclass
class ExtractedClip:
    """A clip with its features.

    Attributes:
        item, sha256, shared: as in :class:`OpenClip`.
        clip: its features.
        first: the first crop with a face in the views that were to be kept.
        crops: protocol crops kept for comparisons.
    """

    item: Item
    sha256: str
    shared: bool
    clip: ClipFeatures
    first: Mapping[View, Crop]
    crops: BoundedFrames

    def protocol_crops(self) -> Iterator[np.ndarray]:
        """The protocol's crops in order: those kept, or decoded anew where they were too many."""
        if self.crops.frames:
            yield from self.crops.frames
            return
        for frame in ClipFrames(self.item.path).frames():
            yield crop_image(frame, self.clip.track.box, SIZE)


class ClipAnalyzer:
    """Computes the features of clips with one set of extractors.

    Args:
        extractors: by name.
        opened: their functions.
        judges: the protocol's own judges.
        cache: where features are kept.
        align: see :mod:`evaluation.protocol`.
    """

    def __init__(
        self,
        extractors: Mapping[str, Extractor],
        opened: OpenJudges,
        judges: Judges,
        cache: FeatureCache,
        align: str | None = None,
    ) -> None:
        self.extractors, self.opened, self.cache = extractors, opened, cache
        self._judges, self._align = judges, align

    def open(self, item: Item, sha256: str, beside: Track | None) -> OpenClip:
        """A clip with its crop; its landmarks are found first where the crop depends on them.

        Args:
            item: the clip.
            sha256: its file's hash.
            beside: the track of its reference, whose crop it shares where both show the same view.

        Raises:
            NotScored: unreadable, without frames, without a face in at least half of its frames.
        """
        reader = ClipFrames(item.path)
        known = self.cache.load(_landmark_key(sha256))
        points = None if known is None else known["points"]
        aligned = self._align is not None and beside is not None
        box = None if beside is None or aligned else shared_box(reader.size, beside)
        if box is not None:
            return OpenClip(item, sha256, reader, points, box, True)
        if points is None:
            self._judges.landmarks.start()
            frames = reader.frames(keep=True)
            points = np.stack([self._judges.landmarks.place(frame) for frame in frames])
            self._save_points(sha256, points)
        check_faces(points, item.path.name)
        box = place_beside(points, beside).box(beside.box) if aligned else own_box(points)
        return OpenClip(item, sha256, reader, points, box, aligned)

    def extract(
        self,
        clip: OpenClip,
        sinks: Sequence[Callable[[np.ndarray], None]] = (),
        keep_first: Sequence[View] = (),
        also: Sequence[FrameExtractor] = (),
    ) -> ExtractedClip:
        """All features of a clip; its frames are decoded only where something needs them.

        Args:
            clip: from :meth:`open`.
            sinks: take the protocol's crops.
            keep_first: views of which the first crop with a face is to be kept.
            also: further extractors for this clip.

        Raises:
            NotScored: unreadable, without frames, without a face in at least half of its frames.
        """
        found, keys, wanted = self._plan(clip, also)
        work = FramePass(clip.box, wanted, sinks, keep_first)
        if clip.points is None or not work.is_idle:
            points = self._run(clip, work)
        else:
            points = clip.points
        item, box = clip.item, clip.box
        check_faces(points, item.path.name)
        track = Track(
            points,
            clip.reader.size,
            box,
            self._judges,
            lambda name, compute: self._recall(name, compute, clip.sha256, box),
        )
        features = ClipFeatures(item.clip, item.emotion, item.level, item.extra, track, found, keys)
        for name, rows in work.results().items():
            if not isinstance(rows, str):
                self.cache.save(keys[name], rows)
            features.put(name, rows, keys[name])
        self._add_track_and_audio(clip, features)
        crops = BoundedFrames()
        return ExtractedClip(item, clip.sha256, clip.shared, features, work.first, crops)

    def _run(self, clip: OpenClip, work: FramePass) -> np.ndarray:
        """Pass over the frames; returns the landmarks, found on the way where they are unknown."""
        if clip.points is not None:
            for frame, place in zip(clip.reader.again(), clip.points, strict=True):
                work.add(frame, place)
            return clip.points
        rows: list[np.ndarray] = []
        self._judges.landmarks.start()
        for frame in clip.reader.frames():
            rows.append(self._judges.landmarks.place(frame))
            work.add(frame, rows[-1])
        points = np.stack(rows)
        self._save_points(clip.sha256, points)
        return points

    def _save_points(self, sha256: str, points: np.ndarray) -> None:
        self.cache.save(_landmark_key(sha256), {"points": points})

    def _plan(
        self, clip: OpenClip, also: Sequence[FrameExtractor]
    ) -> tuple[
        dict[str, Features | str], dict[str, str], dict[str, tuple[FrameExtractor, FrameFunction]]
    ]:
        """Cached features of the frames, their keys, and the extractors that still have to run."""
        found: dict[str, Features | str] = {}
        keys: dict[str, str] = {}
        wanted: dict[str, tuple[FrameExtractor, FrameFunction]] = {}
        for extractor in (*self.extractors.values(), *also):
            if not isinstance(extractor, FrameExtractor):
                continue
            name = extractor.name
            try:
                where = frame_key(extractor, clip.sha256, clip.box)
                known = self.cache.load(where)
                if known is None:
                    wanted[name] = extractor, self.opened.function(name, extractor)
                else:
                    found[name] = known
                keys[name] = where
            except Unavailable as error:
                found[name] = str(error)
        return found, keys, wanted

    def _recall(
        self, name: str, compute: Callable[[], np.ndarray], sha256: str, box: CropBox
    ) -> np.ndarray:
        """An array that the action-unit judge derives from the landmarks: cached, else computed."""
        info = landmarks.describe()
        judge = judge_key(action_units.describe(info))
        where = key(name, *judge, info.sha256, sha256, box_key(box))
        known = self.cache.load(where)
        if known is None:
            known = {name: compute()}
            self.cache.save(where, known)
        return known[name]

    def _add_track_and_audio(self, clip: OpenClip, features: ClipFeatures) -> None:
        frames = len(features.track)
        for extractor in self.extractors.values():
            if isinstance(extractor, TrackExtractor):
                parts = track_parts(clip.sha256, clip.box)
                self.fill(features, extractor, parts, lambda: features.track)
            elif isinstance(extractor, AudioExtractor):
                parts = ["sound", clip.sha256, frames]
                self.fill(features, extractor, parts, lambda: load_audio(clip.item.path, frames))

    def fill(
        self,
        clip: ClipFeatures,
        extractor: TrackExtractor | AudioExtractor,
        parts: Sequence[object],
        load: Callable[[], Any],
    ) -> None:
        """Add an extractor's features to a clip: cached, else computed, else the reason why there
        are none.

        Args:
            clip: where they go.
            extractor: whose.
            parts: kind of the input, then what else its features depend on.
            load: the extractor's input.
        """
        name = extractor.name
        try:
            where = key(parts[0], *extractor_key(extractor), *parts[1:])
            features = self.cache.load(where)
            if features is None:
                features = self.opened.function(name, extractor)(load())
                self.cache.save(where, features)
            clip.put(name, features, where)
        except (NotScored, Unavailable) as error:
            clip.put(name, str(error))


def _landmark_key(sha256: str) -> str:
    return key("landmarks", landmarks.describe().sha256, sha256)


def extractor_key(extractor: Extractor) -> list[object]:
    """An extractor's part of a key: name, version, judge; Unavailable without its judge."""
    return [extractor.name, extractor.version, *judge_key(describe_judge(extractor))]


def judge_key(info: JudgeInfo | None) -> list[str | None]:
    """A judge's part of a key."""
    return [info.name, info.sha256] if info is not None else [None, None]


def box_key(box: CropBox) -> list[float]:
    """A crop's part of a key."""
    return [box.cx, box.cy, box.half]


def track_parts(sha256: str, box: CropBox, *change: object) -> list[object]:
    """Key parts of features of a clip's landmarks, changed in some way."""
    return ["track", landmarks.describe().sha256, sha256, box_key(box), *change]


def frame_key(extractor: FrameExtractor, sha256: str, box: CropBox, *change: object) -> str:
    """Cache key of the features of a clip's frames; Unavailable without the extractor's judge."""
    view = extractor.view
    seen = [view.size, view.x, view.y, view.half, extractor.context, extractor.every]
    return key("frames", *extractor_key(extractor), seen, sha256, box_key(box), *change)
