"""HDTF (Zhang et al., *CVPR* 2021): speeches and radio talks, cut out of long videos by lists.

Two kinds of files: clips that are cut already, ``WDA_BarackObama_000.mp4``; and, with the corpus's
lists (``WDA_annotion_time.txt``, ``RD_...``, ``WRA_...``) anywhere below the root, whole videos
``BarackObama.mp4`` or ``WDA_BarackObama.mp4``, whose every interval becomes a clip, and cut ones
without the subset, ``BarackObama_0.mp4``. What is in no list is rejected. No emotion labels.

In WDA and WRA a number after the name counts one person's videos; in RD every video is another
person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from datamodules.sources.clip import Clip, Rejected
from datamodules.sources.files import VIDEO_SUFFIXES, Found, find_records, read_text
from emo_lightning.core.errors import UserError

SUBSETS = ("RD", "WDA", "WRA")
LIST = "annotion_time.txt"
"""The corpus's own spelling."""
Span = tuple[float, float]
_NAME = re.compile(
    rf"(?:(?P<subset>{'|'.join(SUBSETS)})_)?(?P<video>[A-Za-z][A-Za-z0-9.'-]*)(?:_(?P<clip>\d{{1,3}}))?"
)
_TIME = re.compile(r"(?:(?P<hours>\d+):)?(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2}(?:\.\d+)?)")


@dataclass(frozen=True)
class HdtfRecord:
    """The fields of a name; ``clip`` is None for a whole video, ``subset`` empty without one."""

    subset: str
    video: str
    clip: int | None

    @staticmethod
    def parse(name: str) -> HdtfRecord | None:
        """The record in a file's stem, or None when it is not HDTF's naming."""
        match = _NAME.fullmatch(name.rpartition("/")[2].rpartition(".")[0])
        if match is None:
            return None
        clip = int(match["clip"]) if match["clip"] else None
        return HdtfRecord(match["subset"] or "", match["video"], clip)

    @property
    def speaker(self) -> str:
        radio = self.subset == "RD" or self.video.startswith("Radio")
        return self.video if radio else self.video.rstrip("0123456789") or self.video


class HdtfSource:
    """See the module.

    Raises:
        UserError: a list that cannot be read.
    """

    name = "hdtf"

    def __init__(self, root: Path) -> None:
        self.root, self.notes = root, []
        self._lists = read_lists(root)

    def clips(self) -> Iterator[Clip | Rejected]:
        """Clips by name; of a whole video its intervals in the list's order."""
        naming = "is not [SUBSET_]VIDEO[_CLIP] as HDTF's lists name its videos"
        for item in find_records(
            self.root, VIDEO_SUFFIXES, lambda found: HdtfRecord.parse(found.name), naming
        ):
            if isinstance(item, Rejected):
                yield item
            else:
                yield from self._clips(*item)

    def _clips(self, found: Found, record: HdtfRecord) -> Iterator[Clip | Rejected]:
        spans, extra = self._spans(record), {"video": record.video}
        cut = record.subset and record.clip is not None and record.subset not in self._lists
        if spans is None and not cut:
            problem = f"no {LIST} below the root has intervals for {record.video}"
            yield Rejected(found.name, "not_listed", problem)
        elif record.clip is not None and spans is not None and record.clip >= len(spans):
            problem = f"the list has {len(spans)} clips of {record.video}"
            yield Rejected(found.name, "not_listed", problem)
        elif record.clip is not None:
            yield Clip(found.name, found.place, record.speaker, extra=extra)
        else:
            for number, span in enumerate(spans or ()):
                name = f"{found.name}#{number}"
                yield Clip(name, found.place, record.speaker, extra=extra, span=span)

    def _spans(self, record: HdtfRecord) -> list[Span] | None:
        subsets = [record.subset] if record.subset else list(self._lists)
        found = (self._lists.get(subset, {}).get(record.video) for subset in subsets)
        return next((spans for spans in found if spans is not None), None)


def read_lists(root: Path) -> Mapping[str, Mapping[str, list[Span]]]:
    """Subset -> video -> its clips' (begin, end) in seconds."""
    lists: dict[str, dict[str, list[Span]]] = {}
    for subset in SUBSETS:
        for path in sorted(root.rglob(f"{subset}_{LIST}")):
            lists.setdefault(subset, {}).update(_read_list(path))
    return lists


def _read_list(path: Path) -> dict[str, list[Span]]:
    table: dict[str, list[Span]] = {}
    lines = read_text(path, path.name, "HDTF's list of intervals").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        video, *intervals = line.split()
        spans = [tuple(_seconds(time) for time in interval.split("-")) for interval in intervals]
        good = [len(span) == 2 and None not in span and span[0] < span[1] for span in spans]
        if not spans or not all(good):
            problem = f"is not one on line {number}"
            raise UserError(path.name, line[:80], "VIDEO.mp4 MM:SS-MM:SS ...", problem)
        table[video.removesuffix(".mp4")] = spans
    return table


def _seconds(text: str) -> float | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    return 3600 * int(match["hours"] or 0) + 60 * int(match["minutes"]) + float(match["seconds"])
