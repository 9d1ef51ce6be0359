"""MEAD (Wang et al., *ECCV* 2020): 60 actors, 8 emotions at 3 intensities, 7 views.

Files as the corpus has them, ``M003/video/front/angry/level_1/001.mp4`` and ``M003/audio/angry/level_1/001.m4a``, loose or in
its archives (``M003/video.tar``, ``M003/audio.tar``); also the flat names ``M003_front_angry_level1_001.mp4`` of derived sets.

The authors test on speaker M003 and on the last sentences of each emotion (:data:`TEST_SENTENCES`). Both are kept out of
training here: test speakers (M003, those whose names' hash falls into test, and those of whom there are test sentences alone)
keep all their clips, in the test split; of everyone else the clips of test sentences are left out, which a note counts. A test
speaker's clip of a test sentence has ``extra.test_sentence``. A file ``test_sentences.txt`` at the root (a number, or an emotion
and a number, a line) takes the place of the authors' list; one without lines leaves nothing out.

Sentences 001 to 003 are common to all emotions; any other number means another text in each emotion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.shards.splits import assign_splits
from datamodules.sources.clip import Clip, Place, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Found, find_files
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
"""The last 10 of the 40 neutral sentences and the last 6 of the 30 of each other emotion, at every intensity, as the authors
split the corpus (README of github.com/uniBruce/Mead)."""
SENTENCES_FILE = "test_sentences.txt"
_SPEAKER = r"(?P<speaker>[MW]\d{3})"
_VIEW = rf"(?P<view>{'|'.join(VIEWS)})"
_EMOTION = rf"(?P<emotion>{'|'.join(EMOTION_OF['mead'])})"
_LEVEL = rf"(?P<intensity>[{''.join(INTENSITY_OF['mead'])}])"
_NUMBER = r"(?P<number>\d{3})"
_NAMES = (
    re.compile(rf"(?:.*/)?{_SPEAKER}/video/{_VIEW}/{_EMOTION}/level_{_LEVEL}/{_NUMBER}"),
    re.compile(rf"(?:.*/)?{_SPEAKER}/audio/(?P<view>){_EMOTION}/level_{_LEVEL}/{_NUMBER}"),
    re.compile(rf"(?:.*/)?{_SPEAKER}_{_VIEW}_{_EMOTION}_level_?{_LEVEL}_{_NUMBER}"),
)


@dataclass(frozen=True)
class MeadRecord:
    """What a file's name says; ``view`` is empty for a recording."""

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
        """The names that a list of sentences may have for this one."""
        return frozenset({self.number, f"{EMOTION_OF['mead'][self.emotion]} {self.number}"})

    @property
    def take(self) -> tuple[str, str, str, str]:
        """What all views of one moment share."""
        return self.speaker, self.emotion, self.intensity, self.number


class MeadSource:
    """See the module.

    Args:
        root: folder with the speakers' folders or archives somewhere below.
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
        """Clips of the chosen views by name, then recordings of takes that have no video at all."""
        videos: list[tuple[Found, MeadRecord]] = []
        sounds: dict[tuple[str, ...], tuple[Found, MeadRecord]] = {}
        for item in find_files(self.root, VIDEO_SUFFIXES | AUDIO_SUFFIXES):
            record = MeadRecord.parse(item.name) if isinstance(item, Found) else None
            if isinstance(item, Rejected):
                yield item
            elif record is None or bool(record.view) != (item.suffix in VIDEO_SUFFIXES):
                yield Rejected(
                    item.name,
                    "naming",
                    "is not SPEAKER/video/VIEW/EMOTION/level_N/NNN, nor another of MEAD's names",
                )
            elif record.view:
                videos.append((item, record))
            else:
                sounds[record.take] = item, record
        chosen = [(found, record) for found, record in videos if record.view in self.views]
        if len(chosen) < len(videos):
            self.notes.append(
                f"{len(videos) - len(chosen)} videos of other views than {', '.join(self.views)} were left out"
            )
        filmed = {record.take for _, record in videos}
        lonely = [(found, record) for take, (found, record) in sounds.items() if take not in filmed]
        for found, record, split in self._tested([*chosen, *lonely]):
            sound = sounds.get(record.take, (None,))[0] if record.view else None
            video, audio = (
                (found.place, sound.place if sound else None)
                if record.view
                else (None, found.place)
            )
            yield self._clip(found.name, video, audio, record, split)

    def _tested(
        self, items: list[tuple[Found, MeadRecord]]
    ) -> Iterator[tuple[Found, MeadRecord, str | None]]:
        """Those that are not held out, and their split where it is fixed."""
        others = {
            record.speaker for _, record in items if not record.sentences & self._test_sentences
        } - TEST_SPEAKERS
        splits, left_out = assign_splits(others), 0
        for found, record in items:
            if splits.get(record.speaker, "test") == "test":
                yield found, record, "test"
            elif record.sentences & self._test_sentences:
                left_out += 1
            else:
                yield found, record, None
        if left_out:
            self.notes.append(
                f"{left_out} clips of MEAD's test sentences were left out: their speakers are not in the test split"
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
        return Clip(
            name,
            video,
            record.speaker,
            audio,
            sentence,
            emotion,
            intensity,
            split=split,
            extra=extra,
        )


def _read_test_sentences(path: Path) -> frozenset[str]:
    if not path.is_file():
        return TEST_SENTENCES
    accepted = "lines of a number of three digits, or of an emotion and such a number"
    lines = [
        " ".join(line.split())
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    lines = [line for line in lines if line and not line.startswith("#")]
    for line in lines:
        if not re.fullmatch(rf"(?:{_EMOTION} )?\d{{3}}", line):
            raise UserError(SENTENCES_FILE, line, accepted)
    return frozenset(lines)
