"""The comparison of renderers: rows, intervals over people, and renderers that fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import compare
from benchmarks._compare_clips import Clip, Target, pairs, read_clips, transfer
from benchmarks._compare_report import Drawn, estimate, estimates
from benchmarks._compare_rows import rows
from benchmarks._compare_scores import correlation
from datamodules.corpus.build import build_corpus
from emo_lightning.core.errors import UserError

FAILING = '''
class Failing:
    """A renderer that has no luck."""

    def prepare(self, portrait):
        return portrait

    def render(self, source, coefficients):
        raise RuntimeError("no luck")


class Late:
    """A renderer that is one frame behind."""

    context = (1, 0)

    def __init__(self):
        from emo_lightning.renderers.registry import create

        self.mesh = create("mesh")

    def prepare(self, portrait):
        return self.mesh.prepare(portrait)

    def render(self, source, coefficients):
        return self.mesh.render(source, coefficients.frames(slice(0, -1)))
'''


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare") / "corpus"
    build_corpus(folder, 3, size=96)
    return folder


@pytest.fixture(scope="module")
def clips(shards: Path) -> list[Clip]:
    return read_clips([shards], ["train", "val", "test"], 25, 2)


@pytest.fixture(scope="module")
def report(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """The mesh, a delayed renderer, a failing one and one without weights, on two people."""
    out = tmp_path_factory.mktemp("out")
    (out / "my_luck.py").write_text(FAILING)
    words = [
        "--data",
        str(shards),
        "--split",
        "val,test",
        "--frames",
        "25",
        "--pairs",
        "1",
        "--out",
        str(out),
    ]
    words += [
        "--renderers",
        "mesh",
        "my_luck:Late",
        "my_luck:Failing",
        "keypoint",
        "--checkpoint-dir",
        f"keypoint={out}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(out)])
        compare.main(words)
    return json.loads((out / "compare.json").read_text()), out


def mean(report: dict, part: str, row: str, score: str) -> float:
    return report[part]["rows"][row][score]["mean"]["mean"]


def test_rows_stand_in_the_order_of_what_they_know(report: tuple[dict, Path]) -> None:
    found, _ = report
    for score, better in (
        ("psnr_lips", 1),
        ("ssim_face", 1),
        ("lip_error", -1),
        ("face_error", -1),
    ):
        values = [
            better * mean(found, "self", row, score)
            for row in ("still portrait", "pose only", "mesh")
        ]
        assert values == sorted(values), score
    # A shift-tolerant score hardly sees a mouth of ten pixels.
    still, posed, mesh = (
        mean(found, "self", row, "st_lpips") for row in ("still portrait", "pose only", "mesh")
    )
    assert max(posed, mesh) < 0.5 * still
    assert mean(found, "self", "my_luck:Late", "lip_error") > mean(
        found, "self", "mesh", "lip_error"
    )
    assert mean(found, "self", "still portrait", "flicker") == 0
    assert mean(found, "cross", "mesh", "lip_open") > 0.8
    assert found["cross"]["rows"]["still portrait"]["lip_open"]["mean"] is None
    assert mean(found, "cross", "still portrait", "csim") == pytest.approx(1.0)
    minus = found["self"]["rows"]["pose only"]["lip_error"]["minus"]
    assert minus["mean"] == pytest.approx(
        mean(found, "self", "pose only", "lip_error") - mean(found, "self", "mesh", "lip_error")
    )
    assert (minus["clips"], minus["people"]) == (2, 2)


def test_what_cannot_be_drawn_is_a_row_with_the_reason(report: tuple[dict, Path]) -> None:
    found, out = report
    assert "no luck" in found["self"]["reasons"]["my_luck:Failing"]
    assert "renderer.safetensors" in found["self"]["reasons"]["keypoint"]
    for row in ("my_luck:Failing", "keypoint"):
        assert all(
            cell["mean"] is None
            for part in ("self", "cross")
            for cell in found[part]["rows"][row].values()
        )
    assert "keypoint, 2 of 2 without numbers: " in (out / "compare.md").read_text()


def test_weights_come_from_the_folder_that_was_named(tmp_path: Path) -> None:
    (row,) = [row for row in rows(["mesh"], {"mesh": [tmp_path]}) if row.renderer or row.reason]
    assert row.draw is None and "has no weights that it takes" in row.reason


def test_contact_sheets_show_every_row_that_drew(report: tuple[dict, Path]) -> None:
    _, out = report
    own, cross = (cv2.imread(str(out / name)) for name in ("self.png", "cross.png"))
    assert own.shape[1] == 6 * 96 + 96  # source, truth, still, pose, mesh, late, ceiling
    assert cross.shape[1] == 6 * 96  # portrait, driver, still, pose, mesh, late


def test_a_head_moves_on_another_by_its_own_measure(clips: list[Clip]) -> None:
    portrait, driver = clips[0].portrait(clips[0].frames(96)), clips[1].coefficients
    moved, own = transfer(portrait, driver), portrait.coefficients
    assert np.array_equal(moved["exp"], driver["exp"])
    assert np.ptp(moved["id"], axis=0).max() == 0 and np.array_equal(moved["id"][0], own["id"][0])
    assert np.allclose(moved["angle"][0], own["angle"][0]) and np.allclose(
        moved["trans"][0], own["trans"][0]
    )
    shares = [
        (c["trans"][-1, :2] - c["trans"][0, :2]) / np.exp(c["trans"][0, 2]) for c in (moved, driver)
    ]
    assert np.allclose(*shares, atol=1e-5)


def test_nobody_moves_themselves(clips: list[Clip]) -> None:
    targets = [Target(clip.person, clip.portrait(clip.frames(96))) for clip in clips]
    chosen = pairs(targets, clips, 4)
    assert len(chosen) == 4 and all(target.name != clip.person for target, clip in chosen)
    assert len({(target.name, clip.key) for target, clip in chosen}) == 4
    assert pairs(targets[:1], clips[:1], 4) == []


def test_intervals_are_over_people() -> None:
    people = ["a"] * 50 + ["b"] * 50 + ["c"] * 50
    values = np.repeat([1.0, 2.0, 6.0], 50)
    found = estimate(values, people)
    assert (found.mean, found.clips, found.people) == (3.0, 150, 3)
    assert found.high - found.low > 3, "a hundred and fifty clips of three people are three people"
    alone = estimate(values, ["a"] * 150)
    assert alone.high - alone.low < 1
    assert estimate(np.array([np.nan, 4.0]), ["a", "b"]).clips == 1
    assert estimate(np.array([np.nan]), ["a"]) is None


def test_differences_are_of_the_same_clips() -> None:
    rows = {
        "mesh": Drawn([{"psnr": 20.0}, {"psnr": 40.0}, {"psnr": 30.0}]),
        "mine": Drawn([{"psnr": 21.0}, {"psnr": 41.0}, None]),
    }
    minus = estimates(rows, {"psnr": None}, ["a", "b", "c"], "mesh")["mine"]["psnr"]["minus"]
    assert (minus.mean, minus.low, minus.high, minus.clips) == (1.0, 1.0, 1.0, 2)


def test_what_stands_still_follows_nothing() -> None:
    track = np.sin(np.arange(30.0))
    assert correlation(track, 3 * track + 1) == pytest.approx(1.0)
    assert np.isnan(correlation(np.ones(30), track))


def test_mistakes_are_named(shards: Path, tmp_path: Path) -> None:
    for words, problem in (
        (["--data", str(shards), "--split", "nobody"], "--data .* holds no such clip"),
        (["--renderers", "nothing"], "--renderer 'nothing' is not a renderer"),
        (["--checkpoint-dir", "keypoint"], "accepted: NAME=DIR"),
        (["--data", str(shards), "--portraits", str(tmp_path)], "--portraits .* holds no pictures"),
        (["--frames", "3"], "--frames '3' is not accepted; accepted: 25 or more"),
    ):
        with pytest.raises(UserError, match=problem):
            compare.main(words)
