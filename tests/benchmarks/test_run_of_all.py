"""A run of all benchmarks: the comparison first, and what is left out exists."""

from __future__ import annotations

import importlib

import pytest

from benchmarks import __main__ as runner
from emo_lightning.core.errors import UserError


def test_the_comparison_comes_first_and_nothing_is_missing() -> None:
    names = runner.names()
    assert names[: len(runner.FIRST)] == list(runner.FIRST)
    assert set(runner.SHORTER) <= set(names) and len(set(names)) == len(names)


@pytest.mark.parametrize("name", [name for name, words in runner.SHORTER.items() if words])
def test_what_is_shortened_is_an_argument_there(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    listed = capsys.readouterr().out
    assert all(f"\n  {word} " in listed for word in runner.SHORTER[name] if word.startswith("--"))


def test_what_is_left_out_says_how_to_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    runner.run("wiring", None)
    assert "python -m benchmarks wiring" in capsys.readouterr().out


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="'nope' is not a benchmark; accepted: compare"):
        runner.main(["nope"])
