"""``emo eval`` on real videos: good clips, bad clips, one process and two."""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from emo_lightning.commands.evaluate import add_arguments
from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from emo_lightning.media.video_writer import write_video
from evaluation.protocol import REFERENCE, STILL
from evaluation.runner import workers
from evaluation.runner.controls import plan
from evaluation.runner.pairs import pair
from evaluation.runner.run import evaluate, main
from evaluation.suite import choose

METRICS = ["psnr", "ssim", "m_lmd", "f_lmd", "au_error", "jitter", "level_response"]


def strip(results: dict) -> dict:
    """What must not depend on when and by how many processes the scores were found."""
    return {name: results[name] for name in ("systems", "failures", "details", "clips")}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, make_clip) -> Path:
    """A reference folder and one system with every kind of clip that can go wrong."""
    root = tmp_path_factory.mktemp("scene")
    reference, ours = root / "reference", root / "ours"
    for seed, name in enumerate(
        ("same", "blurred", "short", "small", "wide", "faceless", "cut", "deaf", "single")
    ):
        make_clip(reference / f"{name}.mp4", seed=seed)
    ours.mkdir()
    shutil.copy(reference / "same.mp4", ours / "same.mp4")
    make_clip(ours / "blurred.mp4", seed=1, blur=2.5)
    make_clip(ours / "short.mp4", seed=2, frames=6)
    make_clip(ours / "single.mp4", seed=8, frames=1)
    make_clip(ours / "small.mp4", seed=3, size=(128, 128))
    make_clip(ours / "wide.mp4", seed=4, size=(256, 192))
    grey = np.full((192, 192, 3), 90, np.uint8)
    write_video(ours / "faceless.mp4", [grey] * 5)
    (ours / "cut.mp4").write_bytes((reference / "cut.mp4").read_bytes()[:3000])
    (ours / "empty.mp4").touch()
    (ours / "text.mp4").write_text("not a video at all\n" * 40)
    make_clip(ours / "alone.mp4", seed=9)
    make_sound(ours / "deaf.mp4")
    return root


def make_sound(path: Path) -> None:
    """A file with sound and no picture, under a video's name."""
    import soundfile

    soundfile.write(path.with_suffix(".wav"), np.zeros(SAMPLE_RATE // 4, np.float32), SAMPLE_RATE)
    path.with_suffix(".wav").rename(path)


@pytest.fixture(scope="module")
def found(
    scene: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict, dict[str, dict[str, str]], Path]:
    """The results of the scene, its rows by clip, and its folder."""
    out = tmp_path_factory.mktemp("out") / "new" / "folder"
    results = evaluate({"ours": scene / "ours"}, scene / "reference", out, metrics=METRICS)
    with (out / "per_clip.csv").open(encoding="utf-8") as handle:
        rows = {row["clip"]: row for row in csv.DictReader(handle) if row["system"] == "ours"}
    return results, rows, out


def test_the_files_are_there_and_nothing_else(found) -> None:
    results, _, out = found
    reports = [
        "per_clip.csv",
        "previews.json",
        "report.html",
        "report.md",
        "results.json",
        "table.tex",
    ]
    assert sorted(p.name for p in out.iterdir()) == ["cache", *reports]
    assert json.loads((out / "results.json").read_text(encoding="utf-8")) == results


def test_every_input_is_listed_with_its_hash(found, scene: Path) -> None:
    listed = {(entry["system"], entry["clip"]): entry for entry in found[0]["inputs"]}
    blurred = listed["ours", "blurred"]
    assert blurred["reference"] == "blurred" and blurred["sha256"] == sha256_of(
        scene / "ours" / "blurred.mp4"
    )
    assert listed[REFERENCE, "blurred"]["sha256"] == sha256_of(scene / "reference" / "blurred.mp4")


def test_a_clip_against_itself_is_perfect(found) -> None:
    row = found[1]["same"]
    assert float(row["psnr"]) == pytest.approx(58.92, abs=0.01) and float(row["ssim"]) == 1.0
    assert float(row["f_lmd"]) == float(row["m_lmd"]) == float(row["au_error"]) == 0.0


def test_a_blurred_clip_is_worse_than_itself_and_its_landmarks_stay_near(found) -> None:
    row = found[1]["blurred"]
    assert 20 < float(row["psnr"]) < 40 and 0.5 < float(row["ssim"]) < 0.97
    assert 0 < float(row["f_lmd"]) < 0.05


def test_lengths_that_differ_are_matched_by_time_and_reported(found) -> None:
    row = found[1]["short"]
    assert (row["frames"], row["reference_frames"], row["compared_frames"]) == ("6", "10", "6")
    assert float(row["length_difference_s"]) == -0.16
    assert float(row["psnr"]) > 35, "the frames that both have show the same"
    assert (
        "ours: 2 of 7 clips differ in length from their reference, by up to 0.36 s"
        in found[0]["notes"]
    )


def test_another_resolution_of_the_same_view_is_compared_in_the_same_crop(found) -> None:
    row = found[1]["small"]
    assert row["framing"] == "shared" and float(row["psnr"]) > 25 and float(row["f_lmd"]) < 0.04


def test_another_view_has_no_pixel_scores(found) -> None:
    results, rows, _ = found
    assert (
        rows["wide"]["framing"] == "own"
        and rows["wide"]["psnr"] == rows["wide"]["ssim"] == ""
        and rows["wide"]["m_lmd"]
    )
    assert {f["metric"] for f in results["failures"] if f["clip"] == "wide"} == {"psnr", "ssim"}


def test_bad_clips_are_listed_with_their_reasons_and_the_rest_is_scored(found) -> None:
    results, rows, _ = found
    reasons = {f["clip"]: f["reason"] for f in results["failures"] if f["metric"] is None}
    assert "0 of the 5 frames" in reasons["faceless"]
    assert "empty" in reasons["empty"]
    assert "picture" in reasons["deaf"]
    assert reasons["cut"]
    assert {f["reason"] for f in results["failures"] if f["clip"] == "alone"} == {
        "no reference has this name"
    }
    assert rows["alone"]["jitter"] and not rows["alone"]["psnr"]
    assert "cannot be decoded" in reasons["text"]
    assert results["clips"]["ours"] == 7
    assert all(
        not rows[name]["ssim"] and rows[name]["failure"]
        for name in ("faceless", "cut", "deaf", "empty", "text")
    )


def test_one_frame_is_compared_with_the_frame_it_shows(found) -> None:
    row = found[1]["single"]
    assert (
        (row["frames"], row["compared_frames"]) == ("1", "1")
        and float(row["psnr"]) > 35
        and not row["jitter"]
    )
    assert {
        f["metric"]: f["reason"]
        for f in found[0]["failures"]
        if f["clip"] == "single" and f["system"] == "ours"
    } == {"jitter": "fewer than three consecutive frames show a face"}


def test_the_reference_has_a_row_of_what_needs_no_reference(found) -> None:
    row = found[0]["systems"][REFERENCE]
    assert (
        row["jitter"]["n"] == 5
        and row["psnr"]["mean"] is None
        and "this row" in row["psnr"]["reason"]
    )


def test_the_still_control_is_worse_than_the_reference_and_does_not_move(found) -> None:
    row = found[0]["systems"][STILL]
    assert row["jitter"]["mean"] == 0.0 and row["f_lmd"]["mean"] > 0.01 and row["psnr"]["n"] == 5
    assert (
        found[0]["rows"][STILL]["kind"] == "control"
        and row["level_rho"]["reason"] == "not applicable to this control"
    )


def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, make_clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part file of a run that died after two clips, its last line cut off."""
    for seed, name in enumerate("abc"):
        make_clip(tmp_path / "r" / f"{name}.mp4", frames=3, seed=seed)
        make_clip(tmp_path / "g" / f"{name}.mp4", frames=3, seed=seed, blur=1.0 + seed)
    whole = evaluate({"ours": tmp_path / "g"}, tmp_path / "r", tmp_path / "whole", metrics=["ssim"])
    groups = plan(pair({"ours": tmp_path / "g"}, tmp_path / "r").groups, choose(["ssim"]))
    job = workers.ScoringJob(tuple(groups), ("ssim",), tmp_path / "o", tmp_path / "o" / "cache")
    job.parts.mkdir(parents=True)
    file = job.parts / "x.jsonl"
    workers.work(job, 0, 1, file, job.fingerprint(), frozenset())
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:4]) + lines[4][:20], encoding="utf-8")
    scored: list[tuple[str, str]] = []
    original = workers.score_groups

    def watched(*args, **kwargs):
        for record in original(*args, **kwargs):
            scored.append((record.system, record.clip))
            yield record

    monkeypatch.setattr(workers, "score_groups", watched)
    resumed = evaluate(
        {"ours": tmp_path / "g"}, tmp_path / "r", tmp_path / "o", metrics=["ssim"], resume=True
    )
    assert scored == [(system, clip) for clip in "bc" for system in (REFERENCE, STILL, "ours")], (
        "the first clip and its reference were known"
    )
    assert strip(resumed) == strip(whole) and not file.parent.exists()


def arguments(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_the_command_prints_the_table_and_ends_with_0(
    found, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "g"
    one.mkdir()
    shutil.copy(scene / "ours" / "blurred.mp4", one)
    options = (
        "--reference",
        scene / "reference",
        "--out",
        tmp_path / "o",
        "--metrics",
        "psnr, ssim",
    )
    options += ("--cache", found[2] / "cache")
    assert main(arguments("--systems", f"a={one}", f"b={scene / 'ours'}", *options)) == 0
    said = capsys.readouterr().out
    assert "PSNR ↑" in said and "Jitter" not in said and str(tmp_path / "o" / "report.html") in said
    results = json.loads((tmp_path / "o" / "results.json").read_text(encoding="utf-8"))
    assert (
        list(results["systems"]) == ["reference", "a", "b", STILL]
        and results["systems"]["b"]["psnr"]["n"] == 1
    )


def test_nothing_to_score_is_an_error_after_the_report_is_written(
    tmp_path: Path, make_clip
) -> None:
    make_clip(tmp_path / "r" / "a.mp4")
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "a.mp4").write_bytes(b"this is not a video" * 100)
    with pytest.raises(UserError, match="no clip that could be scored"):
        main(
            arguments(
                "--generated",
                tmp_path / "g",
                "--reference",
                tmp_path / "r",
                "--out",
                tmp_path / "o",
                "--metrics",
                "jitter",
            )
        )
    assert "cannot be decoded" in (tmp_path / "o" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--generated", "nowhere", "--out", "o"), "does not exist"),
        (("--systems", "a", "--out", "o"), "NAME=DIR"),
        (("--systems", "a=x", "a=y", "--out", "o"), "repeats a name"),
        (("--generated", "x", "--out", "o", "--metrics", "ssmi"), "psnr, ssim"),
        (("--generated", "x", "--out", "o", "--metrics", ","), "names no metric"),
        (("--generated", "x", "--out", "o", "--devices", "0"), "1 or more"),
        (("--generated", "x", "--out", "o", "--worker-timeout", "0"), "more than 0"),
        (("--systems", "control: still=x", "--out", "o"), "row of the references"),
    ],
)
def test_mistakes_are_said_before_any_work(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        main(arguments(*words))
    assert list(tmp_path.iterdir()) == []


def test_levels_of_a_manifest_give_a_response(tmp_path: Path, make_clip) -> None:
    """A head that grows wider with the level; its clips need no reference."""
    rows = ["generated,emotion,level"]
    for level in (1, 8, 15):
        make_clip(tmp_path / "g" / f"{level}.mp4", frames=3, size=(180 + 4 * level, 192))
        rows.append(f"{level}.mp4,happy,{level}")
    (tmp_path / "g" / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    results = evaluate({"ours": tmp_path / "g"}, None, tmp_path / "o", metrics=["level_response"])
    curves = results["details"]["ours"]["level_response"]["happy"]
    assert curves["nose_lip"]["rho"] == pytest.approx(-1.0) and curves["nose_lip"][
        "half"
    ] == pytest.approx(0.5, abs=0.2)
    assert curves["nose_lip"]["levels"] == [1.0, 8.0, 15.0] and math.isfinite(
        results["systems"]["ours"]["level_rho"]["mean"]
    )
    assert list(results["systems"]) == ["ours"]


def test_emospeakers_published_level_response_is_reproduced(
    shared_data: Path, repository: Path, tmp_path: Path
) -> None:
    """Where the published curves move clearly, ours have their direction and order."""
    expected = json.loads(
        (repository.parent / "shared" / "reference" / "emospeaker_levels.json").read_text(
            encoding="utf-8"
        )
    )["hdtf"]
    clips = tmp_path / "g"
    clips.mkdir()
    rows = ["generated,emotion,level"]
    for level in (1, 8, 15):
        rows.append(f"{shared_data / 'emospeaker_hdtf' / f'{level - 1:06d}.mp4'},angry,{level}")
    (clips / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    results = evaluate({"emospeaker": clips}, None, tmp_path / "o", metrics=["level_response"])
    curves = results["details"]["emospeaker"]["level_response"]["angry"]
    for feature in ("corner_width", "brow_in", "brow_out"):
        assert curves[feature]["rho"] < 0 and curves[feature]["range"] == pytest.approx(
            expected["angry"][feature]["range"], abs=0.015
        )


def test_a_device_that_does_not_exist_is_refused_before_any_work(tmp_path):
    (tmp_path / "ours").mkdir()
    with pytest.raises(UserError, match="--device 'gpu' is not a device"):
        evaluate({"ours": tmp_path / "ours"}, None, tmp_path / "out", device="gpu")
    assert not (tmp_path / "out").exists()
