"""A run that is killed, or meets a full disk, at any moment goes on to the very bytes of one that was left alone."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.preprocessing.pipeline import WORK, Settings, preprocess
from datamodules.sources import open_source
from emo_lightning.core.errors import UserError
from emo_lightning.media.video_writer import write_video
from tests.datamodules.preprocessing.test_pipeline import nodding, voice

CLIPS = 21


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A small video, twenty recordings of RAVDESS and a file that is neither."""
    root = tmp_path_factory.mktemp("interrupted") / "in"
    root.mkdir()
    for actor in (1,):
        write_video(root / f"01-01-03-01-01-01-{actor:02d}.mp4", nodding(12, 96), voice(12))
    for number in range(20):
        wave = 0.2 * np.random.default_rng(number).standard_normal(16000)
        soundfile.write(
            root / f"03-01-0{1 + number % 8}-01-01-02-{1 + number:02d}.wav", wave, 16000
        )
    (root / "03-01-03-01-02-01-24.wav").write_text("no sound")
    return root


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory) -> dict[str, bytes]:
    """What a run that nothing happens to writes."""
    out = tmp_path_factory.mktemp("whole") / "set"
    preprocess(open_source("ravdess", corpus), out, settings=Settings(size=64))
    return contents(out)


@pytest.fixture(scope="module")
def extracted(corpus, tmp_path_factory) -> Path:
    """A folder where all is extracted and nothing packed."""
    out = tmp_path_factory.mktemp("extracted") / "set"

    def stop(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess(
            open_source("ravdess", corpus), out, 2, settings=Settings(size=64), progress=stop
        )
    return out


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def begun(corpus: Path, out: Path, *more: str, **options) -> subprocess.Popen:
    argv = [
        "preprocess",
        "--source",
        "ravdess",
        "--root",
        str(corpus),
        "--out",
        str(out),
        "--size",
        "64",
        *more,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "emo_lightning.cli", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def killed_when(process: subprocess.Popen, moment: Callable[[], bool]) -> None:
    """Kill it, and nothing but it, as soon as something is so, or let it end."""
    while process.poll() is None and not moment():
        time.sleep(0.001)
    process.kill()
    process.communicate()


def resumed(corpus: Path, out: Path, **options) -> dict[str, bytes]:
    preprocess(
        open_source("ravdess", corpus), out, resume=True, settings=Settings(size=64), **options
    )
    return contents(out)


def stored_bytes(out: Path) -> int:
    """Size of the work folder."""
    return sum(path.stat().st_size for path in (out / WORK).glob("*"))


def a_clip_is_stored(out: Path, pid: int, workers: set[int]) -> Callable[[], bool]:
    """Whether a run has workers and stored a clip since they started; adds them to ``workers``."""
    before = -1

    def moment() -> bool:
        nonlocal before
        found = descendants(pid)
        if len(found) < 3:  # two workers and the tracker of their resources
            return False
        before = stored_bytes(out) if before < 0 else before
        workers.update(found)
        return stored_bytes(out) > before + 1000

    return moment


def descendants(pid: int) -> set[int]:
    """Processes below this one."""
    found = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return found.union(*(descendants(child) for child in found))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: set[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
def test_killed_while_extracting(corpus, whole, tmp_path):
    out, more = tmp_path / "set", ()
    for _ in range(2):
        process, workers = begun(corpus, out, "--workers", "2", *more), set()
        killed_when(process, a_clip_is_stored(out, process.pid, workers))
        assert gone(workers, 10.0) and workers
        assert not (out / "index.json").exists()
        more = ("--resume",)
    steps = []
    assert (
        resumed(corpus, out, workers=2, progress=lambda done, total: steps.append((done, total)))
        == whole
    )
    assert 1 <= len(steps) < CLIPS + 1 and steps[-1] == (CLIPS + 1, CLIPS + 1)


def test_killed_while_packing(corpus, whole, extracted, tmp_path):
    moments = [
        lambda out: any(out.glob(".*.part")),
        lambda out: (out / "failures.jsonl").exists(),
        lambda out: any(out.glob("*.tar")),
    ]
    unfinished = 0
    for number, moment in enumerate(moments):
        out = tmp_path / str(number)
        shutil.copytree(extracted, out)
        killed_when(begun(corpus, out, "--resume"), lambda out=out, moment=moment: moment(out))
        unfinished += not (out / "index.json").exists()
        assert resumed(corpus, out) == whole
    assert unfinished


def test_interrupted_at_a_terminal(corpus, whole, tmp_path):
    """Ctrl-C goes to the command and its workers alike."""
    out = tmp_path / "set"
    process = begun(corpus, out, "--workers", "2", start_new_session=True)
    stored = a_clip_is_stored(out, process.pid, set())
    while process.poll() is None and not stored():
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (130, "emo: interrupted\n")
    assert resumed(corpus, out) == whole


def test_a_disk_that_takes_no_more(corpus, whole, tmp_path):
    """The limit is real: the system refuses to let any file of that process grow beyond it."""
    out = tmp_path / "set"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); "
    argv = [
        "preprocess",
        "--source",
        "ravdess",
        "--root",
        str(corpus),
        "--out",
        str(out),
        "--size",
        "64",
    ]
    for more in ([], ["--resume"]):
        code = (
            f"{limit}import sys; from emo_lightning.cli import main; sys.exit(main({argv + more}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert str(out) in done.stderr and "free some" in done.stderr and "--resume" in done.stderr
        assert [path.name for path in out.iterdir()] == [WORK]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert resumed(corpus, out) == whole


def test_a_disk_that_fills_up_while_packing(corpus, whole, extracted, tmp_path):
    """On a file system of its own, of every size from what the work takes to what the shards need."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small file system takes privileges")
    try:
        shutil.copytree(extracted, disk / "set")
        work = stored_bytes(disk / "set")
        needed = sum(map(len, whole.values()))
        refused = 0
        for size in np.linspace(work + 16384, work + 1.5 * needed + 65536, 8):
            subprocess.run(["mount", "-o", f"remount,size={int(size)}", str(disk)], check=True)
            try:
                assert resumed(corpus, disk / "set") == whole
            except UserError as error:
                refused += 1
                assert "is full (No space left on device)" in str(error)
                assert {path.name for path in (disk / "set").iterdir()} <= {
                    WORK,
                    "failures.jsonl",
                    *whole,
                }
                assert not (disk / "set" / "index.json").exists()
        assert refused and contents(disk / "set") == whole
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_cannot_be_opened_is_told(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    write_video(root / "good.mp4", nodding(12, 96), voice(12))
    (root / "folder.mp4").mkdir()
    (root / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (root / "manifest.csv").write_text(
        "path,speaker\ngood.mp4,anna\nfolder.mp4,bert\ndangling.mp4,cora\n"
    )
    report = preprocess(open_source("folder", root), tmp_path / "set", settings=Settings(size=64))
    assert {failure.clip: failure.reason for failure in report.failures} == {
        "folder.mp4": "bad_manifest",
        "dangling.mp4": "bad_manifest",
    }
    assert (report.index.samples, report.clips, report.lost) == (1, 3, 2)
