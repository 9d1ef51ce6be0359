"""The work folder: finished clips stay, whatever happens to the process or the disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from datamodules.preprocessing.done_store import DATABASE, DoneStore
from datamodules.preprocessing.extraction import Failure
from datamodules.preprocessing.jobs import EncodedSample, Job, Outcome, Settings
from datamodules.sources import Clip
from emo_lightning.core.errors import UserError


def outcome_of(number: int, size: int = 500) -> Outcome:
    payloads = [np.random.default_rng([number, i]).bytes(size) for i in range(2)]
    samples = [
        EncodedSample(f"key-{number}-{i}", ["blur"], {"json": 100, "mp4": size - 100})
        for i in range(2)
    ]
    failures = [Failure(f"{number}.mp4 at 1 s", "face_lost", "späť")]
    return Outcome(samples, failures, 25, {"fit": 0.5}, payloads)


def jobs(count: int) -> list[Job]:
    return [Job(Clip(f"{number}.mp4", None, "anna"), f"digest {number}") for number in range(count)]


def fill(folder, count: int) -> None:
    with DoneStore(folder) as store:
        for number, job in enumerate(jobs(count)):
            store.add(job, outcome_of(number))


def test_outcomes_are_found_again(tmp_path):
    fill(tmp_path / "work", 5)
    with DoneStore(tmp_path / "work") as store:
        for number, job in enumerate(jobs(5)):
            assert store.has(job) and not store.has(Job(job.clip, "other labels"))
            outcome, expected = store.outcome(job), outcome_of(number)
            assert outcome.to_dict() == expected.to_dict() and not outcome.payloads
            for i, sample in enumerate(outcome.samples):
                payload = store.payload(job, i)
                assert payload == expected.payloads[i]
                assert sample.split(payload) == {"json": payload[:100], "mp4": payload[100:]}
            assert store.payload(job, 2) is None
        assert not store.has(jobs(6)[5])


def test_a_clip_added_again_replaces_the_first(tmp_path):
    fill(tmp_path / "work", 2)
    other = Job(jobs(2)[1].clip, "other labels")
    with DoneStore(tmp_path / "work") as store:
        store.add(other, Outcome(outcome_of(7).samples[:1], payloads=outcome_of(7).payloads[:1]))
        assert store.has(other) and not store.has(jobs(2)[1])
    with DoneStore(tmp_path / "work") as store:
        assert store.payload(other, 0) == outcome_of(7).payloads[0]
        assert store.payload(other, 1) is None and store.has(jobs(2)[0])


def test_a_process_killed_between_its_writes_loses_no_finished_clip(tmp_path):
    code = f"""
from tests.datamodules.preprocessing.test_done_store import *
store = DoneStore(__import__("pathlib").Path({str(tmp_path / "work")!r}))
for number, job in enumerate(jobs(1000)):
    store.add(job, outcome_of(number, 100_000))
    print(number, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    done = [int(process.stdout.readline()) for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with DoneStore(tmp_path / "work") as store:
        for number in done:
            expected = outcome_of(number, 100_000).payloads[1]
            assert store.payload(jobs(1000)[number], 1) == expected


def test_a_full_disk_is_an_os_error_and_keeps_what_was_there(tmp_path):
    fill(tmp_path / "work", 2)
    with DoneStore(tmp_path / "work") as store:
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OSError, match="No space left"):
            store.add(jobs(3)[2], outcome_of(2, 1_000_000))
        assert [store.has(job) for job in jobs(3)] == [True, True, False]
    with DoneStore(tmp_path / "work") as store:
        assert [store.has(job) for job in jobs(3)] == [True, True, False]
        store.add(jobs(3)[2], outcome_of(2))
        assert store.payload(jobs(3)[2], 1) == outcome_of(2).payloads[1]


def test_bytes_that_the_disk_lost_are_not_used(tmp_path):
    fill(tmp_path / "work", 2)
    with sqlite3.connect(tmp_path / "work" / DATABASE) as database:
        database.execute("UPDATE samples SET payload = zeroblob(500) WHERE clip = '1.mp4'")
    database.close()
    with DoneStore(tmp_path / "work") as store:
        assert store.payload(jobs(2)[0], 0) == outcome_of(0).payloads[0]
        assert store.payload(jobs(2)[1], 0) is None


def test_a_damaged_database_says_what_to_do(tmp_path):
    fill(tmp_path / "work", 2)
    path = tmp_path / "work" / DATABASE
    path.write_bytes(b"no database at all" + os.urandom(20_000))
    with pytest.raises(UserError, match="is damaged .*delete the folder to begin anew"):
        DoneStore(tmp_path / "work")


def test_two_runs_cannot_share_a_folder(tmp_path):
    with DoneStore(tmp_path / "work"), pytest.raises(UserError, match="written by another run"):
        DoneStore(tmp_path / "work")
    DoneStore(tmp_path / "work").close()


def test_a_changed_file_or_label_is_another_job(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    clip = Clip("a.wav", None, "anna", path)
    job = Job.of(clip, "folder", Settings())
    sad = Clip("a.wav", None, "anna", path, emotion="sad")
    assert job == Job.of(clip, "folder", Settings(samples_per_shard=2))
    assert job.made_of != Job.of(sad, "folder", Settings()).made_of
    assert job.made_of != Job.of(clip, "folder", Settings(size=64)).made_of
    path.write_bytes(b"other sound")
    assert job.made_of != Job.of(clip, "folder", Settings()).made_of
