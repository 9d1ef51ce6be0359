"""The report: well formed, self-contained, safe; and in a real browser, where it sorts, slides and
has nothing to complain of."""

from __future__ import annotations

import base64
import csv
import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.media.video_writer import encode_mp4_bytes
from evaluation import report
from evaluation.judges.base import JudgeInfo
from evaluation.protocol import LATE, REFERENCE, STILL
from evaluation.records import MetricColumn, Record
from evaluation.report.cells import best, gap, grouped_failures, number
from evaluation.runner import previews, results
from evaluation.runner.cache import FeatureCache
from evaluation.runner.pairs import Unscored
from evaluation.runner.table import mean_cell
from evaluation.suite import choose
from tests.evaluation.conftest import wobble
from tests.evaluation.report import browser

METRICS = ["psnr", "ssim", "m_lmd", "f_lmd", "au_error", "jitter", "level_response"]
JUDGES = [
    JudgeInfo("mediapipe-478", "ab" * 32, "landmarks"),
    JudgeInfo("builtin-fit on mediapipe-478", "cd" * 32, "units"),
]
NASTY = 'a<script>alert("x")</script>|b_%&'
EMOTIONS = ("happy", "sad")
OFFSET = MetricColumn(
    "offset", "Offset", "the best shift", None, "lips", "frames", 1, low=None, histogram=True
)


def record(
    system: str, emotion: str, level: int, quality: float, rng: np.random.Generator
) -> Record:
    """A clip whose face follows its level the more, the better the system."""
    expression = np.zeros(len(EXP_NAMES))
    units = ("AU6", "AU12_L", "AU12_R") if emotion == "happy" else ("AU1", "AU4", "AU15")
    expression[[EXP_NAMES.index(name) for name in units if name in EXP_NAMES]] = (
        quality * level / 15 + rng.normal(0, 0.02)
    )
    noise = rng.normal(0, 0.1, 8)
    vector = {
        "expression": expression.tolist(),
        "geometry": [level / 100] * 9,
        "au_error": (0.1 + 0.02 * rng.random(17)).tolist(),
    }
    values = {
        "psnr": 20 + 10 * quality + noise[0],
        "ssim": 0.5 + 0.4 * quality,
        "m_lmd": 0.03 - 0.02 * quality,
        "au_error": 0.1,
    }
    values |= {
        "f_lmd": 0.05 - 0.03 * quality + noise[1] / 100,
        "jitter": 5.0 - quality + noise[2],
        "offset": float(round(noise[3] * 20)),
    }
    if system == REFERENCE:
        values = {"jitter": values["jitter"], "offset": 0.0}
    facts = {"frames": 25, "compared_frames": 25, "framing": "shared", "sha256": "ef" * 32}
    name = f"{emotion}-{level:02d}"
    return Record(
        system,
        name,
        emotion,
        float(level),
        {},
        values,
        {},
        vector,
        facts,
        reference=None if system == REFERENCE else name,
    )


def records() -> list[Record]:
    """A reference, two systems and two controls; one clip with a name made to break a page, one
    that failed."""
    rng = np.random.default_rng(0)
    found = [
        record(system, emotion, level, quality, rng)
        for system, quality in ((REFERENCE, 1.0), ("ours", 0.9), ("theirs", 0.4))
        for emotion in EMOTIONS
        for level in range(1, 16, 2)
    ]
    for emotion in EMOTIONS:
        found.append(Record(LATE, f"{emotion}-01", emotion, 1.0, values={"offset": -5.0}))
        found.append(
            Record(
                STILL,
                f"{emotion}-01",
                emotion,
                1.0,
                values={"psnr": 15.0, "ssim": 0.5, "jitter": 0.0, "offset": 3.0},
            )
        )
    found.append(
        Record("theirs", NASTY, None, None, {}, {"ssim": 0.5}, {"psnr": "another <b>shape</b>"})
    )
    found.append(Record("theirs", "dark", failure="no face"))
    return found


def build() -> dict[str, Any]:
    """Results with every kind of figure that the report can draw."""
    lost = [Unscored("theirs", "gone", "no reference has this name")]
    rows = [REFERENCE, "ours", "theirs", LATE, STILL]
    found = results.build(
        records(), lost, choose(METRICS), JUDGES, results.Run(rows, results.environment(1, 2.5))
    )
    found["columns"].insert(0, OFFSET.to_json())
    for system in rows:
        values = [
            r.values["offset"] for r in records() if r.system == system and "offset" in r.values
        ]
        found["systems"][system]["offset"] = mean_cell(values, OFFSET, [])
    found["systems"]["ours"]["ssim"]["flag"] = "16 clips, fewer than one would like"
    for system, right in (("ours", 8), ("theirs", 4)):
        counts = {
            "kind": "confusion",
            "labels": list(EMOTIONS),
            "counts": [[right, 8 - right], [8 - right, right]],
        }
        bars = {"kind": "bars", "values": {"nod": right / 10, "shake": 0.2}}
        found["details"][system]["emotion"] = {"seen_emotion": counts, "head": bars}
    return found


def clips() -> list[dict[str, str]]:
    """The rows of ``per_clip.csv``."""
    rows = list(csv.DictReader(io.StringIO(results.per_clip(records(), choose(METRICS)))))
    values = {(r.system, r.clip): r.values.get("offset", "") for r in records()}
    return [{**row, "offset": str(values[row["system"], row["clip"]])} for row in rows]


def video_previews() -> list[dict[str, Any]]:
    """A preview of some clips."""
    found = []
    for at, system in enumerate((REFERENCE, "ours")):
        for emotion in EMOTIONS:
            for level in (1, 7, 15):
                frames = np.stack(list(wobble(6, (64, 64), at + level, 0.0)))
                data = base64.b64encode(encode_mp4_bytes(frames, crf=30.0, fps=12.5)).decode()
                found.append(
                    {
                        "system": system,
                        "clip": NASTY,
                        "emotion": emotion,
                        "level": float(level),
                        "type": "video/mp4",
                        "data": data,
                    }
                )
    return found


def page() -> str:
    return report.page(build(), clips(), video_previews())


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
        self.outside += [
            v or ""
            for k, v in attrs
            if k in ("src", "href") and not (v or "").startswith(("#", "data:"))
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_from_outside() -> None:
    outline = Outline()
    outline.feed(page())
    assert outline.open == [] and outline.outside == []
    curves, histograms = 2 * 10, 5
    assert outline.tags.count("svg") == curves + histograms and outline.tags.count("script") == 2


def test_names_cannot_inject_markup() -> None:
    assert "<script>alert" not in page() and "<b>shape" not in page()
    assert "<script>alert" not in report.markdown(build())


def test_the_markdown_tables_are_whole_and_show_the_better_system_in_bold() -> None:
    text = report.markdown(build())
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| system")]
    assert (
        all(len({line.replace("\\|", "").count("|") for line in table}) == 1 for table in tables)
        and len(tables) >= 4
    )
    head = next(table for table in tables if "PSNR" in table[0])
    assert "PSNR (dB) ↑" in head[0] and "SSIM ↑" in head[0]
    ours, theirs = (
        next(line for line in head if line.startswith(f"| {name}")) for name in ("ours", "theirs")
    )
    assert (
        ours.count("**") == 4
        and theirs.count("**") == 0
        and "†" in ours
        and "fewer than one would like" in text
    )


def test_where_neither_side_is_better_the_nearest_to_the_ground_truth_is_best() -> None:
    found = build()
    truth, ours, theirs = (
        found["systems"][name]["jitter"]["mean"] for name in (REFERENCE, "ours", "theirs")
    )
    assert abs(ours - truth) < abs(theirs - truth)
    jitter = next(column for column in found["columns"] if column["name"] == "jitter")
    assert best(found, jitter) == {"ours"}
    assert (
        gap({"mean": 3.0}, {"mean": 4.5}, 2) == "Δ −1.50"
        and gap({"mean": 3.0}, {"mean": None}, 2) == ""
    )


def test_what_shares_a_reason_is_said_once() -> None:
    found = build()
    again = [
        {"system": "theirs", "clip": f"c{i}", "metric": metric, "reason": "too short"}
        for i in range(12)
        for metric in ("psnr", "ssim")
    ]
    found["failures"] = again
    assert grouped_failures(found) == [
        {
            "system": "theirs",
            "clips": "12 clips: c0, c1, c2, c3, c4, c5, c6, c7, ...",
            "metrics": "PSNR, SSIM",
            "reason": "too short",
        }
    ]
    assert "24 single scores are missing" in report.page(found, clips())
    assert number({"mean": -0.0001}, 3) == "0.000"


def test_latex_has_nothing_left_to_escape() -> None:
    found = build()
    found["systems"]["we_50%"] = found["systems"].pop("ours")
    found["rows"]["we_50%"] = found["rows"].pop("ours")
    text = report.latex(found)
    assert (
        r"we\_50\%" in text and text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") >= 3
    )
    assert all(line.isascii() for line in text.splitlines())
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert rows and r"PSNR $\uparrow$" in text and r"\textbf{" in text


def test_the_report_is_made_again_from_its_files_and_without_torch(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(results.dump(build()), encoding="utf-8")
    (tmp_path / "per_clip.csv").write_text(
        results.per_clip(records(), choose(METRICS)), encoding="utf-8"
    )
    (tmp_path / "previews.json").write_text(json.dumps(video_previews()), encoding="utf-8")
    code = "import sys; from evaluation.report.__main__ import main; "
    code += "assert main(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[3]
    )
    assert 'id="video-data"' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "report.md").is_file() and (tmp_path / "table.tex").is_file()


def test_previews_become_first_frames_where_there_are_too_many(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    frames = np.stack(list(wobble(60, (144, 144), 0, 0.0)))
    kept = []
    for name in ("a", "b", "c"):
        cache.save(name, previews._encode({"frames": frames}))
        kept.append(
            Record("ours", name, "happy", 3.0 if name != "c" else 4.0, stored={previews.NAME: name})
        )
    total = 3 * cache.path("a").stat().st_size
    all_fit, too_many, none_fit = (
        previews.collect(kept, cache, budget) for budget in (total, total // 2, 10)
    )
    assert [(p["clip"], p["type"]) for p in all_fit] == [("a", "video/mp4"), ("c", "video/mp4")], (
        "one clip for each level"
    )
    assert {p["type"] for p in too_many} == {"image/jpeg"} and none_fit == []


@pytest.mark.skipif(browser.find() is None, reason="no Chromium or Chrome on this machine")
def test_a_browser_opens_it_slides_and_sorts_without_complaint(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(), encoding="utf-8")
    with browser.Page(path) as seen:
        cell = "document.querySelector('td[data-system=ours][data-emotion=sad]')"
        assert seen.run(f"{cell}.querySelector('small').textContent") == "level 7"
        slide = "const s = document.getElementById('level'); s.value = 14; "
        slide += "s.dispatchEvent(new Event('input'))"
        seen.run(f"(() => {{ {slide} }})()")
        assert seen.run("document.getElementById('level-said').textContent") == "14"
        assert seen.run(f"{cell}.querySelector('small').textContent") == "level 15"
        # A decoder for H.264 is the browser's own affair; one that has it plays, one that has not
        # says so in the element.
        loaded = "v.readyState >= 2 || v.error !== null"
        seen.until(f"(v => {loaded})({cell}.querySelector('video'))")
        heads = seen.run(
            "[...document.querySelectorAll('#clips thead button')].map(b => b.textContent)"
        )
        at = next(i for i, text in enumerate(heads) if text.startswith("PSNR"))
        rows = "[...document.querySelectorAll('#clips tbody tr')]"
        column = f"{rows}.map(r => r.cells[{at}].dataset.v ?? '')"
        for sign in (1, -1):
            seen.run(f"document.querySelectorAll('#clips thead button')[{at}].click()")
            shown = [float(v) for v in seen.run(column) if v]
            assert shown == sorted(shown, key=lambda v: sign * v) and len(set(shown)) > 10
        assert seen.run(column)[-1] == "", "what has no value stays last"
        choose_jaw = "f.value = 'jaw'; f.dispatchEvent(new Event('change'))"
        seen.run(f"(f => {{ {choose_jaw} }})(document.getElementById('feature'))")
        shown = "[...document.querySelectorAll('[data-feature]:not([hidden])')]"
        assert seen.run(f"{shown}.every(p => p.dataset.feature === 'jaw')")
        assert seen.run(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        ), "nothing sticks out sideways"
        assert seen.problems == []
