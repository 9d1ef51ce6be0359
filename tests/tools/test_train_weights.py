"""The recipe of the shipped weights: its steps run in order, and finished ones are not repeated."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

EMO = r"""#!/bin/bash
# Notes its arguments and makes the file that a real run would leave.
echo "$*" >> "$LOG"
[ -z "${FAIL:-}" ] || ! grep -q "$FAIL" <<< "$*" || exit 1
for word in "$@"; do
  case $before in --out|--write) out=$word ;; esac
  case $word in
    out=*) out=${word#out=} ;;
    *stage2.yaml) product=heads ;;
  esac
  before=$word
done
mkdir -p "$out"
case $1 in
  train) touch "$out/${product:-decoupler}.safetensors" ;;
  -m) touch "$out"/{decoupler,heads}.safetensors ;;
  *) touch "$out/index.json" ;;
esac
"""


@pytest.fixture
def recipe(repository: Path, tmp_path: Path):
    """Runs the script with stand-ins for emo and python; returns its steps."""
    for name in ("emo", "python"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(EMO)
        path.chmod(0o755)
    for speaker, clip in (("103", "103-1-0001"), ("103", "103-1-0000"), ("19", "19-2-0000")):
        path = tmp_path / "libri" / speaker / "1" / f"{clip}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "grid").mkdir()

    def run(**more: str) -> tuple[int, list[str]]:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        paths = {"BIN": "bin", "GRID": "grid", "LIBRISPEECH": "libri", "OUT": "out", "LOG": "log"}
        given = {name: str(tmp_path / path) for name, path in paths.items()} | more
        script = str(repository / "tools" / "train_weights.sh")
        done = subprocess.run([script], env=os.environ | given, capture_output=True, text=True)
        return done.returncode, log.read_text().splitlines() if log.exists() else []

    return run


def test_steps_run_once_and_in_order(recipe, tmp_path: Path) -> None:
    code, steps = recipe(FAIL="pseudo-label")
    assert code and "pseudo-label" in steps[-1]
    trained = [step for step in steps if step.startswith("train")]
    assert len(trained) == 2 and "out=whisper/stage1" in trained[0]
    assert "decoupler=whisper/stage1/decoupler.safetensors" in trained[1]
    code, steps = recipe()
    assert code == 0 and "pseudo-label" in steps[0]
    assert [s.split("out=")[1].split()[0] for s in steps if s.startswith("train")] == [
        "mel/stage1",
        "mel/stage2",
    ]
    assert {p.name for p in (tmp_path / "out" / "weights").iterdir()} >= {"heads.safetensors"}
    manifest = (tmp_path / "out" / "utterances" / "manifest.csv").read_text().splitlines()
    assert manifest[1:] == ["103-1-0000.flac,libri_103,train", "19-2-0000.flac,libri_19,train"]
    assert recipe() == (0, [])


def test_a_missing_corpus_is_named(recipe) -> None:
    assert recipe(GRID="/nowhere") == (2, [])
