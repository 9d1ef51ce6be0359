"""The benchmark command: every name is a module whose shortening arguments exist."""

from __future__ import annotations

import importlib

import pytest

from benchmarks import __main__ as runner
from emo_lightning.core.errors import UserError


@pytest.mark.parametrize("name", runner.BENCHMARKS)
def test_each_benchmark_has_help_that_lists_its_shortening_arguments(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    assert stopped.value.code == 0
    listed = capsys.readouterr().out
    shorter = [word for word in runner.BENCHMARKS[name] if word.startswith("--")]
    assert all(f"\n  {word} " in listed for word in shorter)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="'nope' is not a benchmark; accepted: compare"):
        runner.main(["nope"])
