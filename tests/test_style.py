"""ruff's rules and format hold for every file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("words", [("check",), ("format", "--check")], ids=["rules", "format"])
def test_style(words: tuple[str, ...], repository: Path) -> None:
    command = [sys.executable, "-m", "ruff", *words, "--quiet", "."]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
