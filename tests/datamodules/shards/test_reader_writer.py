"""Writing and reading shard sets: equal bytes, atomic appearance, hostile archives."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from datamodules.shards.index import read_index
from datamodules.shards.reader import iter_samples, read_samples
from datamodules.shards.schema import SampleError, decode, encode
from datamodules.shards.splits import assign_splits
from datamodules.shards.writer import ShardWriter
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import BUILTIN


def archive(*entries: tuple[str, bytes | None]) -> io.BytesIO:
    """A tar with these members; None makes a link to a file outside."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(data)
            tar.addfile(info, None if data is None else io.BytesIO(data))
    return io.BytesIO(buffer.getvalue())


def test_the_index_tells_what_there_is(shard_set):
    index = read_index(shard_set)
    assert (index.samples, index.layout) == (16, BUILTIN)
    assert index.hours == pytest.approx(sum(40 + n for n in range(16)) / 25 / 3600, abs=1e-6)
    assert [(s.name, s.samples) for s in index.of("light", "val")] == [
        ("light-val-000000.tar", 2),
        ("light-val-000001.tar", 2),
    ]
    assert len(index.of("video", "train")) == len(index.of("light", "train")) == 6
    assert index.emotions == {"unknown": {"unknown": 8}, "happy": {"8": 8}}
    assert index.splits["val"]["speakers"] == ["s9"] and index.speakers["s0"] == {
        "samples": 3,
        "seconds": 5.28,
        "split": "train",
    }
    for shard in index.shards:
        data = (shard_set / shard.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
    assert {path.name for path in shard_set.iterdir()} == {"index.json"} | {
        shard.name for shard in index.shards
    }


def test_samples_come_back_in_order_and_by_split(shard_set):
    assert [s.key for s in iter_samples(shard_set, "val")] == [
        f"clip-{n:03d}" for n in range(12, 16)
    ]
    everything = list(iter_samples(shard_set, parts={"wave", "video", "landmarks"}))
    assert len(everything) == 16
    assert all(s.wave is not None and s.video is not None and s.au is None for s in everything)


def test_the_same_samples_give_the_same_bytes(tmp_path, make_sample):
    digests = []
    for name in ("a", "b"):
        with ShardWriter(tmp_path / name, samples_per_shard=2) as writer:
            for number in range(3):
                writer.add(make_sample(number, 20))
            digests.append([(s.name, s.sha256) for s in writer.finish().shards])
    assert digests[0] == digests[1]


def test_webdataset_reads_them(shard_set):
    import webdataset

    urls = [str(shard_set / shard.name) for shard in read_index(shard_set).of("light", "train")]
    rows = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [row["__key__"] for row in rows] == [f"clip-{n:03d}" for n in range(12)]
    assert set(rows[0]) >= {"json", "flac", "coeffs.npz", "au.npy", "landmarks.npy"}


def test_nothing_appears_before_the_end_or_after_a_failure(tmp_path, make_sample):
    with (
        pytest.raises(KeyboardInterrupt),
        ShardWriter(tmp_path / "a", samples_per_shard=1) as writer,
    ):
        writer.add(make_sample(0, 20))
        writer.add(make_sample(1, 20))
        assert not [path for path in (tmp_path / "a").iterdir() if not path.name.startswith(".")]
        raise KeyboardInterrupt
    assert list((tmp_path / "a").iterdir()) == []


def test_bad_samples_and_places_are_refused(tmp_path, make_sample, shard_set):
    writer = ShardWriter(tmp_path / "a")
    writer.add(make_sample(0, 20))
    with pytest.raises(SampleError, match="duplicate"):
        writer.add(make_sample(0, 20))
    with pytest.raises(SampleError, match="mp4"):
        writer.add(make_sample(1, 20, video=False))
    writer.discard()
    with pytest.raises(UserError, match="at least one"):
        ShardWriter(tmp_path / "a").finish()
    with pytest.raises(UserError, match="finished shard set"):
        ShardWriter(shard_set)
    ShardWriter(tmp_path / "new" / "folder").discard()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        ShardWriter(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be made"):
        ShardWriter(tmp_path / "file" / "below")


def test_light_shards_alone(tmp_path, make_sample):
    writer = ShardWriter(tmp_path / "a", video=False)
    writer.add(make_sample(0, 20, video=False))
    assert [shard.set for shard in writer.finish().shards] == ["light"]
    assert len(list(iter_samples(tmp_path / "a", parts={"wave"}))) == 1


def test_clips_without_pictures_or_without_sound_have_sets_of_their_own(tmp_path, make_sample):
    whole, heard, seen = make_sample(0, 20), make_sample(1, 20), make_sample(2, 20)
    heard = replace(heard, coefficients=None, au=None, landmarks=None, video=None)
    seen = replace(seen, wave=None)
    with ShardWriter(tmp_path / "a") as writer:
        for sample in (whole, heard, seen):
            writer.add(sample)
        with pytest.raises(SampleError, match="missing_member"):
            writer.add(replace(seen, key="none", video=None))
        index = writer.finish()
    assert [(shard.set, shard.samples) for shard in index.shards] == [
        ("light", 1),
        ("video", 1),
        ("mute", 1),
        ("audio", 1),
    ]
    assert [shard.set for shard in index.of("video", "train")] == [
        "video",
        "mute",
    ] and index.samples == 3

    def keys(*parts):
        return [sample.key for sample in iter_samples(tmp_path / "a", parts=parts)]

    assert keys("wave", "au", "coefficients", "landmarks", "video") == ["clip-000"]
    assert keys("wave") == ["clip-000", "clip-001"] and keys("video", "au") == [
        "clip-000",
        "clip-002",
    ]


def test_a_member_of_three_gigabytes_is_never_taken_into_memory(make_sample):
    header = tarfile.TarInfo("huge.au.npy")
    header.size = 3 << 30
    good = archive(
        *[(f"clip-001.{name}", data) for name, data in encode(make_sample(1, 20)).items()]
    ).getvalue()
    stream = io.BytesIO(
        good.rstrip(b"\0")
        + bytes(-len(good.rstrip(b"\0")) % 512)
        + header.tobuf(tarfile.GNU_FORMAT)
        + bytes(4 << 20)
    )
    tracemalloc.start()
    found = dict(read_samples(stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        isinstance(found["clip-001"], dict) and found[""].reason == "bad_archive" and peak < 4 << 20
    )


def test_a_pickle_member_is_never_looked_at(make_sample):
    members = [(f"clip-001.{name}", data) for name, data in encode(make_sample(1, 20)).items()]
    found = dict(
        read_samples(
            archive(
                *members, ("clip-001.pkl", b"\x80\x04]\x94."), ("clip-001.pyd", b"cposix\nsystem\n")
            )
        )
    )
    assert set(found["clip-001"]) == {name.removeprefix("clip-001.") for name, _ in members}


def test_indexes_that_lie_are_refused(tmp_path, shard_set):
    with pytest.raises(UserError, match="does not exist"):
        read_index(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no index\.json"):
        read_index(tmp_path)
    good = json.loads((shard_set / "index.json").read_text())
    evil = {**good, "shards": [{**good["shards"][0], "name": "../../secret.tar"}]}
    for record in ("{", [], {**good, "version": 99}, {**good, "layout": None}, evil):
        (tmp_path / "index.json").write_text(
            record if isinstance(record, str) else json.dumps(record)
        )
        with pytest.raises(UserError, match="cannot be read"):
            read_index(tmp_path)


def test_a_hostile_archive_costs_only_what_is_bad(make_sample):
    good = encode(make_sample(1, 20))
    rows = [(f"clip-001.{name}", data) for name, data in good.items()]
    stream = archive(
        ("../../evil.json", b"{}"),
        ("/etc/evil.json", b"{}"),
        ("link.json", None),
        ("huge.json", bytes(3 << 20)),
        *rows,
        ("twice.json", b"{}"),
        ("twice.json", b"{}"),
        ("notes.txt", b"hello"),
        ("last.json", good["json"]),
    )
    found = list(read_samples(stream))
    reasons = {key: value.reason for key, value in found if isinstance(value, SampleError)}
    assert reasons == {
        "../../evil.json": "bad_key",
        "/etc/evil.json": "bad_key",
        "link": "bad_archive",
        "huge": "member_too_large",
        "twice": "duplicate_member",
    }
    fine = {key: value for key, value in found if isinstance(value, dict)}
    assert (
        fine["clip-001"] == good
        and fine["notes"] == {}
        and set(fine) == {"clip-001", "notes", "last"}
    )


def test_a_cut_archive_gives_what_is_whole(make_sample):
    entries = [
        (f"clip-{n:03d}.{name}", data)
        for n in range(3)
        for name, data in encode(make_sample(n, 20)).items()
    ]
    data = archive(*entries).getvalue()
    found = list(read_samples(io.BytesIO(data[: 2 * len(data) // 3])))
    assert isinstance(found[-1][1], SampleError) and found[-1][1].reason == "bad_archive"
    assert [key for key, value in found if isinstance(value, dict)][:1] == ["clip-000"]
    assert [
        v.reason
        for _, v in read_samples(io.BytesIO(b"no archive" * 100))
        if isinstance(v, SampleError)
    ] == ["bad_archive"]


def test_bad_samples_are_counted_and_passed_over(tmp_path, make_sample):
    with ShardWriter(tmp_path / "a") as writer:
        for number in range(3):
            writer.add(make_sample(number, 20))
        index = writer.finish()
    path = tmp_path / "a" / index.of("light", "train")[0].name
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"speaker":"s0"', b'"speaker": 123', 1))
    failures = Counter()
    assert [s.key for s in iter_samples(tmp_path / "a", failures=failures)] == [
        "clip-001",
        "clip-002",
    ]
    assert failures == {"bad_meta": 1}


def test_splits_follow_the_speaker_alone():
    names = [f"speaker {n}" for n in range(500)]
    splits = assign_splits(names)
    counts = Counter(splits.values())
    assert 30 < counts["val"] < 75 and 30 < counts["test"] < 75
    assert assign_splits(reversed(names)) == splits
    assert {
        name: split for name, split in assign_splits([*names, "new"]).items() if name != "new"
    } == splits
    for count in range(2, 12):
        for start in range(0, 60, count):
            few = assign_splits(names[start : start + count])
            assert {"train", "val"} <= set(few.values())
    assert assign_splits(["one"]) == {"one": "train"} and assign_splits([]) == {}


def test_decoding_is_the_inverse_of_what_the_writer_stores(shard_set, make_sample):
    first = next(iter_samples(shard_set))
    again = decode(first.key, encode(first))
    np.testing.assert_array_equal(again.wave, first.wave)
    np.testing.assert_array_equal(first.coefficients["exp"][:, 0], np.arange(40))
