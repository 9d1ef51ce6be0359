"""CREMA-D (Cao et al., *IEEE Trans. Affective Computing* 5(4), 2014): 91 actors, 6 emotions.

Files ``1001_IEO_NEU_XX.flv`` and ``.wav`` or ``.mp3`` anywhere below the root. A clip's emotion is
the acted one. The perceived ones go to ``extra.votes`` from ``tabulatedVotes.csv``: for ``voice``,
``face`` and ``both``, the share of raters for each emotion. ``summaryTable.csv``, which names the
winners alone, is the fallback; there, winners share the vote.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.sources.clip import Clip, Place, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Found, find_records, read_text
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
"""``queryType`` of the vote table, the leading digit of each row's number."""
SUMMARY_OF = {"VoiceVote": "voice", "FaceVote": "face", "MultiModalVote": "both"}
TABLES = ("tabulatedVotes.csv", "summaryTable.csv")
_NAME = re.compile(
    rf"(?P<actor>\d{{4}})_(?P<sentence>{'|'.join(SENTENCES)})"
    rf"_(?P<emotion>{'|'.join(EMOTION_OF['cremad'])})"
    rf"_(?P<intensity>{'|'.join(INTENSITY_OF['cremad'])})"
)
Votes = dict[str, dict[str, float]]


@dataclass(frozen=True)
class CremadRecord:
    """The fields of a file's name."""

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
        recordings: dict[CremadRecord, Found] = {}
        naming = "is not ACTOR_SENTENCE_EMOTION_LEVEL as CREMA-D names its files"
        suffixes = VIDEO_SUFFIXES | AUDIO_SUFFIXES
        for item in find_records(
            self.root, suffixes, lambda found: CremadRecord.parse(found.name), naming
        ):
            if isinstance(item, Rejected):
                yield item
                continue
            found, record = item
            if found.suffix in VIDEO_SUFFIXES and record in videos:
                yield Rejected(found.name, "duplicate", f"{videos[record].name} is the same clip")
            elif found.suffix in VIDEO_SUFFIXES:
                videos[record] = found
            elif record not in recordings or found.suffix == ".wav":
                recordings[record] = found
        if not self._votes:
            self.notes.append(f"no {' or '.join(TABLES)} below the root: clips have no votes")
        for record, found in videos.items():
            audio = recordings[record].place if record in recordings else None
            yield self._clip(found.name, found.place, audio, record)
        for record, found in recordings.items():
            if record not in videos:
                yield self._clip(found.name, None, found.place, record)

    def _clip(
        self, name: str, video: Place | None, audio: Place | None, record: CremadRecord
    ) -> Clip:
        emotion, intensity = labels_of(self.name, record.emotion, record.intensity)
        extra: dict[str, Any] = {"label": f"{record.emotion} {record.intensity}"}
        stem = "_".join((record.actor, record.sentence, record.emotion, record.intensity))
        if stem in self._votes:
            extra["votes"] = self._votes[stem]
        sentence = SENTENCES[record.sentence]
        return Clip(name, video, record.actor, audio, sentence, emotion, intensity, extra=extra)


def read_votes(root: Path) -> dict[str, Votes]:
    """File stem -> ``voice``, ``face``, ``both`` -> emotion -> share of raters."""
    accepted = "the table that comes with CREMA-D"
    for name, reader in zip(TABLES, (_tabulated, _summary), strict=True):
        for path in sorted(root.rglob(name)):
            text = read_text(path, name, accepted)
            try:
                return reader(csv.DictReader(io.StringIO(text, newline="")))
            except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
                raise UserError(name, path, accepted, f"cannot be read ({error!r})") from None
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
        votes = table.setdefault(row["FileName"], {})
        for column, query in SUMMARY_OF.items():
            winners = [VOTE_OF[letter] for letter in row[column].split(":")]
            votes[query] = dict.fromkeys(winners, round(1 / len(winners), 4))
    return table
