"""Extractors and the feature cache: looked at once, kept by what was seen and by whom, and absent
without harm."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emo_lightning.core.constants import SAMPLES_PER_FRAME
from emo_lightning.core.errors import UserError
from emo_lightning.media.video_writer import write_video
from evaluation.judges.base import JudgeInfo
from evaluation.judges.landmarks import LandmarkJudge
from evaluation.protocol import CONTROLS, EARLY, LATE, OTHER, REFERENCE, STILL, Unavailable
from evaluation.records import MetricColumn, Scores, SetResult
from evaluation.runner import clip_reader
from evaluation.runner.cache import FeatureCache, key
from evaluation.runner.clip_reader import delayed
from evaluation.runner.frame_pass import ExtractorRows, still_rows
from evaluation.runner.run import evaluate
from evaluation.suite import EXTRACTORS, SUITE
from evaluation.suite.base import (
    AudioExtractor,
    ClipMetric,
    ClipSet,
    FrameExtractor,
    SetMetric,
    View,
)
from tests.evaluation.conftest import wobble

JUDGE = JudgeInfo("colour", "ab" * 32, "mean colour")
SMALL = View(32, 0.0, 0.1, 0.5)


def colour(judge: Callable[[], JudgeInfo] = lambda: JUDGE, **more: Any) -> FrameExtractor:
    """A judge that says the mean colour of a part of the crop."""
    return FrameExtractor(
        "colour",
        judge,
        lambda device: lambda crops, points: {"mean": crops.mean(axis=(1, 2))},
        SMALL,
        **more,
    )


def loudness(waves: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"rms": np.sqrt((waves.reshape(-1, SAMPLES_PER_FRAME) ** 2).mean(axis=1))}


def onset(clip: Any, reference: Any) -> Scores:
    """The frame in which the sound begins, and the brightness of the picture, so that both kinds of
    features are read."""
    del reference
    return Scores(
        {
            "onset": float(np.argmax(clip.features("loudness")["rms"] > 0.05)),
            "bright": float(clip.features("colour")["mean"].mean()),
        }
    )


def spread(clips: ClipSet) -> SetResult:
    """How many rows a set and its references have."""
    count = [
        sum(len(found["mean"]) for _, found in side.features("colour"))
        for side in (clips, clips.reference)
        if side is not None
    ]
    return SetResult({"rows": [float(n) for n in count]})


def column(name: str) -> MetricColumn:
    return MetricColumn(name, name, "of the test", None, "lips")


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two metrics of the test's own, on one extractor of pictures and one of sound."""
    monkeypatch.setitem(EXTRACTORS, "colour", colour())
    listener = AudioExtractor(
        "loudness", lambda: JudgeInfo("loudness", None, "arithmetic"), lambda device: loudness
    )
    monkeypatch.setitem(EXTRACTORS, "loudness", listener)
    monkeypatch.setitem(
        SUITE,
        "onset",
        ClipMetric((column("onset"), column("bright")), onset, ("colour", "loudness"), False),
    )
    monkeypatch.setitem(
        SUITE, "spread", SetMetric((column("rows"),), spread, ("colour",), still=True)
    )
    return ["onset", "spread", "ssim"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two references with a sound that begins at frame 6 and 8, and one without sound; two
    systems."""
    root = tmp_path_factory.mktemp("sound")
    for part, blur in (("reference", 0.0), ("one", 1.0), ("two", 2.0)):
        (root / part).mkdir()
        for i, begins in enumerate((6, 8, None)):
            wave = (
                np.random.default_rng(i).normal(0, 0.3, 14 * SAMPLES_PER_FRAME).astype(np.float32)
            )
            if begins is not None:
                wave[: begins * SAMPLES_PER_FRAME] = 0
            write_video(
                root / part / f"{i}.mp4",
                wobble(14, (96, 96), i, blur),
                None if begins is None else wave,
            )
    return root


class Counter:
    """How often files were decoded and faces looked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded: list[str] = []
        self.tracked = 0
        frames, place = clip_reader.iter_frames, LandmarkJudge.place

        def decode(path: Path, **more: Any) -> Any:
            self.decoded.append(f"{Path(path).parent.name}/{Path(path).stem}")
            return frames(path, **more)

        def look(judge: LandmarkJudge, frame: np.ndarray) -> np.ndarray:
            self.tracked += 1
            return place(judge, frame)

        monkeypatch.setattr(clip_reader, "iter_frames", decode)
        monkeypatch.setattr(LandmarkJudge, "place", look)


def test_every_clip_is_decoded_once_and_never_again(
    suite: list[str], scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    systems = {name: scene / name for name in ("one", "two")}
    first = evaluate(
        systems, scene / "reference", tmp_path / "a", metrics=suite, cache=tmp_path / "cache"
    )
    assert sorted(counter.decoded) == sorted(
        f"{part}/{i}" for part in ("one", "two", "reference") for i in range(3)
    )
    assert counter.tracked == 9 * 14
    counter.decoded.clear()
    again = evaluate(
        systems, scene / "reference", tmp_path / "b", metrics=suite, cache=tmp_path / "cache"
    )
    assert counter.decoded == [] and counter.tracked == 9 * 14
    assert first["systems"] == again["systems"] and not (tmp_path / "a" / "cache").exists()


def test_another_system_uses_what_is_known_of_the_reference(
    suite: list[str], scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate({"one": scene / "one"}, scene / "reference", tmp_path, metrics=suite)
    counter = Counter(monkeypatch)
    evaluate({"two": scene / "two"}, scene / "reference", tmp_path, metrics=suite)
    assert counter.tracked == 3 * 14, "only the new system's faces are looked for"


def test_controls_move_the_sound_and_hold_the_picture(
    suite: list[str], scene: Path, tmp_path: Path
) -> None:
    found = evaluate({"one": scene / "one"}, scene / "reference", tmp_path, metrics=suite)
    begins = {system: cells["onset"]["mean"] for system, cells in found["systems"].items()}
    assert begins == {REFERENCE: 7.0, "one": 7.0, LATE: 12.0, EARLY: 2.0, OTHER: 7.0, STILL: 7.0}
    rows = csv.DictReader(io.StringIO((tmp_path / "per_clip.csv").read_text(encoding="utf-8")))
    assert [row["onset"] for row in rows if row["system"] == OTHER] == ["8", "6"], (
        "each has the other's sound"
    )
    cells = found["systems"]
    assert (
        cells[LATE]["ssim"]["reason"] == "not applicable to this control"
        and cells[STILL]["ssim"]["n"] == 3
    )
    assert cells[STILL]["rows"]["mean"] == cells["one"]["rows"]["mean"] == 42.0
    assert {f["reason"] for f in found["failures"]} == {"2.mp4 has no sound"}
    assert cells[REFERENCE]["onset"]["n"] == 2 and cells[REFERENCE]["ssim"]["n"] == 0


def test_controls_can_be_left_out(suite: list[str], scene: Path, tmp_path: Path) -> None:
    found = evaluate(
        {"one": scene / "one"}, scene / "reference", tmp_path, metrics=["ssim"], controls=False
    )
    assert not set(found["systems"]) & set(CONTROLS)


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("net.pth is not here"),
        UserError("asset net", "net.pth", "sha256 ab", "has another content"),
    ],
)
def test_an_absent_or_wrong_judge_costs_its_metric_alone(
    suite: list[str], scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse() -> JudgeInfo:
        raise error

    monkeypatch.setitem(EXTRACTORS, "colour", colour(refuse))
    found = evaluate(
        {"one": scene / "one"}, scene / "reference", tmp_path, metrics=suite, cache=tmp_path / "c"
    )
    assert found["systems"]["one"]["ssim"]["n"] == 3 and found["failures"] == []
    assert (
        found["systems"]["one"]["rows"]["mean"],
        found["systems"]["one"]["onset"]["reason"],
    ) == (None, str(error))
    assert "net.pth" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_an_entry_depends_on_the_judge_and_a_broken_one_is_absent(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    names = {
        key("frames", "colour", version, weights) for version in (1, 2) for weights in ("ab", "cd")
    }
    assert len(names) == 4
    name = names.pop()
    assert cache.load(name) is None and not cache.has(name)
    cache.save(name, {"a": np.arange(3.0)})
    np.testing.assert_array_equal(cache.load(name)["a"], np.arange(3.0))
    cache.path(name).write_bytes(cache.path(name).read_bytes()[:-40])
    assert cache.load(name) is None
    np.savez(cache.path(name), a=np.array([{"not": "plain"}], dtype=object))
    assert cache.load(name) is None


@pytest.mark.parametrize(("context", "batch"), [(1, 1), (1, 4), (3, 1), (3, 4), (3, 100)])
def test_blocks_and_context_do_not_change_what_is_found(context: int, batch: int) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (11, 4, 4, 3), dtype=np.uint8)
    points = np.zeros((478, 3), np.float32)

    def sums(crops: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
        del places
        totals = crops.reshape(len(crops), -1).sum(axis=1).astype(np.float64)
        return {"sum": np.convolve(totals, np.ones(context), "valid")}

    extractor = FrameExtractor(
        "sums", lambda: JUDGE, lambda device: sums, context=context, batch=batch
    )
    rows = ExtractorRows(extractor, sums)
    for frame in frames:
        rows.add((frame, points))
    expected = np.convolve(
        frames.reshape(11, -1).sum(axis=1).astype(np.float64), np.ones(context), "valid"
    )
    np.testing.assert_array_equal(rows.result()["sum"], expected)
    held = still_rows(extractor, sums, (frames[0], points), 11)["sum"]
    np.testing.assert_array_equal(held, np.full(11 - context + 1, context * float(frames[0].sum())))


def test_changed_sound_keeps_its_length() -> None:
    wave = np.arange(4 * SAMPLES_PER_FRAME, dtype=np.float32)
    for frames in (2, -2, 9, -9):
        assert len(delayed(wave, frames)) == len(wave)
    assert (
        delayed(wave, 1)[SAMPLES_PER_FRAME] == 0 == delayed(wave, 1)[0]
        and delayed(wave, -1)[0] == SAMPLES_PER_FRAME
    )
