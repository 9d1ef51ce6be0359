"""``emo runs`` and ``emo doctor``, on run folders as training writes them."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from emo_lightning.cli import main


def write_run(folder: Path, lr: float, state: str, values: list[float]) -> None:
    folder.mkdir(parents=True)
    config = {"model": {"lr": lr}, "trainer": {"max_steps": 6}, "out": str(folder)}
    record = {"config": config, "stage": 1, "product": "decoupler", "state": state}
    record |= {"monitor": "val/score", "provenance": {"commit": "0123456789abcdef"}}
    (folder / "run.json").write_text(json.dumps(record))
    rows = ["step,name,value"]
    for number, value in enumerate(values):
        step = 2 * number + 1
        rows += [f"{step},train/loss,{value + 1}", f"{step},val/score,{value}"]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n5,val/sco")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_run(tmp_path / "runs" / "a", 1e-3, "finished", [3.0, 1.5, 2.0])
    write_run(tmp_path / "runs" / "deep" / "b <i>", 1e-4, "stopped (exit code 143)", [2.5, 2.25])
    return tmp_path / "runs"


def test_the_table_has_what_differs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(runs)]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "stage", "step", "best", "state", "commit", "differs"]
    for words in ("6/6", "val/score 1.5 @ 4", "finished", "012345678 ", "model.lr=0.001"):
        assert words in first
    assert "4/6" in second and "exit code 143" in second and "model.lr=0.0001" in second


def test_one_run_is_shown(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "show", str(runs / "a")]) == 0
    printed = capsys.readouterr().out
    assert "model.lr=0.001" in printed and "val/score 2 @ 6" in printed


class Page(HTMLParser):
    """Text of cells, and the pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.pictures: list[bytes] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(base64.b64decode(str(dict(attrs)["src"]).partition(",")[2]))
        assert tag != "i", "a run's name is text"

    def handle_data(self, data: str) -> None:
        self.cells.append(data.strip())


def test_runs_are_compared_on_one_page(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "x.html"
    words = ["runs", "compare", str(runs / "a"), str(runs / "deep" / "b <i>"), "--out", str(out)]
    assert main(words) == 0
    page = Page(out.read_text())
    assert {"b <i>", "model.lr", "0.0001", "val/score 1.5 @ 4"} <= set(page.cells)
    assert len(page.pictures) == 1 and page.pictures[0].startswith(b"\x89PNG")
    assert "http" not in out.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "holds no run"),
        (["show"], "emo runs show RUN"),
        (["show", "nowhere"], "has no readable run.json"),
        (["compare", "nowhere"], "emo runs compare A B"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_doctor_names_each_gap_and_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from emo_lightning.commands import doctor

    missing = ("no_such_package", "nothing", "make install")
    monkeypatch.setattr(doctor, "PACKAGES", (*doctor.PACKAGES, missing))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok  ", "--  ")) for line in lines)
    assert "--  no_such_package is not installed (nothing); make install" in lines
    assert any("PyTorch" in line for line in lines)
    assert any("face_landmarker" in line for line in lines)
    assert all("; " in line for line in lines if line.startswith("--"))
