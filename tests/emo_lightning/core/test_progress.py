"""Progress without a terminal: a plain line every tenth, on stdout."""

from __future__ import annotations

import re
import time

from emo_lightning.core import progress
from emo_lightning.core.progress import Progress


def test_a_line_every_tenth(capsys):
    with Progress("draw", 250, "frames") as bar:
        for _ in range(250):
            bar.update()
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == 10
    assert lines[0].startswith("draw: 25 of 250, 10 % (") and lines[-1].startswith(
        "draw: 250 of 250, 100 % ("
    )
    assert all(
        re.search(r" frames/s, \d:\d\d:\d\d left\)$", line) for line in lines[:-1]
    ) and lines[-1].endswith(" frames/s)")


def test_fewer_units_than_lines(capsys):
    for item in progress.track("abc", "clip", 3, "clips"):
        assert item in "abc"
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        "clip: 1 of 3, 33 %",
        "clip: 2 of 3, 66 %",
        "clip: 3 of 3, 100 %",
    ]


def test_what_an_earlier_run_did_is_no_part_of_the_rate(capsys):
    with Progress("read", None, "clips") as bar:
        bar.reach(900_001, 1_000_000)
        time.sleep(0.05)
        bar.reach(1_000_000, 1_000_000)
    rate = float(re.search(r"\(([\d.]+) clips/s\)", capsys.readouterr().out.splitlines()[-1])[1])
    assert rate < 100_000 / 0.05


def test_a_long_run_speaks_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.02)
    with Progress("read", 1_000_000, "clips") as bar:
        for done in range(1, 41):
            time.sleep(0.005)
            bar.reach(done, 1_000_000)
    lines = capsys.readouterr().out.splitlines()
    assert 2 <= len(lines) <= 10 and all(", 0 % (" in line and " left)" in line for line in lines)


def test_an_unknown_total_speaks_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    list(progress.track([1], "read", unit="files"))
    assert capsys.readouterr().out.startswith("read: 1 (")
