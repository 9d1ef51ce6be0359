"""Every way in which a set can differ from its index is found and named."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from datamodules.shards.index import INDEX
from datamodules.shards.schema import encode
from datamodules.shards.verify import verify
from datamodules.shards.writer import ShardWriter, tar_writer
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from emo_lightning.media.video_writer import encode_mp4_bytes


@pytest.fixture
def copy(shard_set, tmp_path):
    shutil.copytree(shard_set, tmp_path / "set")
    return tmp_path / "set"


def found(folder) -> set[tuple[str, str, str]]:
    return {(finding.shard, finding.key, finding.reason) for finding in verify(folder).findings}


def rewrite(folder, name: str, samples: list[tuple[str, dict[str, bytes]]], **facts) -> None:
    """Put another archive in place and let the index agree with its bytes."""
    with open(folder / name, "wb") as file, tar_writer(file) as tar:
        for key, members in samples:
            tar.write({"__key__": key, **members})
    agree(folder, name, samples=len(samples), **facts)


def agree(folder, name: str, **facts) -> None:
    record = json.loads((folder / INDEX).read_text())
    row = next(row for row in record["shards"] if row["name"] == name)
    row |= {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name), **facts}
    (folder / INDEX).write_text(json.dumps(record))


def test_a_sound_set_has_no_findings(shard_set):
    steps = []
    verdict = verify(shard_set, progress=lambda done, total: steps.append((done, total)))
    assert verdict.findings == [] and (verdict.shards, verdict.samples) == (16, 16)
    assert steps == [(n, 16) for n in range(1, 17)]


def test_workers_find_the_same(copy):
    (copy / "light-train-000003.tar").unlink()
    with open(copy / "video-val-000000.tar", "ab") as file:
        file.write(b"\0" * 512)
    assert [asdict(f) for f in verify(copy, workers=2).findings] == [
        asdict(f) for f in verify(copy).findings
    ]
    assert found(copy) >= {
        ("light-train-000003.tar", "", "missing_shard"),
        ("video-val-000000.tar", "", "wrong_size"),
    }


def test_one_changed_byte_is_found_even_where_it_does_no_harm(copy):
    path = copy / "light-train-000000.tar"
    content = bytearray(path.read_bytes())
    content[-1] = 1
    path.write_bytes(content)
    assert found(copy) == {("light-train-000000.tar", "", "wrong_hash")}


def test_a_spoilt_sample_costs_itself_alone(copy, make_sample):
    good, bad = (
        make_sample(0, 40, "s0"),
        make_sample(1, 41, "s1", emotion="happy", level=8.0, intensity=2),
    )
    members = encode(bad)
    coefficients = io.BytesIO()
    np.savez(
        coefficients,
        **{name: np.array([{"a": 1}], object) for name in ("id", "exp", "tex", "angle", "trans")},
    )
    for name, reason, change in (
        ("au.npy", "wrong_shape", {"au.npy": encode(replace_au(bad))["au.npy"]}),
        ("coeffs.npz", "pickled", {"coeffs.npz": coefficients.getvalue()}),
        ("flac", "bad_sound", {"flac": b"fLaC" + bytes(90)}),
        ("json", "bad_json", {"json": b"{"}),
    ):
        light = {key: data for key, data in {**members, **change}.items() if key != "mp4"}
        rewrite(
            copy,
            "light-train-000000.tar",
            [(good.key, {k: v for k, v in encode(good).items() if k != "mp4"}), (bad.key, light)],
        )
        assert found(copy) == {("light-train-000000.tar", bad.key, reason)}, name


def replace_au(sample):
    return replace(
        sample,
        meta=replace(sample.meta, frames=40),
        au=sample.au[:40],
        wave=None,
        coefficients=None,
        landmarks=None,
        video=None,
    )


def test_every_frame_is_decoded(copy, make_sample):
    samples = [
        make_sample(
            n, 40 + n, f"s{n}", **({"emotion": "happy", "level": 8.0, "intensity": 2} if n else {})
        )
        for n in range(2)
    ]
    rows = [
        (
            s.key,
            {
                name: data
                for name, data in encode(s).items()
                if name in ("json", "coeffs.npz", "mp4")
            },
        )
        for s in samples
    ]
    rows[0][1]["mp4"] = encode_mp4_bytes([np.zeros((32, 32, 3), np.uint8)] * 39)
    rows[1][1]["mp4"] = rows[1][1]["mp4"][: len(rows[1][1]["mp4"]) // 2]
    rewrite(copy, "video-train-000000.tar", rows)
    assert found(copy) == {
        ("video-train-000000.tar", "clip-000", "length_mismatch"),
        ("video-train-000000.tar", "clip-001", "bad_video"),
    }


def test_what_shows_only_between_archives(copy, make_sample):
    def light(sample):
        return sample.key, {name: data for name, data in encode(sample).items() if name != "mp4"}

    first, second = make_sample(0, 40, "s0"), make_sample(2, 42, "s2")
    rewrite(copy, "light-train-000000.tar", [light(first), light(second)])
    other = make_sample(12, 52, "s9", split="train")
    stranger = replace(make_sample(13, 53, "s8", "val", emotion="happy", level=8.0, intensity=2))
    rewrite(copy, "light-val-000000.tar", [light(other), light(stranger)])
    shutil.copy(copy / "light-val-000001.tar", copy / "light-val-000009.tar")
    assert found(copy) == {
        ("light-train-000001.tar", "clip-002", "duplicate_key"),
        ("video-train-000000.tar", "clip-001", "no_twin"),
        ("light-val-000000.tar", "clip-012", "wrong_split"),
        ("video-val-000000.tar", "clip-012", "another_record"),
        ("video-val-000000.tar", "clip-013", "another_record"),
        ("light-val-000009.tar", "", "unlisted_shard"),
    }


LIES = {
    "splits": lambda r: r["splits"]["train"].update(samples=99),
    "speakers": lambda r: r["speakers"]["s1"].update(samples=99),
    "seconds": lambda r: r["speakers"]["s1"].update(seconds=99.0),
    "people": lambda r: r["splits"]["val"].update(speakers=["s1", "s9"]),
    "emotions": lambda r: r["emotions"]["happy"].update({"8": 99}),
    "samples": lambda r: r.update(samples=99),
    "hours": lambda r: r.update(hours=99.0),
    "failures": lambda r: r.update(failures={}),
}


@pytest.mark.parametrize("lie", LIES)
def test_totals_and_tables_that_do_not_follow_from_the_samples(copy, lie):
    (copy / "failures.jsonl").write_text(
        json.dumps({"clip": "a.mp4", "reason": "empty", "detail": ""}) + "\n"
    )
    record = json.loads((copy / INDEX).read_text()) | {"failures": {"empty": 1}}
    (copy / INDEX).write_text(json.dumps(record))
    assert found(copy) == set()
    LIES[lie](record)
    (copy / INDEX).write_text(json.dumps(record))
    assert found(copy) == {(INDEX, "", "wrong_index")}


def test_archives_that_are_no_archives(copy, tmp_path, make_sample):
    (copy / "light-train-000001.tar").write_bytes(b"no tar at all" * 100)
    agree(copy, "light-train-000001.tar")
    reasons = {
        (key, reason) for shard, key, reason in found(copy) if shard == "light-train-000001.tar"
    }
    assert reasons == {("", "bad_archive"), ("", "wrong_count")}
    with pytest.raises(UserError, match="holds no"):
        verify(tmp_path)
    with ShardWriter(tmp_path / "light", video=False) as writer:
        writer.add(make_sample(0, 20, video=False))
        writer.finish()
    assert verify(tmp_path / "light").findings == []
