"""Label mapping: one table from each corpus's emotions and intensities to ours.

A corpus's own word stays in each sample's ``extra.label``. HDTF and GRID have no emotion labels.
Neutral has no intensity. RAVDESS's *calm* counts as neutral: the corpus has two baselines, and calm
was added because neutral acting tends to appear slightly negative (Livingstone & Russo, *PLoS ONE*
13(5), 2018). Its *normal* and *strong* are 2 and 3 of our three; CREMA-D's LO, MD and HI are 1, 2
and 3, and XX, where the actor chose, stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from emo_lightning.motion.emotions import EMOTIONS

EMOTION_OF: Mapping[str, Mapping[str, str]] = {
    "mead": {name: name for name in EMOTIONS},
    "cremad": {
        "NEU": "neutral",
        "ANG": "angry",
        "DIS": "disgusted",
        "FEA": "fear",
        "HAP": "happy",
        "SAD": "sad",
    },
    "ravdess": {
        "01": "neutral",
        "02": "neutral",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fear",
        "07": "disgusted",
        "08": "surprised",
    },
    "hdtf": {},
    "grid": {},
}
"""Corpus -> its code in file names -> our emotion."""

INTENSITY_OF: Mapping[str, Mapping[str, int | None]] = {
    "mead": {"1": 1, "2": 2, "3": 3},
    "cremad": {"LO": 1, "MD": 2, "HI": 3, "XX": None},
    "ravdess": {"01": 2, "02": 3},
    "hdtf": {},
    "grid": {},
}
"""Corpus -> its code in file names -> our annotated intensity."""

NOTES = (
    "cells: the corpus's own codes in its file names; -: the corpus has none",
    "neutral clips have no intensity, whatever their names say; ravdess 02 is calm",
    "folder: manifest.csv takes our names and intensities as they are",
)
"""Remarks under the table."""


def labels_of(corpus: str, emotion: str, intensity: str) -> tuple[str, int | None]:
    """Our emotion and intensity for a corpus's codes; KeyError for a code that the table lacks."""
    name = EMOTION_OF[corpus][emotion]
    level = INTENSITY_OF[corpus][intensity]
    return name, None if name == "neutral" else level


def table() -> str:
    """The mapping as text: a row for each emotion and intensity, a column for each corpus."""
    corpora = list(EMOTION_OF)
    rows = [["", *corpora]]
    for emotion in EMOTIONS:
        rows.append([emotion, *(_codes(EMOTION_OF[corpus], emotion) for corpus in corpora)])
    for intensity in (1, 2, 3, None):
        cells = (_codes(INTENSITY_OF[corpus], intensity) for corpus in corpora)
        rows.append([f"intensity {intensity or 'unknown'}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1 + len(EMOTIONS), "-" * max(map(len, lines)))
    return "\n".join([*lines, "", *NOTES])


def _codes(mapping: Mapping[str, object], ours: object) -> str:
    return ", ".join(code for code, value in mapping.items() if value == ours) or "-"
