"""RAVDESS (Livingstone & Russo, *PLoS ONE* 13(5), 2018): 24 actors, 8 emotions, 2 intensities.

Files ``02-01-06-01-02-01-12.mp4`` anywhere below the root: modality (01 audio and video, 02 video,
03 audio), channel (01 speech, 02 song), emotion, intensity, statement, repetition, actor. A take
with several files becomes one clip: the one with audio and video, or the silent one with the
recording's audio; a recording alone is an audio clip. Song is skipped, and counted in a note.
Neutral has no strong intensity. Actors of odd number are men, the others women: ``extra.sex``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from datamodules.sources.clip import Clip, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Found, find_records
from datamodules.sources.labels import EMOTION_OF, INTENSITY_OF, labels_of

SENTENCES = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
WORDS = "neutral calm happy sad angry fearful disgust surprised".split()
BOTH, VIDEO, AUDIO = "01", "02", "03"
SONG = "02"
NEUTRAL, STRONG = "01", "02"
_NAME = re.compile(
    rf"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>{'|'.join(EMOTION_OF['ravdess'])})"
    rf"-(?P<intensity>{'|'.join(INTENSITY_OF['ravdess'])})-(?P<statement>{'|'.join(SENTENCES)})"
    r"-(?P<repetition>0[12])-(?P<actor>\d\d)"
)


@dataclasses.dataclass(frozen=True)
class RavdessRecord:
    """The codes in a file's name."""

    modality: str
    channel: str
    emotion: str
    intensity: str
    statement: str
    repetition: str
    actor: str

    @staticmethod
    def parse(name: str) -> RavdessRecord | None:
        """The record in a file's stem, or None when it is not RAVDESS's naming."""
        match = _NAME.fullmatch(name.rpartition("/")[2].rpartition(".")[0])
        if (
            match is None
            or not 1 <= int(match["actor"]) <= 24
            or (match["emotion"], match["intensity"]) == (NEUTRAL, STRONG)
        ):
            return None
        return RavdessRecord(**match.groupdict())

    @property
    def take(self) -> tuple[str, ...]:
        """The codes that the files of one performance share."""
        return dataclasses.astuple(self)[1:]


class RavdessSource:
    """See the module."""

    name = "ravdess"

    def __init__(self, root: Path) -> None:
        self.root, self.notes = root, []

    def clips(self) -> Iterator[Clip | Rejected]:
        """One clip a take, by actor and code."""
        takes: dict[tuple[str, ...], dict[str, tuple[Found, RavdessRecord]]] = {}
        songs = 0
        naming = "is not a file name of RAVDESS, seven numbers of two digits from its table"
        for item in find_records(self.root, VIDEO_SUFFIXES | AUDIO_SUFFIXES, _parse, naming):
            if isinstance(item, Rejected):
                yield item
                continue
            found, record = item
            take = takes.setdefault(record.take, {})
            if record.channel == SONG:
                songs += 1
            elif record.modality in take:
                problem = f"{take[record.modality][0].name} is the same file of the corpus"
                yield Rejected(found.name, "duplicate", problem)
            else:
                take[record.modality] = item
        if songs:
            self.notes.append(f"{songs} files of song were skipped")
        takes = {take: files for take, files in takes.items() if files}
        for take in sorted(takes, key=lambda take: (take[-1], *take[:-1])):
            yield self._clip(takes[take])

    def _clip(self, files: dict[str, tuple[Found, RavdessRecord]]) -> Clip:
        video = files.get(BOTH) or files.get(VIDEO)
        audio = files.get(AUDIO)
        found, record = video or files[AUDIO]
        emotion, intensity = labels_of(self.name, record.emotion, record.intensity)
        strength = "strong" if record.intensity == STRONG else "normal"
        sex = "male" if int(record.actor) % 2 else "female"
        return Clip(
            found.name,
            found.place if video else None,
            f"Actor_{record.actor}",
            audio[0].place if audio else None,
            SENTENCES[record.statement],
            emotion,
            intensity,
            extra={"label": f"{WORDS[int(record.emotion) - 1]} {strength}", "sex": sex},
        )


def _parse(found: Found) -> RavdessRecord | None:
    record = RavdessRecord.parse(found.name)
    is_audio = found.suffix in AUDIO_SUFFIXES
    return record if record and (record.modality == AUDIO) == is_audio else None
