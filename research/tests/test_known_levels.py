"""The level response of folders of videos: labels, agreement with known figures, and a part of a published set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emo_lightning.core.errors import UserError
from evaluation.judges.action_units import signature, with_shapes
from evaluation.metrics.level_response import LevelResponse
from research import known_levels


def test_videos_are_labelled_by_order_or_by_a_manifest(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:06d}.mp4").touch()
    found = known_levels.find(tmp_path, ["sad", "happy"])
    assert [(v.path.stem, v.emotion, v.level) for v in (found[0], found[14], found[15])] == [
        ("000000", "sad", 1.0), ("000014", "sad", 15.0), ("000015", "happy", 1.0),
    ]  # fmt: skip
    with pytest.raises(UserError, match="30 videos"):
        known_levels.find(tmp_path, ["sad"])
    with pytest.raises(UserError, match="not an emotion"):
        known_levels.find(tmp_path, ["sad", "glad"])
    (tmp_path / "manifest.csv").write_text(
        "generated,emotion,level\n000003.mp4,fear,7.5\n", encoding="utf-8"
    )
    assert [(v.path.name, v.emotion, v.level) for v in known_levels.find(tmp_path, [])] == [
        ("000003.mp4", "fear", 7.5)
    ]


def test_a_response_agrees_only_with_the_same_sign_and_size() -> None:
    known = {"angry": {"brow_in": {"rho": -0.98, "range": -0.034, "r2": 0.97, "half": 0.52}}}

    def verdict(rho: float, reach: float, half: float) -> known_levels.Agreement:
        return next(
            known_levels.compare(
                {"angry": {"brow_in": LevelResponse(rho, 0.9, reach, half)}}, known
            )
        )

    assert verdict(-0.96, -0.030, 0.5).agrees and verdict(-0.96, -0.030, 0.5).clear
    assert not verdict(-0.90, -0.030, 0.5).agrees
    assert not verdict(-0.96, -0.060, 0.5).agrees
    assert not verdict(-0.96, -0.030, 0.8).agrees
    assert not next(
        known_levels.compare({"sad": {"jaw": LevelResponse(1.0, 1.0, 0.1, 0.5)}}, known)
    ).clear


def test_published_videos_respond_as_is_known_of_them(shared_data: Path) -> None:
    """Five levels of the angry videos, every eighth frame: frowning brows, narrowing mouth, and the units of anger in order."""
    known = json.loads(
        (shared_data.parent / "reference" / "emospeaker_levels.json").read_text(encoding="utf-8")
    )["hdtf"]["angry"]
    videos = [
        known_levels.Levelled(shared_data / "emospeaker_hdtf" / f"{n - 1:06d}.mp4", "angry", n)
        for n in (1, 4, 8, 12, 15)
    ]
    found = known_levels.responses(videos, every=8)["angry"]
    for feature in ("brow_in", "brow_out", "corner_width"):
        assert found[feature].range == pytest.approx(
            known[feature]["range"], abs=known_levels.TOLERANCE["range"]
        )
        assert found[feature].half == pytest.approx(
            known[feature]["half"], abs=known_levels.TOLERANCE["half"]
        )
        assert found[feature].rho <= -0.9
    assert found[known_levels.OWN_UNITS].rho >= 0.9 and found[known_levels.OWN_UNITS].range > 0.1


def test_frowns_and_lids_come_from_blendshapes_and_the_rest_from_the_fit() -> None:
    import numpy as np

    from emo_lightning.face.coefficients import EXP_NAMES
    from evaluation.judges.blendshapes import NAMES

    fitted = np.full((2, len(EXP_NAMES)), 0.3, np.float32)
    shapes = np.zeros((2, len(NAMES)), np.float32)
    shapes[1, [NAMES.index("browDownLeft"), NAMES.index("browDownRight")]] = 0.75
    found = with_shapes(fitted, shapes)
    assert (
        found[1, EXP_NAMES.index("AU4")] == pytest.approx(1.0)
        and found[0, EXP_NAMES.index("AU4")] < 0
    )
    assert (found[:, EXP_NAMES.index("AU12_L")] == fitted[0, 0]).all()
    assert signature(found[1], "angry") > signature(found[0], "angry")
    assert signature(found[0], "neutral") is None
