"""RAVDESS (Livingstone & Russo, *PLoS ONE* 13(5), 2018): 24 actors, 8 emotions at 2 intensities, 2 sentences.

Files ``02-01-06-01-02-01-12.mp4`` anywhere below the root: modality (01 picture and sound, 02 picture, 03 sound), channel (01
speech, 02 song), emotion, intensity, statement, repetition, actor. A take with several files becomes one clip: the one
with picture and sound, or the silent one with the recording's sound; a recording alone is an audio clip. Song is left out, and
counted in a note. Neutral has no strong intensity. Actors of odd number are men, the others women: ``extra.sex``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datamodules.sources.clip import Clip, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Found, find_files
from datamodules.sources.labels import EMOTION_OF, INTENSITY_OF, labels_of

SENTENCES = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
WORDS = "neutral calm happy sad angry fearful disgust surprised".split()
BOTH, PICTURE, SOUND = "01", "02", "03"
SONG = "02"
NEUTRAL, STRONG = "01", "02"
_NAME = re.compile(
    rf"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>{'|'.join(EMOTION_OF['ravdess'])})"
    rf"-(?P<intensity>{'|'.join(INTENSITY_OF['ravdess'])})-(?P<statement>{'|'.join(SENTENCES)})-(?P<repetition>0[12])-(?P<actor>\d\d)"
)


@dataclass(frozen=True)
class RavdessRecord:
    """What a file's name says, as its own codes."""

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
        """What the files of one performance share."""
        return (
            self.actor,
            self.channel,
            self.emotion,
            self.intensity,
            self.statement,
            self.repetition,
        )


class RavdessSource:
    """See the module."""

    name = "ravdess"

    def __init__(self, root: Path) -> None:
        self.root, self.notes = root, []

    def clips(self) -> Iterator[Clip | Rejected]:
        """One clip a take, by actor and code."""
        takes: dict[tuple[str, ...], dict[str, tuple[Found, RavdessRecord]]] = {}
        songs = 0
        for item in find_files(self.root, VIDEO_SUFFIXES | AUDIO_SUFFIXES):
            record = RavdessRecord.parse(item.name) if isinstance(item, Found) else None
            if isinstance(item, Rejected):
                yield item
            elif record is None or (record.modality == SOUND) != (item.suffix in AUDIO_SUFFIXES):
                yield Rejected(
                    item.name,
                    "naming",
                    "is not a file name of RAVDESS, seven numbers of two digits from its table",
                )
            elif record.channel == SONG:
                songs += 1
            elif record.modality in takes.setdefault(record.take, {}):
                yield Rejected(
                    item.name,
                    "duplicate",
                    f"{takes[record.take][record.modality][0].name} is the same file of the corpus",
                )
            else:
                takes[record.take][record.modality] = (item, record)
        if songs:
            self.notes.append(f"{songs} files of song were left out")
        for take in sorted(takes):
            yield self._clip(takes[take])

    def _clip(self, files: dict[str, tuple[Found, RavdessRecord]]) -> Clip:
        shown = files.get(BOTH) or files.get(PICTURE)
        heard = files.get(SOUND)
        found, record = shown or files[SOUND]
        emotion, intensity = labels_of(self.name, record.emotion, record.intensity)
        words = f"{WORDS[int(record.emotion) - 1]} {'strong' if record.intensity == STRONG else 'normal'}"
        extra = {"label": words, "sex": "male" if int(record.actor) % 2 else "female"}
        video, audio = found.place if shown else None, heard[0].place if heard else None
        sentence = SENTENCES[record.statement]
        return Clip(
            found.name,
            video,
            f"Actor_{record.actor}",
            audio,
            sentence,
            emotion,
            intensity,
            extra=extra,
        )
