"""CREMA-D (Cao et al., *IEEE Trans. Affective Computing* 5(4), 2014): 91 actors, 6 emotions, 12 sentences.

Files ``1001_IEO_NEU_XX.flv`` and ``.wav`` or ``.mp3`` anywhere below the root. A clip's emotion is the one that was acted. What
people heard and saw goes to ``extra.votes`` from ``tabulatedVotes.csv``: for ``voice``, ``face`` and ``both``, the share of raters
for each emotion. Where there is only ``summaryTable.csv``, which names the winners alone, those share the vote.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.sources.clip import Clip, Place, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Found, find_files
from datamodules.sources.labels import EMOTION_OF, INTENSITY_OF, labels_of
from emo_lightning.core.errors import UserError

SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
VOTE_OF = {"A": "angry", "D": "disgusted", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
QUERY_OF = {1: "voice", 2: "face", 3: "both"}
"""``queryType`` of the vote table, which leads each row's number."""
SUMMARY_OF = {"VoiceVote": "voice", "FaceVote": "face", "MultiModalVote": "both"}
TABLES = ("tabulatedVotes.csv", "summaryTable.csv")
_NAME = re.compile(
    rf"(?P<actor>\d{{4}})_(?P<sentence>{'|'.join(SENTENCES)})_(?P<emotion>{'|'.join(EMOTION_OF['cremad'])})"
    rf"_(?P<intensity>{'|'.join(INTENSITY_OF['cremad'])})"
)
Votes = dict[str, dict[str, float]]


@dataclass(frozen=True)
class CremadRecord:
    """What a file's name says."""

    actor: str
    sentence: str
    emotion: str
    intensity: str

    @staticmethod
    def parse(name: str) -> CremadRecord | None:
        """The record in a file's stem, or None when it is not CREMA-D's naming."""
        match = _NAME.fullmatch(name.rpartition("/")[2].rpartition(".")[0])
        return CremadRecord(**match.groupdict()) if match else None


class CremadSource:
    """See the module.

    Raises:
        UserError: a vote table that cannot be read.
    """

    name = "cremad"

    def __init__(self, root: Path) -> None:
        self.root, self.notes = root, []
        self._votes = read_votes(root)

    def clips(self) -> Iterator[Clip | Rejected]:
        """A clip for each video, then one for each recording without a video."""
        videos: dict[CremadRecord, Found] = {}
        sounds: dict[CremadRecord, Found] = {}
        for item in find_files(self.root, VIDEO_SUFFIXES | AUDIO_SUFFIXES):
            record = CremadRecord.parse(item.name) if isinstance(item, Found) else None
            if isinstance(item, Rejected):
                yield item
            elif record is None:
                yield Rejected(
                    item.name,
                    "naming",
                    "is not ACTOR_SENTENCE_EMOTION_LEVEL as CREMA-D names its files",
                )
            elif item.suffix in VIDEO_SUFFIXES and record in videos:
                yield Rejected(item.name, "duplicate", f"{videos[record].name} is the same clip")
            elif item.suffix in VIDEO_SUFFIXES:
                videos[record] = item
            elif record not in sounds or item.suffix == ".wav":
                sounds[record] = item
        if not self._votes:
            self.notes.append(f"no {' or '.join(TABLES)} below the root: clips have no votes")
        for record, found in videos.items():
            yield self._clip(
                found.name, found.place, sounds[record].place if record in sounds else None, record
            )
        for record, found in sounds.items():
            if record not in videos:
                yield self._clip(found.name, None, found.place, record)

    def _clip(
        self, name: str, video: Place | None, audio: Place | None, record: CremadRecord
    ) -> Clip:
        emotion, intensity = labels_of(self.name, record.emotion, record.intensity)
        extra: dict[str, Any] = {"label": f"{record.emotion} {record.intensity}"}
        votes = self._votes.get(
            "_".join((record.actor, record.sentence, record.emotion, record.intensity))
        )
        if votes:
            extra["votes"] = votes
        return Clip(
            name,
            video,
            record.actor,
            audio,
            SENTENCES[record.sentence],
            emotion,
            intensity,
            extra=extra,
        )


def read_votes(root: Path) -> dict[str, Votes]:
    """File stem -> ``voice``, ``face``, ``both`` -> emotion -> share of the raters; empty when no table is below the root."""
    for name, reader in zip(TABLES, (_tabulated, _summary), strict=True):
        for path in sorted(root.rglob(name)):
            try:
                with open(path, encoding="utf-8-sig", newline="") as file:
                    return reader(csv.DictReader(file))
            except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
                raise UserError(
                    name, path, "the table that comes with CREMA-D", f"cannot be read ({error!r})"
                ) from None
    return {}


def _tabulated(rows: csv.DictReader[str]) -> dict[str, Votes]:
    table: dict[str, Votes] = {}
    for row in rows:
        query = QUERY_OF[int(row[""]) // 100_000]
        counts = {emotion: int(row[letter]) for letter, emotion in VOTE_OF.items()}
        total = sum(counts.values())
        shares = {emotion: round(count / total, 4) for emotion, count in counts.items() if count}
        table.setdefault(row["fileName"], {})[query] = shares
    return table


def _summary(rows: csv.DictReader[str]) -> dict[str, Votes]:
    table: dict[str, Votes] = {}
    for row in rows:
        winners = {
            query: [VOTE_OF[letter] for letter in row[column].split(":")]
            for column, query in SUMMARY_OF.items()
        }
        table[row["FileName"]] = {
            query: dict.fromkeys(names, round(1 / len(names), 4))
            for query, names in winners.items()
        }
    return table
