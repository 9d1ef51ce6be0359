"""Workers hang and die; that costs their clip and nothing else, and none outlives the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest
import soundfile

from datamodules.preprocessing.engines import Engine, extract_all, open_pool
from datamodules.preprocessing.engines.extract_worker import ExtractWorker
from datamodules.preprocessing.jobs import Job, Outcome, Recipe, Settings
from datamodules.sources import Clip
from emo_lightning.core.errors import UserError
from emo_lightning.media.video_writer import write_video

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="looks for processes in /proc"
)
SOUND_ALONE = Recipe("test", 64, "mediapipe", False, 60.0, False)


@pytest.fixture
def clips(tmp_path) -> list[Clip]:
    """Three recordings, and before them a video with a table that nobody ever finishes reading: a pipe."""
    os.mkfifo(tmp_path / "pipe")
    wave = (0.2 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    write_video(tmp_path / "stuck.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 25, wave)
    found = [Clip("stuck.mp4", tmp_path / "stuck.mp4", "anna", aus=tmp_path / "pipe")]
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000)
        found.append(Clip(f"{name}.wav", None, "anna", tmp_path / f"{name}.wav"))
    return found


def extracted(
    clips: list[Clip], engine: str = "local", workers: int = 1, clip_seconds: float = 60.0
) -> dict[str, Outcome]:
    jobs = [Job.of(clip, "test", Settings()) for clip in clips]
    with closing(open_pool(Engine(engine), workers, SOUND_ALONE)) as pool:
        return {job.clip.name: outcome for job, outcome in extract_all(pool, jobs, clip_seconds)}


def kill_twice_when_stuck(pipe: os.PathLike, worker: Callable[[], int]) -> threading.Thread:
    """Whoever opens the pipe is killed, both times."""

    def kill() -> None:
        for _ in range(2):
            end = os.open(pipe, os.O_WRONLY)
            pid = worker()
            os.kill(pid, signal.SIGKILL)
            while os.path.exists(f"/proc/{pid}"):
                time.sleep(0.01)
            os.close(end)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def check(found: dict[str, Outcome], reason: str) -> None:
    assert set(found) == {"stuck.mp4", "a.wav", "b.wav", "c.wav"}
    (failure,) = found.pop("stuck.mp4").failures
    assert (failure.clip, failure.reason) == ("stuck.mp4", reason)
    assert all(len(outcome.samples) == 1 and not outcome.failures for outcome in found.values())


def test_a_decoder_that_hangs_is_ended(clips):
    check(extracted(clips, clip_seconds=1.0), "timeout")
    assert not multiprocessing.active_children()


def test_one_worker_that_dies_costs_its_clip_alone(clips, tmp_path):
    thread = kill_twice_when_stuck(
        tmp_path / "pipe", lambda: multiprocessing.active_children()[0].pid
    )
    found = extracted(clips)
    thread.join(10)
    assert "SIGKILL" in found["stuck.mp4"].failures[0].detail
    check(found, "crashed")


def test_a_clip_whose_worker_was_killed_is_tried_again(clips, tmp_path):
    def act() -> None:
        end = os.open(tmp_path / "pipe", os.O_WRONLY)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        (tmp_path / "pipe").unlink()
        (tmp_path / "pipe").write_text("no table")
        os.close(end)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    check(extracted(clips), "bad_import")
    thread.join(10)


def test_a_worker_that_cannot_start_says_why():
    recipe = Recipe("test", 64, "no such back-end", False, 60.0, True)
    jobs = [Job(Clip("a.mp4", None, "anna"), "")]
    with (
        closing(open_pool(Engine(), 1, recipe)) as pool,
        pytest.raises(UserError, match="is not a landmark back end"),
    ):
        list(extract_all(pool, jobs, 60.0))
    assert not multiprocessing.active_children()


def test_a_file_that_changes_while_it_is_read_is_told(clips, tmp_path):
    def act() -> None:
        (tmp_path / "other").write_text("another table")
        with open(tmp_path / "pipe", "wb"):
            os.replace(tmp_path / "other", tmp_path / "pipe")

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    outcome = ExtractWorker(SOUND_ALONE).extract(clips[0])
    thread.join(10)
    assert [failure.reason for failure in outcome.failures] == ["changed"]


def test_engines_are_refused_in_a_line():
    for engine, workers, address, said in (
        ("dask", 1, None, "local, ray"),
        ("local", 257, None, "1 to 256"),
        ("local", 1, "auto", "of no use to the local engine"),
    ):
        with pytest.raises(UserError, match=said):
            open_pool(Engine(engine, address), workers, SOUND_ALONE)
