"""Pairing by stem and by manifest; what has no partner or no sense is listed or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emo_lightning.core.errors import UserError
from emo_lightning.media.video_writer import write_video
from evaluation.protocol import CONTROLS
from evaluation.runner.controls import plan
from evaluation.runner.pairs import WITH_REFERENCE, ClipGroup, Unscored, label_from_sidecar, pair
from evaluation.suite import choose


def folder(path: Path, *names: str) -> Path:
    """A folder with empty files of these names."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


def paired(generated: Path, reference: Path) -> tuple[list[ClipGroup], list[Unscored]]:
    """Groups and failures of one system."""
    found = pair({"ours": generated}, reference)
    return found.groups, found.failures


def test_clips_meet_by_relative_stem_whatever_their_container(tmp_path: Path) -> None:
    generated = folder(tmp_path / "g", "a.mp4", "sub/b.mkv", "notes.txt")
    reference = folder(tmp_path / "r", "a.MOV", "sub/b.mp4")
    groups, failures = paired(generated, reference)
    assert [(g.reference.path.name, [i.clip for i in g.items]) for g in groups] == [
        ("a.MOV", ["a"]),
        ("b.mp4", ["sub/b"]),
    ]
    assert not failures


def test_what_has_no_partner_is_listed_and_generated_clips_are_kept(tmp_path: Path) -> None:
    generated, reference = (
        folder(tmp_path / "g", "a.mp4", "c.mp4"),
        folder(tmp_path / "r", "a.mp4", "b.mp4"),
    )
    groups, failures = paired(generated, reference)
    assert {(f.system, f.clip, f.metric) for f in failures} == {
        ("ours", "c", WITH_REFERENCE),
        ("reference", "b", None),
    }
    assert [g.items[0].clip for g in groups if g.reference is None] == ["c"]


def test_two_files_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    generated, reference = (
        folder(tmp_path / "g", "a.mp4", "a.mov", "b.mp4"),
        folder(tmp_path / "r", "a.mp4", "b.mp4", "b.mov"),
    )
    _, failures = paired(generated, reference)
    assert [("several" in f.reason) for f in failures if f.system == "ours"] == [True, True]


def test_a_manifest_pairs_labels_and_carries_further_columns(tmp_path: Path) -> None:
    generated, reference = (
        folder(tmp_path / "g", "x/1.mp4", "x/2.mp4", "x/3.mp4"),
        folder(tmp_path / "r", "long.mp4"),
    )
    rows = "generated,reference,emotion,level,speaker\nx/1.mp4,long.mp4,Joyful,1,M01\n"
    rows += "x/2.mp4,long.mp4,happy,2.5,M01\nx/3.mp4,gone.mp4,,,M02\n"
    (generated / "manifest.csv").write_text(rows, encoding="utf-8")
    groups, failures = paired(generated, reference)
    shared = next(g for g in groups if g.reference is not None)
    assert [(i.emotion, i.level, i.extra) for i in shared.items] == [
        ("happy", 1.0, {"speaker": "M01"}),
        ("happy", 2.5, {"speaker": "M01"}),
    ]
    assert shared.reference.emotion is None, (
        "clips of two levels share it, so it has no level of its own"
    )
    assert "gone.mp4" in next(f for f in failures if f.clip == "x/3").reason


def test_a_manifest_can_say_that_a_clip_has_no_reference(tmp_path: Path) -> None:
    generated, reference = (
        folder(tmp_path / "g", "a.mp4", "b.mp4"),
        folder(tmp_path / "r", "a.mp4", "b.mp4"),
    )
    (generated / "manifest.csv").write_text(
        "generated,reference\na.mp4,none\nb.mp4,\n", encoding="utf-8"
    )
    groups, failures = paired(generated, reference)
    assert {g.items[0].clip: g.reference and g.reference.clip for g in groups} == {
        "a": None,
        "b": "b",
    }
    assert [(f.system, f.clip) for f in failures] == [("reference", "a")]


def test_the_other_audio_is_another_speakers(tmp_path: Path) -> None:
    """Three clips of one speaker, then one of another: the next clip would be the speaker's own."""
    wave = np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32)
    rows = ["generated,speaker"]
    for name, speaker in (("a", "M1"), ("b", "M1"), ("c", "M1"), ("d", "M2")):
        for part in ("g", "r"):
            (tmp_path / part).mkdir(exist_ok=True)
            write_video(
                tmp_path / part / f"{name}.mp4", [np.full((32, 32, 3), 90, np.uint8)] * 5, wave
            )
        rows.append(f"{name}.mp4,{speaker}")
    (tmp_path / "g" / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    planned = plan(paired(tmp_path / "g", tmp_path / "r")[0], choose(["sync"]))
    assert {g.reference.clip: g.other_audio.clip for g in planned} == {
        "a": "d",
        "b": "d",
        "c": "d",
        "d": "a",
    }
    assert all(g.controls == tuple(CONTROLS) for g in planned)


def test_systems_share_one_reference_and_large_groups_are_split(tmp_path: Path) -> None:
    systems = {name: folder(tmp_path / name, "a.mp4") for name in ("one", "two", "three")}
    groups = pair(systems, folder(tmp_path / "r", "a.mp4"), group_size=2).groups
    assert [[i.system for i in g.items] for g in groups] == [["one", "three"], ["two"]]
    assert [g.scores_reference for g in groups] == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,level\na.mp4,3\n", "generated"),
        ("generated,emotion\na.mp4,blue\n", "blue"),
        ("generated,emotion,level\na.mp4,happy,16\n", "16"),
        ("generated\na.mp4\na.mp4\n", "twice"),
        ("generated\n", "generated"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, text: str, said: str) -> None:
    generated = folder(tmp_path / "g", "a.mp4")
    (generated / "manifest.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        pair({"ours": generated}, None)


def test_endings_that_all_files_share_are_ignored_where_only_that_pairs_them(
    tmp_path: Path,
) -> None:
    generated = folder(tmp_path / "g", "001_happy_out.mp4", "002_happy_out.mp4")
    reference = folder(tmp_path / "r", "001_gt.mp4", "002_gt.mp4", "003_gt.mp4")
    found = pair({"ours": generated}, reference)
    assert [(g.reference.clip, g.items[0].clip) for g in found.groups] == [
        ("001_gt", "001"),
        ("002_gt", "002"),
    ]
    assert found.notes == [
        "ours: names are compared without their common ending '_happy_out'",
        "reference: names are compared without their common ending '_gt'",
    ]
    assert pair({"ours": generated}, generated).notes == [], "names that pair stay as they are"


def test_one_clip_pairs_without_its_ending(tmp_path: Path) -> None:
    found = pair(
        {"ours": folder(tmp_path / "g", "a_b_ours.mp4")}, folder(tmp_path / "r", "a_b.mp4")
    )
    assert found.groups[0].reference.clip == found.groups[0].items[0].clip == "a_b"


def test_systems_without_references_meet_by_name(tmp_path: Path) -> None:
    systems = {name: folder(tmp_path / name, f"x_{name}.mp4", f"y_{name}.mp4") for name in "ab"}
    clips = {(g.items[0].system, g.items[0].clip) for g in pair(systems, None).groups}
    assert len({clip for _, clip in clips}) == 2


def test_names_of_which_none_pairs_are_refused_with_an_example_of_each_side(tmp_path: Path) -> None:
    generated, reference = folder(tmp_path / "g", "a.mp4"), folder(tmp_path / "r", "b.mp4")
    with pytest.raises(UserError, match=r"--generated .*'a' here, 'b' in .*manifest\.csv"):
        pair({"ours": generated}, reference)


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    videos = folder(tmp_path / "g", "a.mp4")
    with pytest.raises(UserError, match="does not exist"):
        pair({"ours": tmp_path / "no"}, videos)
    with pytest.raises(UserError, match="holds no videos"):
        pair({"ours": videos}, folder(tmp_path / "empty", "x.txt"))
    with pytest.raises(UserError, match="reference"):
        pair({"reference": videos}, videos)


@pytest.mark.parametrize(
    ("track", "label"),
    [
        ([{"time": 0.0, "emotion": "sad", "level": 4.0}], ("sad", 4.0)),
        (
            {"onset": 0.6, "keys": [{"time": 0.0, "emotion": "neutral", "level": None}]},
            ("neutral", None),
        ),
        (
            [
                {"time": 0.0, "emotion": "sad", "level": 4.0},
                {"time": 1.0, "emotion": "happy", "level": 4.0},
            ],
            (None, None),
        ),
        ("nonsense", (None, None)),
        ([{"time": 0.0, "emotion": "sad", "level": 99}], (None, None)),
    ],
)
def test_labels_come_from_the_file_beside_the_video(
    tmp_path: Path, track: object, label: tuple[str | None, float | None]
) -> None:
    (tmp_path / "v.json").write_text(json.dumps({"emotion_track": track}), encoding="utf-8")
    assert label_from_sidecar(tmp_path / "v.mp4") == label
