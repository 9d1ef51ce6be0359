"""The field's vocabulary: no private word occurs in a name, message or comment."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PRIVATE = {
    "ear": "audio front end",
    "ears": "audio front ends",
    "feeling": "emotion",
    "feelings": "emotions",
    "film": "video",
    "filmed": "recorded, or real",
    "filming": "rendering, or recording",
    "films": "videos",
    "hear": "encode, or receive",
    "heard": "encoded, or features",
    "hearing": "audio front end",
    "hears": "encodes",
    "overheard": "features",
    "sheet": "mesh keypoints, or contact sheet",
    "sheets": "contact sheets",
    "taught": "distilled",
    "teach": "distil, or add features",
    "tell": "say, print, or distinguish",
    "telling": "saying",
    "tells": "says",
    "told": "said, or given",
    "wall": "background",
    "walls": "backgrounds",
}
"""Word -> what the field says."""

ALLOWED = re.compile(
    r"contact[_ -]?sheets?|style[_ -]?sheets?|wall[_ -]?(?:clock|time)|film_?block", re.I
)
ANATOMY = {"ear", "ears"}
"""Allowed where a head is drawn; feature-wise linear modulation (FiLM) is allowed as a block."""
DRAWN_HEADS = ("datamodules/corpus/heads.py",)
FOLDERS = ("emo_lightning", "datamodules", "evaluation", "benchmarks", "experiments")


def words(text: str) -> Iterator[str]:
    """Lower-case words of prose and of names in snake_case or CamelCase."""
    for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", ALLOWED.sub(" ", text)):
        yield part.lower()


def found_in(path: Path) -> list[str]:
    """Private words of one file, with their lines."""
    text = path.read_text(encoding="utf-8")
    private = PRIVATE.keys() - (ANATOMY if path.as_posix().endswith(DRAWN_HEADS) else set())
    if path.suffix != ".py":
        lines = enumerate(text.splitlines(), 1)
        return [f"{path}:{n} {w}" for n, line in lines for w in words(line) if w in private]
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT):
            found += [f"{path}:{token.start[0]} {w}" for w in words(token.string) if w in private]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_private_words(folder: str, repository: Path) -> None:
    files = [
        path
        for path in sorted((repository / folder).rglob("*"))
        if path.suffix in (".py", ".yaml", ".html", ".md")
        and path.is_file()
        and "samples" not in path.parts  # a transcript is quoted
    ]
    wrong = [line for path in files for line in found_in(path)]
    assert not wrong, "\n".join(wrong[:200])


def test_private_words_are_recognised_in_names_and_prose(tmp_path: Path) -> None:
    """The test above can fail: names in either style, strings and comments are all seen."""
    source = tmp_path / "x.py"
    source.write_text(
        'class MelEar:\n    voice_heard = "the film"  # a wall; contact_sheet is fine\n'
    )
    assert [line.rsplit(" ", 1)[1] for line in found_in(source)] == ["ear", "heard", "film", "wall"]
