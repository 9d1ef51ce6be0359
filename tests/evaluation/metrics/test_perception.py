"""Perception, identity and distributions as ``emo eval`` scores them, on small real videos."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from emo_lightning.core import assets
from evaluation.judges.image_networks import describe_lpips
from evaluation.records import Record
from evaluation.runner.run import evaluate
from evaluation.suite import SUITE, distributions

METRICS = ["lpips", "st_lpips", "cpbd", "csim", "fid", "fid_face", "e_fid"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, make_clip) -> dict:
    """Three references, the same clips again, and the same blurred."""
    root = tmp_path_factory.mktemp("perception")
    for name in ("a", "b", "c"):
        make_clip(root / "reference" / f"{name}.mp4", seed=ord(name))
        make_clip(root / "blurred" / f"{name}.mp4", seed=ord(name), blur=3.0)
    shutil.copytree(root / "reference", root / "same")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(assets.ENVIRONMENT, str(root / "none"))
        describe_lpips.cache_clear()
        return evaluate(
            {"same": root / "same", "blurred": root / "blurred"},
            root / "reference",
            root / "out",
            metrics=METRICS,
        )


def mean(found: dict, system: str, column: str) -> float:
    return found["systems"][system][column]["mean"]


def test_equal_clips_are_perfect_and_blurred_ones_worse(found: dict) -> None:
    assert mean(found, "same", "st_lpips") == 0 < mean(found, "blurred", "st_lpips")
    assert mean(found, "same", "csim") == pytest.approx(1.0)
    assert 0.3 < mean(found, "blurred", "csim") < 0.999
    assert (
        mean(found, "same", "cpbd")
        == mean(found, "reference", "cpbd")
        > mean(found, "blurred", "cpbd")
    )
    for column in ("fid", "fid_face", "e_fid"):
        assert (
            mean(found, "same", column) == pytest.approx(0, abs=1e-2)
            and mean(found, "blurred", column) > 0.01
        )


def test_few_images_are_flagged_and_an_interval_is_given(found: dict) -> None:
    cell = found["systems"]["blurred"]["fid"]
    assert cell["n"] == 6 and cell["flag"] == "6 images, fewer than 2,048"
    assert cell["ci95"][0] < cell["mean"] < cell["ci95"][1]
    assert found["systems"]["reference"]["fid"]["mean"] is None


def test_lpips_without_its_backbone_is_null_and_says_which_file_to_give(found: dict) -> None:
    cell = found["systems"]["blurred"]["lpips"]
    assert (
        cell["mean"] is None
        and "alexnet-owt-7be5be79.pth" in cell["reason"]
        and assets.ENVIRONMENT in cell["reason"]
    )


def test_each_score_names_its_judge_and_hash(found: dict) -> None:
    for column, asset in (
        ("csim", "sface"),
        ("st_lpips", "st_lpips_alex"),
        ("fid", "fid_inception_torchscript"),
    ):
        assert assets.get(asset).sha256 in json.dumps(
            found["systems"]["blurred"][column]
        ) + json.dumps(found["judges"])


def test_of_many_pictures_evenly_spaced_ones_are_taken(monkeypatch) -> None:
    monkeypatch.setattr(distributions, "LIMIT", 10)
    rows = [
        (Record("s", name, reference=name), {"x": np.arange(12.0)[:, None] + np.zeros(3)})
        for name in "ab"
    ]
    taken = distributions.gather(
        SimpleNamespace(features=lambda extractor: iter(rows)), "any", "x", True
    )
    assert taken is not None and (taken.sizes, taken.seen, taken.clips) == ([4, 4], 24, ["a", "b"])
    assert taken.counted(np.array([2, 0])).tolist() == [2.0] * 4 + [0.0] * 4
    assert taken.features[:4, 0].tolist() == [0.0, 3.0, 6.0, 9.0]


def test_the_suite_knows_them() -> None:
    assert set(METRICS) | {"lpips_vgg", "lpips_squeeze", "csim_arcface"} <= set(SUITE)
