"""Progress without a terminal: a plain line every tenth, on stderr; results alone on stdout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

from emo_lightning.core import progress
from emo_lightning.core.progress import Progress


def test_a_line_every_tenth(capsys):
    with Progress("render", 250, "frames") as bar:
        for _ in range(250):
            bar.update()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 10
    assert lines[0].startswith("render: 25 of 250, 10 % (") and lines[-1].startswith(
        "render: 250 of 250, 100 % ("
    )
    assert all(
        re.search(r" frames/s, \d:\d\d:\d\d left\)$", line) for line in lines[:-1]
    ) and lines[-1].endswith(" frames/s)")


def test_fewer_units_than_lines(capsys):
    for item in progress.track("abc", "clip", 3, "clips"):
        assert item in "abc"
    assert [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()] == [
        "clip: 1 of 3, 33 %",
        "clip: 2 of 3, 66 %",
        "clip: 3 of 3, 100 %",
    ]


def test_what_an_earlier_run_did_is_no_part_of_the_rate(capsys):
    with Progress("read", None, "clips") as bar:
        bar.reach(900_001, 1_000_000)
        time.sleep(0.05)
        bar.reach(1_000_000, 1_000_000)
    rate = float(re.search(r"\(([\d.]+) clips/s\)", capsys.readouterr().err.splitlines()[-1])[1])
    assert rate < 100_000 / 0.05


def test_a_long_run_speaks_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.02)
    with Progress("read", 1_000_000, "clips") as bar:
        for done in range(1, 41):
            time.sleep(0.005)
            bar.reach(done, 1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 10 and all(", 0 % (" in line and " left)" in line for line in lines)


def test_an_unknown_total_speaks_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    list(progress.track([1], "read", unit="files"))
    assert capsys.readouterr().err.startswith("read: 1 (")


def test_a_closed_pipe_ends_nothing(tmp_path):
    script = "from emo_lightning.core.progress import note, result\n" + (
        "for n in range(20_000):\n    note('x' * 99)\n    result('y' * 99)\n"
        f"open({str(tmp_path / 'done')!r}, 'w').close()\n"
    )
    script_file = tmp_path / "script.py"
    script_file.write_text(script)
    command = f"{sys.executable} {script_file} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "done").exists()


def test_a_name_that_the_terminal_cannot_encode_is_escaped(tmp_path):
    script = "from emo_lightning.core.progress import result\nresult('v\\udcff \\u3042')\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, b"v\\udcff \\u3042\n")
