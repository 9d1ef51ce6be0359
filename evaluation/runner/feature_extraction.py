"""Finds everything that the judges say of a clip: what the cache does not know is found in one walk along its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

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
from evaluation.runner.clip_features import SeenClip
from evaluation.runner.clip_reader import Crops, Film, load_sound
from evaluation.runner.frame_pass import Look, Sink
from evaluation.runner.judge_registry import Opened, introduce
from evaluation.runner.pairs import Item
from evaluation.suite.base import (
    Extractor,
    Features,
    FrameExtractor,
    FrameFunction,
    SoundExtractor,
    TrackExtractor,
    View,
)

Prepare = Callable[[CropBox, bool], tuple[Sink | None, Sequence[View]]]
"""Crop and whether it is the reference's -> who else looks: what takes the protocol's crops, views whose first crop is kept."""


def nobody(box: CropBox, shared: bool) -> tuple[Sink | None, Sequence[View]]:
    """Nobody else looks."""
    del box, shared
    return None, ()


@dataclass
class Watched:
    """A clip after the walk.

    Attributes:
        item, sha256: whose.
        clip: what was found.
        shared: whether it was seen through its reference's crop, or one aligned with that.
        look: the walk itself; None when the cache knew everything.
        crops: protocol crops kept for comparisons.
    """

    item: Item
    sha256: str
    clip: SeenClip
    shared: bool
    look: Look | None
    crops: Crops = field(default_factory=Crops)

    @property
    def box(self) -> CropBox:
        return self.clip.track.box

    def protocol_crops(self) -> Iterator[np.ndarray]:
        """The protocol's crops in order: those kept, or decoded anew where they were too many."""
        if self.crops.kept:
            yield from self.crops.kept
            return
        for frame in Film(self.item.path).frames():
            yield crop_image(frame, self.box, SIZE)


class Watcher:
    """Looks at clips with one set of extractors; ``align``: see :mod:`evaluation.protocol`."""

    def __init__(
        self,
        extractors: Mapping[str, Extractor],
        opened: Opened,
        judges: Judges,
        cache: FeatureCache,
        align: str | None = None,
    ) -> None:
        self._extractors, self._opened, self._judges, self.cache, self._align = (
            extractors,
            opened,
            judges,
            cache,
            align,
        )

    def watch(
        self,
        item: Item,
        sha256: str,
        beside: Track | None,
        prepare: Prepare = nobody,
        also: Sequence[FrameExtractor] = (),
    ) -> Watched:
        """Find everything in a clip.

        Args:
            item: the clip.
            sha256: its file's hash.
            beside: the track of its reference, whose crop it shares where both show the same view.
            prepare: who else looks.
            also: further extractors for this clip.

        Raises:
            NotScored: unreadable, without pictures, without a face in at least half of its frames.
        """
        film, walk = Film(item.path), None
        name = key("landmarks", landmarks.describe().sha256, sha256)
        known = self.cache.load(name)
        if known is None:
            points, size, walk = self._track(
                film, sha256, None if self._align else beside, prepare, also
            )
            self.cache.save(name, {"points": points, "size": np.array(size)})
        else:
            points, size = known["points"], (int(known["size"][0]), int(known["size"][1]))
        check_faces(points, item.path.name)
        box = self._beside(points, size, beside)
        shared = box is not None
        if walk is None:
            walk = self._begin(sha256, box or own_box(points), shared, prepare, also)
            if not walk.look.is_idle:
                for frame, place in zip(film.again(), points, strict=True):
                    walk.look.push(frame, place)
        track = Track(
            points,
            size,
            walk.look.box,
            self._judges,
            lambda what, compute: self._recall(what, compute, sha256, walk.look.box),
        )
        clip = SeenClip(
            item.clip, item.emotion, item.level, item.extra, track, walk.found, walk.keys
        )
        self._finish(walk, clip)
        self._listen_and_read(item, sha256, clip)
        return Watched(item, sha256, clip, shared, walk.look)

    def _beside(
        self, points: np.ndarray, size: tuple[int, int], reference: Track | None
    ) -> CropBox | None:
        """The square through which a clip is compared with its reference; None where it has only its own."""
        if reference is None:
            return None
        return (
            place_beside(points, reference).box(reference.box)
            if self._align
            else shared_box(size, reference)
        )

    def _track(
        self,
        film: Film,
        sha256: str,
        beside: Track | None,
        prepare: Prepare,
        also: Sequence[FrameExtractor],
    ) -> tuple[np.ndarray, tuple[int, int], _Walk | None]:
        """Landmarks of every frame; where the crop is known beforehand everyone looks at once, else the frames are held."""
        rows: list[np.ndarray] = []
        size, walk = (0, 0), None
        self._judges.landmarks.start()
        for frame in film.frames():
            if not rows:
                size = frame.shape[1], frame.shape[0]
                box = shared_box(size, beside) if beside is not None else None
                walk = self._begin(sha256, box, True, prepare, also) if box is not None else None
            rows.append(self._judges.landmarks.place(frame))
            if walk is not None:
                walk.look.push(frame, rows[-1])
            else:
                film.hold(frame)
        if not rows:
            raise NotScored(f"{film.path.name} has no frames")
        return np.stack(rows), size, walk

    def _begin(
        self,
        sha256: str,
        box: CropBox,
        shared: bool,
        prepare: Prepare,
        also: Sequence[FrameExtractor],
    ) -> _Walk:
        """What the cache knows of a clip seen through this crop, and a look for the rest."""
        found: dict[str, Features | str] = {}
        keys: dict[str, str] = {}
        wanted: dict[str, tuple[FrameExtractor, FrameFunction]] = {}
        for extractor in (*self._extractors.values(), *also):
            if not isinstance(extractor, FrameExtractor):
                continue
            try:
                keys[extractor.name] = frame_key(extractor, sha256, box)
                known = self.cache.load(keys[extractor.name])
                if known is None:
                    wanted[extractor.name] = (
                        extractor,
                        self._opened.function(extractor.name, extractor),
                    )
                else:
                    found[extractor.name] = known
            except Unavailable as error:
                keys.pop(extractor.name, None)
                found[extractor.name] = str(error)
        return _Walk(Look(box, wanted, *prepare(box, shared)), found, keys)

    def _finish(self, walk: _Walk, clip: SeenClip) -> None:
        """Take over, and store, what the look found."""
        for name, features in walk.look.results().items():
            clip.found[name] = features
            if isinstance(features, str):
                clip.stored.pop(name, None)
            else:
                self.cache.save(clip.stored[name], features)

    def _recall(
        self, what: str, compute: Callable[[], np.ndarray], sha256: str, box: CropBox
    ) -> np.ndarray:
        """What the action-unit judge reads from the landmarks: from the cache, else computed and kept."""
        judge = action_units.describe(landmarks.describe())
        name = key(
            what, *judge_numbers(judge), landmarks.describe().sha256, sha256, box_numbers(box)
        )
        known = self.cache.load(name)
        if known is None:
            known = {what: compute()}
            self.cache.save(name, known)
        return known[what]

    def _listen_and_read(self, item: Item, sha256: str, clip: SeenClip) -> None:
        """Ask the judges of landmarks and of sound."""
        for extractor in self._extractors.values():
            if isinstance(extractor, TrackExtractor):
                where = self.track_key(extractor, sha256, clip.track.box)
                self.fill(clip, extractor, where, lambda function: function(clip.track))
            elif isinstance(extractor, SoundExtractor):
                where = self.sound_key(extractor, sha256, len(clip.track))
                self.fill(
                    clip,
                    extractor,
                    where,
                    lambda function: function(load_sound(item.path, len(clip.track))),
                )

    def fill(
        self,
        clip: SeenClip,
        extractor: Extractor,
        where: str | Unavailable,
        ask: Callable[[Callable], Features],
    ) -> None:
        """Put an extractor's features into the clip: from the cache, else by asking, else the reason why there are none."""
        name = extractor.name
        try:
            if isinstance(where, Unavailable):
                raise where
            features = self.cache.load(where)
            if features is None:
                features = ask(self._opened.function(name, extractor))
                self.cache.save(where, features)
            clip.found[name], clip.stored[name] = features, where
        except (NotScored, Unavailable) as error:
            clip.found[name] = str(error)
            clip.stored.pop(name, None)

    def _key(self, kind: str, extractor: Extractor, *parts: object) -> str | Unavailable:
        try:
            return key(kind, *who(extractor), *parts)
        except Unavailable as error:
            return error

    def track_key(
        self, extractor: TrackExtractor, sha256: str, box: CropBox, *change: object
    ) -> str | Unavailable:
        """Where what is read from a clip's landmarks, changed in some way, lies."""
        return self._key(
            "track", extractor, landmarks.describe().sha256, sha256, box_numbers(box), *change
        )

    def sound_key(
        self, extractor: SoundExtractor, sha256: str, frames: int, *change: object
    ) -> str | Unavailable:
        """Where the features of a clip's sound, changed in some way, lie."""
        return self._key("sound", extractor, sha256, frames, *change)


@dataclass
class _Walk:
    """A look under way, what was known before it, and where everything is stored."""

    look: Look
    found: dict[str, Features | str]
    keys: dict[str, str]


def who(extractor: Extractor) -> list[object]:
    """An extractor's part of a key: name, version, judge; Unavailable if nobody would answer."""
    info = introduce(extractor)
    return [extractor.name, extractor.version, *judge_numbers(info)]


def judge_numbers(info: JudgeInfo | None) -> list[str | None]:
    """A judge's part of a key."""
    return [info.name, info.sha256] if info is not None else [None, None]


def box_numbers(box: CropBox) -> list[float]:
    """A crop's part of a key."""
    return [box.cx, box.cy, box.half]


def frame_key(extractor: FrameExtractor, sha256: str, box: CropBox, *change: object) -> str:
    """Where the features of a clip's frames lie; Unavailable if nobody would answer."""
    view = extractor.view
    seen = [view.size, view.x, view.y, view.half, extractor.context, extractor.every]
    return key("frames", *who(extractor), seen, sha256, box_numbers(box), *change)
