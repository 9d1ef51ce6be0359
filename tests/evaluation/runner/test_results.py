"""From records to results.json and per_clip.csv: nothing missing becomes a number, everything can
be read back."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest

from emo_lightning.face.coefficients import EXP_NAMES
from evaluation.judges.base import JudgeInfo
from evaluation.protocol import REFERENCE
from evaluation.records import MetricColumn, Record, SetEstimate, SetResult
from evaluation.report.cells import best
from evaluation.runner import results
from evaluation.runner.pairs import Unscored
from evaluation.runner.table import mean_cell
from evaluation.suite import SUITE, choose
from evaluation.suite.base import ClipSet, SetMetric

JUDGES = [
    JudgeInfo("mediapipe-478", "ab" * 32, "landmarks"),
    JudgeInfo("builtin-fit on mediapipe-478", "cd" * 32, "units"),
]
METRICS = ["psnr", "ssim", "m_lmd", "f_lmd", "au_error", "jitter", "level_response"]
NASTY = 'a<script>alert("x")</script>|b'


def records() -> list[Record]:
    """Two systems: one follows the level of happy, one has lost a metric and a clip."""
    found = []
    for level in range(1, 16):
        expression = np.zeros(len(EXP_NAMES))
        expression[
            [EXP_NAMES.index("AU6"), EXP_NAMES.index("AU12_L"), EXP_NAMES.index("AU12_R")]
        ] = level / 15
        features = {
            "expression": expression.tolist(),
            "geometry": [level / 100] * 9,
            "au_error": [0.1] * 17,
        }
        values = {
            "psnr": 20.0 + level,
            "ssim": 0.8,
            "m_lmd": 0.01,
            "f_lmd": 0.02,
            "au_error": 0.1,
            "jitter": 3.0,
        }
        found.append(
            Record(
                "ours",
                f"clip{level:02d}",
                "happy",
                float(level),
                {},
                values,
                {},
                features,
                {"frames": 25, "framing": "shared"},
            )
        )
    broken = {"ssim": 0.5, "m_lmd": 0.03, "f_lmd": 0.04, "au_error": 0.2, "jitter": 2.0}
    found.append(
        Record(
            "theirs",
            NASTY,
            None,
            None,
            {},
            broken,
            {"psnr": "the image is of another shape"},
            {"au_error": [0.2] * 17},
        )
    )
    found.append(Record("theirs", "dark", failure="no face"))
    return found


def build() -> dict:
    environment = results.environment(1, 2.5)
    lost = [Unscored("theirs", "gone", "no reference has this name")]
    return results.build(
        records(), lost, choose(METRICS), JUDGES, results.Run(["ours", "theirs"], environment)
    )


def test_a_cell_has_mean_deviation_interval_and_its_judge() -> None:
    cell = build()["systems"]["ours"]["psnr"]
    assert (
        cell["mean"] == pytest.approx(28.0)
        and cell["std"] == pytest.approx(np.std(range(15), ddof=1))
        and cell["n"] == 15
    )
    half = 2.144787 * cell["std"] / math.sqrt(15)
    assert cell["ci95"] == pytest.approx([28 - half, 28 + half], abs=1e-4)
    judged = build()["systems"]["ours"]["m_lmd"]
    assert (judged["judge"], judged["judge_sha256"], judged["higher_is_better"]) == (
        "mediapipe-478",
        "ab" * 32,
        False,
    )


def test_what_could_not_be_computed_is_null_with_its_reason() -> None:
    found = build()
    cell = found["systems"]["theirs"]["psnr"]
    assert (cell["mean"], cell["std"], cell["ci95"], cell["n"]) == (None, None, None, 0)
    assert cell["reason"] == "the image is of another shape"
    assert found["systems"]["theirs"]["level_rho"]["reason"] == "no clip has an emotion and a level"
    listed = {(f["clip"], f["metric"], f["reason"]) for f in found["failures"]}
    assert listed == {
        ("dark", None, "no face"),
        ("gone", None, "no reference has this name"),
        (NASTY, "psnr", "the image is of another shape"),
    }


def two_systems(*names: tuple[str, str, float]) -> dict:
    """Results of clips ``(system, clip, SSIM)`` beside references with a jitter of 1, 2, ... by
    name."""
    clips = sorted({clip for _, clip, _ in names})
    found = [Record(REFERENCE, c, values={"jitter": 1.0 + i}) for i, c in enumerate(clips)]
    for system, clip, value in names:
        values = {"ssim": value, "jitter": 1.0}
        found.append(Record(system, clip, values=values, reference=clip))
    rows = [REFERENCE, *dict.fromkeys(system for system, _, _ in names)]
    return results.build(found, [], choose(["ssim", "jitter"]), JUDGES, results.Run(rows))


def test_systems_are_compared_on_the_clips_that_all_have() -> None:
    """Without its worst clip a system is no better."""
    found = two_systems(("a", "x", 0.9), ("a", "y", 0.3), ("b", "x", 0.8))
    cells = {system: cells["ssim"] for system, cells in found["systems"].items()}
    assert (cells["a"]["mean"], cells["b"]["mean"], cells["a"]["n"]) == (0.9, 0.8, 1)
    assert found["systems"][REFERENCE]["jitter"]["mean"] == 1.0, "the ground truth of those clips"
    assert found["compared"] == {"clips": 1, "missing": {"b": ["y"]}}
    assert "b: 1 clips of other systems missing: y" in found["notes"]
    ssim = next(column for column in found["columns"] if column["name"] == "ssim")
    assert best(found, ssim) == {"a"}


def test_systems_without_a_common_clip_are_not_ranked() -> None:
    found = two_systems(("a", "x", 0.9), ("b", "y", 0.8))
    cells = {system: cells["ssim"] for system, cells in found["systems"].items()}
    assert cells["a"]["mean"] == 0.9 and "none in common" in cells["a"]["flag"]
    ssim = next(column for column in found["columns"] if column["name"] == "ssim")
    assert best(found, ssim) == set() and found["compared"]["clips"] == 0


def test_a_clip_without_one_score_is_compared_by_the_others() -> None:
    clips = [
        Record("a", "x", values={"ssim": 0.9}),
        Record("a", "y", values={"ssim": 0.3, "jitter": 1.0}),
    ]
    clips += [Record("b", c, values={"ssim": 0.8, "jitter": 2.0}) for c in "xy"]
    found = results.build(clips, [], choose(["ssim", "jitter"]), JUDGES, results.Run(["a", "b"]))[
        "systems"
    ]
    assert (found["b"]["ssim"]["n"], found["b"]["jitter"]["n"]) == (2, 1)


def test_a_clip_equal_to_its_reference_caps_the_psnr() -> None:
    record = Record("ours", "a", values={"psnr": SUITE["psnr"].finish(0.0), "ssim": 1.0})
    found = results.build([record], [], choose(["psnr"]), JUDGES, results.Run(["ours"]))
    assert found["systems"]["ours"]["psnr"]["mean"] == pytest.approx(58.92, abs=0.01)
    assert found["notes"] == ["ours: 1 of 1 clips equal their reference; PSNR is capped at 58.9 dB"]


def test_one_clip_has_no_interval() -> None:
    cell = mean_cell([30.0], SUITE["psnr"].column, [])
    assert (cell["mean"], cell["std"], cell["ci95"]) == (30.0, None, None)


def test_no_interval_leaves_what_a_score_can_reach() -> None:
    assert mean_cell([0.2, 0.9], SUITE["ssim"].column, [])["ci95"] == [-1.0, 1.0]


def test_an_even_level_response_is_found_from_the_clips() -> None:
    found = build()
    numbers = found["systems"]["ours"]
    assert numbers["level_rho"]["mean"] == pytest.approx(1.0) and numbers["level_half"][
        "mean"
    ] == pytest.approx(0.5)
    assert numbers["level_range"]["mean"] == pytest.approx(14 / 15, abs=1e-6)
    assert set(found["details"]["ours"]["level_response"]) == {"happy"}


def image_record(clip: str, **more: float) -> Record:
    return Record("ours", clip, values=more, facts={"sha256": clip})


def flagged(clips: ClipSet) -> SetResult:
    """A number of the whole set that rests on too little, beside one that is no number."""
    few = SetEstimate(
        4.5, 20 * len(clips.records), "images", 0.5, (-1.0, 5.5), "40 images, fewer than 2,048"
    )
    return SetResult(estimates={"far": few, "lost": SetEstimate(math.nan, 3)})


def test_a_number_of_a_whole_set_has_its_own_interval_and_flag() -> None:
    columns = (
        MetricColumn("far", "Far", "distance", False),
        MetricColumn("lost", "Lost", "distance", False),
    )
    entries = {"far": SetMetric(columns, flagged)}
    clips = [image_record("a"), image_record("b")]
    cells = results.build(clips, [], entries, JUDGES, results.Run(["ours"]))["systems"]["ours"]
    assert (
        cells["far"]["mean"],
        cells["far"]["n"],
        cells["far"]["unit"],
        cells["far"]["ci95"],
    ) == (4.5, 40, "images", [0.0, 5.5])
    assert "2,048" in cells["far"]["flag"]
    assert (
        cells["lost"]["mean"] is None
        and cells["lost"]["reason"] == "the computation gave no number"
    )


def broken(clips: ClipSet) -> SetResult:
    raise RuntimeError("a matrix is singular")


def odd(clips: ClipSet) -> SetResult:
    return SetResult(
        {"odd": [1.0]}, details={"bars": {"kind": "bars", "values": {"a": math.nan, "b": 2.0}}}
    )


def test_a_metric_that_breaks_or_gives_no_number_costs_only_itself() -> None:
    entries = {
        name: SetMetric((MetricColumn(name, name, name, None),), score)
        for name, score in (("broken", broken), ("odd", odd))
    }
    found = results.build([image_record("a")], [], entries, JUDGES, results.Run(["ours"]))
    assert (
        found["systems"]["ours"]["broken"]["reason"]
        == "unexpected RuntimeError: a matrix is singular"
    )
    assert found["systems"]["ours"]["odd"]["mean"] == 1.0
    assert json.loads(results.dump(found))["details"]["ours"]["odd"]["bars"]["values"] == {
        "a": None,
        "b": 2.0,
    }


def test_what_compares_with_references_sees_only_clips_that_have_one() -> None:
    def count(clips: ClipSet) -> SetResult:
        return SetResult(
            {
                "count": [
                    len(clips.records)
                    + 0.1 * len(clips.reference.records if clips.reference else ())
                ]
            }
        )

    clips = [
        Record(REFERENCE, "a"),
        Record("ours", "a", reference="a"),
        Record("ours", "b", reference="a"),
        Record("ours", "c"),
    ]
    for needs_reference, expected in ((True, 2.1), (False, 3.1)):
        entries = {
            "count": SetMetric(
                (MetricColumn("count", "n", "n", None),),
                count,
                needs_reference=needs_reference,
            )
        }
        found = results.build(clips, [], entries, JUDGES, results.Run([REFERENCE, "ours"]))
        assert found["systems"]["ours"]["count"]["mean"] == pytest.approx(expected)


def test_results_are_strict_json() -> None:
    assert json.loads(results.dump(build()))["protocol"] == "emo-eval-2"
    with pytest.raises(ValueError):
        results.dump({"x": math.nan})


def test_per_clip_leaves_cells_empty_where_there_is_no_number() -> None:
    rows = list(csv.DictReader(io.StringIO(results.per_clip(records(), choose(METRICS)))))
    assert [(r["clip"], r["psnr"], r["failure"]) for r in rows if r["system"] == "theirs"] == [
        (NASTY, "", ""),
        ("dark", "", "no face"),
    ]
