"""MEAD (Wang et al., *ECCV* 2020): 60 actors, 8 emotions at 3 intensities, 7 views.

Files as the corpus has them, ``M003/video/front/angry/level_1/001.mp4`` and
``M003/audio/angry/level_1/001.m4a``, loose or in its archives (``M003/video.tar``,
``M003/audio.tar``), also where an archive was unpacked into a folder of its own name
(``M003/video/video/front/...``) or the root is a speaker's folder; and the flat names
``M003_front_angry_level1_001.mp4`` of derived sets.

The authors test on speaker M003 and on the last sentences of each emotion
(:data:`TEST_SENTENCES`). Both are held out of training here: test speakers (M003, those whose
names' hash falls into test, and those with test sentences alone) keep all their clips, in the test
split; of all others the clips of test sentences are skipped, which a note counts. A test speaker's
clip of a test sentence has ``extra.test_sentence``. A file ``test_sentences.txt`` at the root (a
number, or an emotion and a number, a line) replaces the authors' list; an empty one skips nothing.

Sentences 001 to 003 are common to all emotions; any other number is another text in each emotion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.shards.splits import assign_splits
from datamodules.sources.clip import Clip, Place, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Found, find_records, read_text
from datamodules.sources.labels import EMOTION_OF, INTENSITY_OF, labels_of
from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL

VIEWS = ("front", "left_30", "left_60", "right_30", "right_60", "top", "down")
TEST_SPEAKERS = frozenset({"M003"})
"""As the authors answered a question about their test set (github.com/uniBruce/Mead, issue 4)."""
COMMON = frozenset({"001", "002", "003"})
TEST_SENTENCES = frozenset(
    f"{emotion} {number:03d}"
    for emotion in EMOTIONS
    for number in (range(31, 41) if emotion == EMOTIONS[NEUTRAL] else range(25, 31))
)
"""The last 10 of the 40 neutral sentences and the last 6 of the 30 of each other emotion, as the
authors split the corpus (README of github.com/uniBruce/Mead)."""
SENTENCES_FILE = "test_sentences.txt"
_SPEAKER = r"(?P<speaker>[MW]\d{3})"
_VIEW = rf"(?P<view>{'|'.join(VIEWS)})"
_EMOTION = rf"(?P<emotion>{'|'.join(EMOTION_OF['mead'])})"
_LEVEL = rf"(?P<intensity>[{''.join(INTENSITY_OF['mead'])}])"
_NUMBER = r"(?P<number>\d{3})"
_NAMES = (
    re.compile(rf"(?:.*/)?{_SPEAKER}/video/(?:video/)?{_VIEW}/{_EMOTION}/level_{_LEVEL}/{_NUMBER}"),
    re.compile(
        rf"(?:.*/)?{_SPEAKER}/audio/(?:audio/)?(?P<view>){_EMOTION}/level_{_LEVEL}/{_NUMBER}"
    ),
    re.compile(rf"(?:.*/)?{_SPEAKER}_{_VIEW}_{_EMOTION}_level_?{_LEVEL}_{_NUMBER}"),
)


@dataclass(frozen=True)
class MeadRecord:
    """The fields of a file's path; ``view`` is empty for a recording."""

    speaker: str
    view: str
    emotion: str
    intensity: str
    number: str

    @staticmethod
    def parse(name: str) -> MeadRecord | None:
        """The record in a path below the root, or None when it is not MEAD's naming."""
        stem = name.rpartition(".")[0]
        for pattern in _NAMES:
            match = pattern.fullmatch(stem)
            if match:
                return MeadRecord(**match.groupdict())
        return None

    @property
    def sentences(self) -> frozenset[str]:
        """The names that a list of sentences can have for this one."""
        return frozenset({self.number, f"{EMOTION_OF['mead'][self.emotion]} {self.number}"})

    @property
    def take(self) -> tuple[str, str, str, str]:
        """The fields that all views of one moment share."""
        return self.speaker, self.emotion, self.intensity, self.number


class MeadSource:
    """See the module.

    Args:
        root: folder of the speakers' folders or archives, at any depth, or one speaker's.
        views: which of :data:`VIEWS` become clips.

    Raises:
        UserError: an unknown view, or a ``test_sentences.txt`` that cannot be read.
    """

    name = "mead"

    def __init__(self, root: Path, views: Sequence[str] = ("front",)) -> None:
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views:
            raise UserError(
                "--views",
                ",".join(views),
                f"all, or some of {', '.join(VIEWS)}",
                "names no view of MEAD",
            )
        self.root, self.views, self.notes = root, tuple(views), []
        self._test_sentences = _read_test_sentences(root / SENTENCES_FILE)

    def clips(self) -> Iterator[Clip | Rejected]:
        """Clips of the chosen views by name, then recordings of takes without any video."""
        videos: list[tuple[Found, MeadRecord]] = []
        recordings: dict[tuple[str, ...], tuple[Found, MeadRecord]] = {}
        naming = "is not SPEAKER/video/VIEW/EMOTION/level_N/NNN, nor another of MEAD's names"
        for item in find_records(self.root, VIDEO_SUFFIXES | AUDIO_SUFFIXES, self._parse, naming):
            if isinstance(item, Rejected):
                yield item
            elif item[1].view:
                videos.append(item)
            else:
                recordings[item[1].take] = item
        chosen = [(found, record) for found, record in videos if record.view in self.views]
        if len(chosen) < len(videos):
            count, views = len(videos) - len(chosen), ", ".join(self.views)
            self.notes.append(f"{count} videos of other views than {views} were skipped")
        with_video = {record.take for _, record in videos}
        alone = [item for take, item in recordings.items() if take not in with_video]
        for found, record, split in self._without_test_sentences([*chosen, *alone]):
            if record.view:
                recording = recordings.get(record.take)
                audio = recording[0].place if recording else None
                yield self._clip(found.name, found.place, audio, record, split)
            else:
                yield self._clip(found.name, None, found.place, record, split)

    def _parse(self, found: Found) -> MeadRecord | None:
        # The root's own folders may hold the speaker.
        above = "/".join(self.root.resolve().parts[-2:])
        record = MeadRecord.parse(f"{above}/{found.name}")
        is_video = found.suffix in VIDEO_SUFFIXES
        return record if record and bool(record.view) == is_video else None

    def _without_test_sentences(
        self, items: list[tuple[Found, MeadRecord]]
    ) -> Iterator[tuple[Found, MeadRecord, str | None]]:
        """Clips that are not held out, and their split where it is fixed."""
        others = {
            record.speaker for _, record in items if not record.sentences & self._test_sentences
        } - TEST_SPEAKERS
        splits, skipped = assign_splits(others), 0
        for found, record in items:
            if splits.get(record.speaker, "test") == "test":
                yield found, record, "test"
            elif record.sentences & self._test_sentences:
                skipped += 1
            else:
                yield found, record, None
        if skipped:
            self.notes.append(
                f"{skipped} clips of MEAD's test sentences were skipped: "
                "their speakers are not in the test split"
            )

    def _clip(
        self,
        name: str,
        video: Place | None,
        audio: Place | None,
        record: MeadRecord,
        split: str | None,
    ) -> Clip:
        emotion, intensity = labels_of(self.name, record.emotion, record.intensity)
        extra: dict[str, Any] = {"label": f"{record.emotion} level_{record.intensity}"}
        extra |= {"view": record.view} if record.view else {}
        extra |= {"test_sentence": True} if record.sentences & self._test_sentences else {}
        sentence = f"{'common' if record.number in COMMON else record.emotion}-{record.number}"
        labels = (sentence, emotion, intensity)
        return Clip(name, video, record.speaker, audio, *labels, split=split, extra=extra)


def _read_test_sentences(path: Path) -> frozenset[str]:
    if not path.is_file():
        return TEST_SENTENCES
    accepted = "lines of a number of three digits, or of an emotion and such a number"
    text = read_text(path, SENTENCES_FILE, accepted)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for line in lines:
        if not re.fullmatch(rf"(?:{_EMOTION} )?\d{{3}}", line):
            raise UserError(SENTENCES_FILE, line, accepted)
    return frozenset(lines)
