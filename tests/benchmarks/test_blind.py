"""Blind labels are scored against the key, and marks counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks._blind import KEY, LABELS, print_score
from emo_lightning.core.errors import UserError


def labelled(folder: Path, *rows: str) -> Path:
    key = {"000": {"portrait": "a", "emotion": "sad"}, "001": {"portrait": "a", "emotion": "fear"}}
    (folder / KEY).write_text(json.dumps(key))
    (folder / LABELS).write_text("\n".join(["strip,emotion,unnatural", *rows]) + "\n")
    return folder


def test_nothing_is_scored_before_labels_are_there(tmp_path: Path) -> None:
    assert not print_score(tmp_path)
    assert not print_score(labelled(tmp_path, "000,,", "001,,"))


def test_the_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_score(labelled(tmp_path, "000,sad,", "001,surprised,brows"))
    shown = capsys.readouterr().out
    assert "right in 1 of 2 (0.50" in shown
    assert "fear taken for surprised: 1" in shown and "unnatural: 1 of 2" in shown


@pytest.mark.parametrize("row", ["000,glad,", "007,sad,"])
def test_a_row_that_cannot_be_scored_is_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(UserError, match="has the row"):
        print_score(labelled(tmp_path, row))
