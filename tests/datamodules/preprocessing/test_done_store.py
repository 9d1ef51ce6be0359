"""The work folder: what was finished stays, whatever happened to the end of a file."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.preprocessing import done_store as spools
from datamodules.preprocessing.done_store import DoneStore
from datamodules.preprocessing.extraction import Failure
from datamodules.preprocessing.jobs import Job, Kept, Outcome, Settings
from datamodules.sources import Clip
from emo_lightning.core.errors import UserError


def outcome_of(number: int, size: int = 500) -> Outcome:
    payload = np.random.default_rng(number).bytes(size)
    kept = Kept(f"key-{number}", ["blur"], {"json": 100, "mp4": size - 100})
    return Outcome(
        [kept], [Failure(f"{number}.mp4 at 1 s", "face_lost", "späť")], 25, {"fit": 0.5}, payload
    )


def jobs(count: int) -> list[Job]:
    return [Job(Clip(f"{number}.mp4", None, "anna"), f"digest {number}") for number in range(count)]


def fill(folder, count: int) -> None:
    with DoneStore(folder) as spool:
        for number, job in enumerate(jobs(count)):
            spool.add(job, outcome_of(number))


def test_what_was_added_is_there_again(tmp_path):
    fill(tmp_path / "work", 5)
    with DoneStore(tmp_path / "work") as spool:
        for number, job in enumerate(jobs(5)):
            assert spool.has(job) and not spool.has(Job(job.clip, "other labels"))
            outcome, payload = spool.outcome(job), spool.payload(job)
            assert (
                payload == outcome_of(number).payload
                and outcome.to_dict() == outcome_of(number).to_dict()
            )
            ((key, members),) = outcome.members(payload)
            assert key == f"key-{number}" and members == {
                "json": payload[:100],
                "mp4": payload[100:],
            }
        assert not spool.has(jobs(6)[5])


def test_a_file_that_breaks_off_anywhere_keeps_all_whole_entries(tmp_path):
    fill(tmp_path / "work", 3)
    path = tmp_path / "work" / "clips-000000.bin"
    data = path.read_bytes()
    ends = [0, *(data.index(b"EMOC", 1 + n) for n in (0, len(data) // 3 + 10)), len(data)]
    for end in [*range(0, len(data), 97), *ends, *(e - 1 for e in ends[1:])]:
        path.write_bytes(data[:end])
        with DoneStore(tmp_path / "work") as spool:
            assert [spool.has(job) for job in jobs(3)] == [end >= whole for whole in ends[1:]]


def test_a_run_that_goes_on_writes_behind_what_broke_off(tmp_path):
    fill(tmp_path / "work", 2)
    path = tmp_path / "work" / "clips-000000.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with DoneStore(tmp_path / "work") as spool:
        spool.add(jobs(3)[2], outcome_of(2))
    with DoneStore(tmp_path / "work") as spool:
        assert [spool.has(job) for job in jobs(3)] == [True, False, True]
        spool.add(jobs(2)[1], outcome_of(7))
        assert spool.payload(jobs(2)[1]) == outcome_of(7).payload


def test_bytes_that_the_disk_lost_are_not_taken(tmp_path):
    fill(tmp_path / "work", 2)
    path = tmp_path / "work" / "clips-000000.bin"
    data = bytearray(path.read_bytes())
    with DoneStore(tmp_path / "work") as spool:
        data[-5:] = bytes(5)
        path.write_bytes(data)
        assert spool.payload(jobs(2)[0]) is not None and spool.payload(jobs(2)[1]) is None
    with DoneStore(tmp_path / "work") as spool:
        assert [spool.has(job) for job in jobs(2)] == [True, False]


def test_many_files_are_read_with_few_open(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "SEGMENT_BYTES", 600)
    fill(tmp_path / "work", 40)
    assert len(list((tmp_path / "work").glob("clips-*.bin"))) == 40
    with DoneStore(tmp_path / "work") as spool:
        assert all(
            spool.payload(job) == outcome_of(number).payload for number, job in enumerate(jobs(40))
        )
        assert len(spool._readers) == spools.OPEN_FILES


def test_two_runs_cannot_share_a_folder(tmp_path):
    with DoneStore(tmp_path / "work"), pytest.raises(UserError, match="written by another run"):
        DoneStore(tmp_path / "work")
    DoneStore(tmp_path / "work").close()


def test_a_changed_file_or_label_is_another_job(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    clip = Clip("a.wav", None, "anna", path)
    job = Job.of(clip, "folder", Settings())
    assert job == Job.of(clip, "folder", Settings(samples_per_shard=2))
    assert (
        job.made_of
        != Job.of(Clip("a.wav", None, "anna", path, emotion="sad"), "folder", Settings()).made_of
    )
    assert job.made_of != Job.of(clip, "folder", Settings(size=64)).made_of
    path.write_bytes(b"other sound")
    assert job.made_of != Job.of(clip, "folder", Settings()).made_of
