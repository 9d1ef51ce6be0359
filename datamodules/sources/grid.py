"""GRID (Cooke et al., *J. Acoust. Soc. Am.* 120(5), 2006): 34 speakers, sentences of six words.

Files ``s1/bbaf2n.mpg`` (or any video), ``.wav`` for videos without audio, and ``.align`` with word
times, anywhere below the root as long as a folder above them, or the root itself, has the speaker,
``s1`` to ``s34``, as a word of its name. No emotion labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datamodules.sources.clip import Clip, Place, Rejected
from datamodules.sources.files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Found, find_records

UNITS_PER_SECOND = 25_000
"""Of the times in ``.align``: a thousandth of a video frame."""
PAUSES = frozenset({"sil", "sp"})
GRAMMAR = {
    "command": {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    "colour": {"b": "blue", "g": "green", "r": "red", "w": "white"},
    "preposition": {"a": "at", "b": "by", "i": "in", "w": "with"},
    "letter": {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    "digit": dict(
        zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)
    ),
    "adverb": {"a": "again", "n": "now", "p": "please", "s": "soon"},
}
_NAME = re.compile("".join(f"(?P<{slot}>[{''.join(codes)}])" for slot, codes in GRAMMAR.items()))
_SPEAKER = re.compile(r"(?:.*[^a-z0-9])?(?P<speaker>s[1-9]\d?)(?:[^a-z0-9].*)?", re.IGNORECASE)
Word = tuple[float, float, str]


@dataclass(frozen=True)
class GridRecord:
    """The fields of a file's path."""

    speaker: str
    code: str
    sentence: str

    @staticmethod
    def parse(name: str, root: str = "") -> GridRecord | None:
        """The record in a path below the root, or None when it is not GRID's naming."""
        path = PurePosixPath(name)
        match = _NAME.fullmatch(path.stem)
        folders = [_SPEAKER.fullmatch(part) for part in (*reversed(path.parts[:-1]), root)]
        speaker = next((found["speaker"].lower() for found in folders if found), None)
        if match is None or speaker is None or int(speaker[1:]) > 34:
            return None
        return GridRecord(
            speaker,
            path.stem,
            " ".join(GRAMMAR[slot][code] for slot, code in match.groupdict().items()),
        )


class GridSource:
    """See the module."""

    name = "grid"

    def __init__(self, root: Path) -> None:
        self.root, self.notes = root, []

    def clips(self) -> Iterator[Clip | Rejected]:
        """A clip for each video, then one for each recording without a video."""
        kinds: dict[str, dict[GridRecord, Found]] = {"video": {}, "audio": {}, "align": {}}
        root, naming = (
            self.root.resolve().name,
            "is not a GRID sentence code in a folder of speaker s1 to s34",
        )
        suffixes = VIDEO_SUFFIXES | AUDIO_SUFFIXES | {".align"}
        for item in find_records(
            self.root, suffixes, lambda found: GridRecord.parse(found.name, root), naming
        ):
            if isinstance(item, Rejected):
                yield item
                continue
            found, record = item
            kind = "video" if found.suffix in VIDEO_SUFFIXES else "audio"
            files = kinds["align" if found.suffix == ".align" else kind]
            if record in files:
                yield Rejected(found.name, "duplicate", f"{files[record].name} is the same clip")
            else:
                files[record] = found
        videos, recordings, aligned = kinds.values()
        alone = {record: found for record, found in recordings.items() if record not in videos}
        for record, found in (videos | alone).items():
            files = [kind.get(record) for kind in (videos, recordings, aligned)]
            yield from self._clip(found, record, *files)
        for record, found in aligned.items():
            if record not in videos and record not in recordings:
                problem = "word times without a video or recording of that name"
                yield Rejected(found.name, "no_video", problem)

    def _clip(
        self,
        found: Found,
        record: GridRecord,
        video: Found | None,
        audio: Found | None,
        align: Found | None,
    ) -> Iterator[Clip | Rejected]:
        words: tuple[Word, ...] = ()
        if align is not None:
            try:
                words = read_align(align.place)
                said = " ".join(word for _, _, word in words if word not in PAUSES)
                if said != record.sentence:
                    raise ValueError(f"says {said!r} where the name says {record.sentence!r}")
            except (OSError, ValueError) as error:
                yield Rejected(align.name, "bad_alignment", f"{error}; the clip goes without")
                words = ()
        places = [item.place if item else None for item in (video, audio)]
        yield Clip(found.name, places[0], record.speaker, places[1], record.sentence, words=words)


def read_align(place: Place) -> tuple[Word, ...]:
    """(begin, end, word) in seconds; ValueError for other lines, or times that do not rise."""
    words: list[Word] = []
    for line in place.read_bytes().decode("ascii").splitlines():
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            raise ValueError(f"{line[:60]!r} is not 'begin end word'")
        begin, end = int(fields[0]), int(fields[1])
        if end < begin or (words and begin / UNITS_PER_SECOND < words[-1][0]):
            raise ValueError(f"{line[:60]!r} goes back in time")
        words.append((begin / UNITS_PER_SECOND, end / UNITS_PER_SECOND, fields[2]))
    return tuple(words)
