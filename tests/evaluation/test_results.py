"""From records to results.json, per_clip.csv and the reports: nothing missing becomes a number, everything can be read back."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from emo_lightning.coefficients import EXP_NAMES
from evaluation import report, results
from evaluation.judges.base import JudgeInfo
from evaluation.pairs import Failure
from evaluation.records import Record
from evaluation.suite import SUITE, choose

JUDGES = [JudgeInfo("mediapipe-478", "ab" * 32, "landmarks"), JudgeInfo("builtin-fit on mediapipe-478", "cd" * 32, "units")]
NASTY = 'a<script>alert("x")</script>|b'


def records() -> list[Record]:
    """Two systems: one follows the level of happy, one has lost a metric and a clip."""
    found = []
    for level in range(1, 16):
        expression = np.zeros(len(EXP_NAMES))
        expression[[EXP_NAMES.index("AU6"), EXP_NAMES.index("AU12_L"), EXP_NAMES.index("AU12_R")]] = level / 15
        features = {"expression": expression.tolist(), "geometry": [level / 100] * 9, "au_error": [0.1] * 17}
        values = {"psnr": 20.0 + level, "ssim": 0.8, "m_lmd": 0.01, "f_lmd": 0.02, "au_error": 0.1, "jitter": 3.0}
        found.append(
            Record("ours", f"clip{level:02d}", "happy", float(level), {}, values, {}, features, {"frames": 25, "framing": "shared"})
        )
    broken = {"ssim": 0.5, "m_lmd": 0.03, "f_lmd": 0.04, "au_error": 0.2, "jitter": 2.0}
    found.append(Record("theirs", NASTY, None, None, {}, broken, {"psnr": "the picture is of another shape"}, {"au_error": [0.2] * 17}))
    found.append(Record("theirs", "dark", failure="no face"))
    return found


def build() -> dict:
    environment = results.environment(1, 2.5)
    lost = [Failure("theirs", "gone", "no reference has this name")]
    return results.build(records(), lost, choose(None), JUDGES, ["ours", "theirs"], environment)


def test_a_cell_has_mean_deviation_interval_and_its_judge() -> None:
    cell = build()["systems"]["ours"]["psnr"]
    assert cell["mean"] == pytest.approx(28.0) and cell["std"] == pytest.approx(np.std(range(15), ddof=1)) and cell["n"] == 15
    half = 2.144787 * cell["std"] / math.sqrt(15)
    assert cell["ci95"] == pytest.approx([28 - half, 28 + half], abs=1e-4)
    judged = build()["systems"]["ours"]["m_lmd"]
    assert (judged["judge"], judged["judge_sha256"], judged["higher_is_better"]) == ("mediapipe-478", "ab" * 32, False)


def test_what_could_not_be_computed_is_null_with_its_reason() -> None:
    found = build()
    cell = found["systems"]["theirs"]["psnr"]
    assert (cell["mean"], cell["std"], cell["ci95"], cell["n"]) == (None, None, None, 0)
    assert cell["reason"] == "the picture is of another shape"
    assert found["systems"]["theirs"]["level_rho"]["reason"] == "no clip says its emotion and level"
    listed = {(f["clip"], f["metric"], f["reason"]) for f in found["failures"]}
    assert listed == {
        ("dark", None, "no face"),
        ("gone", None, "no reference has this name"),
        (NASTY, "psnr", "the picture is of another shape"),
    }


def test_infinite_psnr_is_said_and_is_not_a_number() -> None:
    cell = results.summarise([math.inf, 30.0], SUITE["psnr"].column, {})
    assert cell["mean"] is None and cell["infinite"] and "1 of 2" in cell["reason"]


def test_one_clip_has_no_interval() -> None:
    cell = results.summarise([30.0], SUITE["psnr"].column, {})
    assert (cell["mean"], cell["std"], cell["ci95"]) == (30.0, None, None)


def test_no_interval_leaves_what_a_score_can_reach() -> None:
    assert results.summarise([0.2, 0.9], SUITE["ssim"].column, {})["ci95"] == [-1.0, 1.0]


def test_an_even_level_response_is_found_from_the_clips() -> None:
    found = build()
    numbers = found["systems"]["ours"]
    assert numbers["level_rho"]["mean"] == pytest.approx(1.0) and numbers["level_half"]["mean"] == pytest.approx(0.5)
    assert numbers["level_range"]["mean"] == pytest.approx(14 / 15, abs=1e-6)
    assert set(found["details"]["ours"]["level_response"]) == {"happy"}


def test_results_are_strict_json() -> None:
    assert json.loads(results.dump(build()))["protocol"] == "emo-eval-1"
    with pytest.raises(ValueError):
        results.dump({"x": math.nan})


def test_per_clip_leaves_cells_empty_where_there_is_no_number() -> None:
    rows = list(csv.DictReader(io.StringIO(results.per_clip(records(), choose(None)))))
    assert [(r["clip"], r["psnr"], r["failure"]) for r in rows if r["system"] == "theirs"] == [(NASTY, "", ""), ("dark", "", "no face")]


class Outline(HTMLParser):
    """Counts elements and remembers what points outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)
        self.outside += [v or "" for k, v in attrs if k in ("src", "href") and not (v or "").startswith(("#", "data:"))]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page() -> str:
    return report.page(build(), list(csv.DictReader(io.StringIO(results.per_clip(records(), choose(None))))))


def test_the_page_is_well_formed_and_needs_nothing_from_outside() -> None:
    outline = Outline()
    outline.feed(page())
    assert outline.open == [] and outline.outside == []
    assert outline.tags.count("svg") == 10 and outline.tags.count("script") == 1


def test_names_cannot_inject_markup() -> None:
    assert "<script>alert" not in page()
    assert "<script>alert" not in report.markdown(build())
    table = [line for line in report.markdown(build()).splitlines() if line.startswith("|") and "alert" in line]
    assert all(line.replace("\\|", "").count("|") == 5 for line in table) and table


def test_the_table_has_arrows_and_the_better_system_in_bold() -> None:
    text = report.markdown(build())
    head, ours = (next(line for line in text.splitlines() if line.startswith(start)) for start in ("| system", "| ours"))
    assert "PSNR (dB) ↑" in head and "F-LMD (IOD) ↓" in head and "Share at 8 |" in head
    assert "**0.800**" in ours and "**3.00**" not in ours, "jitter has no better side"


def test_the_report_is_made_without_torch(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(results.dump(build()), encoding="utf-8")
    (tmp_path / "per_clip.csv").write_text(results.per_clip(records(), choose(None)), encoding="utf-8")
    code = "import sys; from evaluation.report.__main__ import main; assert main(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "report.html").stat().st_size > 10_000 and (tmp_path / "report.md").is_file()
