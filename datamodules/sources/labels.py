"""How each corpus's emotions and intensities become ours: the one table.

A corpus's own word stays in each sample's ``extra.label``. HDTF and GRID have no emotion labels. Neutral has no intensity.
RAVDESS's *calm* counts as neutral: the corpus has two base lines, and calm was added because neutral acting tends to look
slightly negative (Livingstone & Russo, *PLoS ONE* 13(5), 2018). Its *normal* and *strong* stand at 2 and 3 of our three;
CREMA-D's LO, MD and HI at 1, 2 and 3, and XX, where the actor chose, stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from emo_lightning.emotions import EMOTIONS

EMOTION_OF: Mapping[str, Mapping[str, str]] = {
    "mead": {name: name for name in EMOTIONS},
    "cremad": {"NEU": "neutral", "ANG": "angry", "DIS": "disgusted", "FEA": "fear", "HAP": "happy", "SAD": "sad"},
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


def labels_of(corpus: str, emotion: str, intensity: str) -> tuple[str, int | None]:
    """Our emotion and intensity for a corpus's codes; KeyError for a code that the table lacks."""
    name = EMOTION_OF[corpus][emotion]
    level = INTENSITY_OF[corpus][intensity]
    return name, None if name == "neutral" else level


def table() -> str:
    """The whole mapping as lines of text."""
    rows = []
    for corpus in EMOTION_OF:
        emotions = ", ".join(f"{code} {name}" for code, name in EMOTION_OF[corpus].items()) or "none: clips have no emotion"
        levels = ", ".join(f"{code} {level or 'unknown'}" for code, level in INTENSITY_OF[corpus].items()) or "none"
        rows += [f"{corpus:8} emotions     {emotions}", f"{'':8} intensities  {levels}"]
    return "\n".join(rows)
