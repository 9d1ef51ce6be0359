"""Actors of a real Ray, started here: the same bytes as processes give, and nothing of it is left."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.preprocessing.engines import Engine, extract_all, open_pool
from datamodules.preprocessing.jobs import Job, Recipe, Settings
from datamodules.preprocessing.pipeline import preprocess
from datamodules.sources import Clip, open_source
from emo_lightning.core.errors import UserError
from emo_lightning.media.video_writer import write_video
from tests.datamodules.preprocessing.test_interrupted import a_clip_is_stored, killed_when
from tests.datamodules.preprocessing.test_pipeline import nodding, voice

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray, an optional extra, is not installed"
    ),
    pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks for processes in /proc"),
]


@pytest.fixture(autouse=True)
def no_litter():
    """A run that was killed leaves Ray's small session folder, as any killed program leaves its temporary files."""
    before = set(Path("/tmp").glob("emo-ray-*"))
    yield
    for folder in set(Path("/tmp").glob("emo-ray-*")) - before:
        shutil.rmtree(folder, ignore_errors=True)


def of_ray() -> dict[int, str]:
    """Processes of Ray by their command lines."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if "emo-ray-" in line or line.startswith("ray::"):
                found[int(path.name)] = line
    return found


def left(before: dict[int, str], killed: bool = False) -> dict[int, str]:
    """Processes of Ray that do not go. Two small agents that look after the others notice a kill -9 only after a minute."""
    end = time.monotonic() + 20.0
    while True:
        found = {
            pid: line
            for pid, line in of_ray().items()
            if pid not in before and not (killed and "Agent" in line)
        }
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def test_a_killed_run_goes_on_to_the_bytes_of_local_workers(tmp_path):
    root, before = tmp_path / "in", of_ray()
    root.mkdir()
    for number in range(5):
        write_video(root / f"{number}.mp4", nodding(12 + number, 96), voice(12 + number))
    (root / "5.mp4").write_text("no video")
    whole = {}
    for workers in (1, 2):
        out = tmp_path / str(workers)
        preprocess(open_source("folder", root), out, workers, settings=Settings(size=64))
        whole[workers] = {path.name: path.read_bytes() for path in out.iterdir()}
    assert whole[1] == whole[2]

    out = tmp_path / "ray"
    argv = [
        "preprocess",
        "--source",
        "folder",
        "--root",
        str(root),
        "--out",
        str(out),
        "--size",
        "64",
        "--workers",
        "2",
        "--engine",
        "ray",
    ]
    command = [sys.executable, "-m", "emo_lightning.cli", *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    killed_when(process, a_clip_is_stored(out, process.pid, set()))
    assert left(before, killed=True) == {} and not (out / "index.json").exists()
    before = of_ray()

    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("preprocess: ") for line in done.stderr.splitlines()), done.stderr
    assert all(line.startswith(("wrote ", "  ")) for line in done.stdout.splitlines()), done.stdout
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole[1]
    assert left(before) == {}


def test_actors_that_hang_or_die_are_told(tmp_path):
    before = of_ray()
    clips = []
    for name in ("hangs", "dies"):
        os.mkfifo(tmp_path / name)
        write_video(tmp_path / f"{name}.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 25, voice(25))
        clips.append(Clip(f"{name}.mp4", tmp_path / f"{name}.mp4", "anna", aus=tmp_path / name))
    soundfile.write(tmp_path / "fine.wav", voice(25), 16000)
    clips.append(Clip("fine.wav", None, "bert", tmp_path / "fine.wav"))

    def kill() -> None:
        for _ in range(2):
            end = os.open(tmp_path / "dies", os.O_WRONLY)
            (pid,) = [pid for pid in of_ray() if (tmp_path / "dies").as_posix() in opened(pid)]
            os.kill(pid, signal.SIGKILL)
            while os.path.exists(f"/proc/{pid}"):
                time.sleep(0.01)
            os.close(end)

    threading.Thread(target=kill, daemon=True).start()
    jobs = [Job.of(clip, "test", Settings()) for clip in clips]
    with closing(
        open_pool(Engine("ray"), 2, Recipe("test", 64, "mediapipe", False, 3.0, False))
    ) as pool:
        found = {job.clip.name: outcome for job, outcome in extract_all(pool, jobs, 3.0)}
    assert [failure.reason for failure in found["hangs.mp4"].failures] == ["timeout"]
    assert [failure.reason for failure in found["dies.mp4"].failures] == ["crashed"]
    assert len(found["fine.wav"].samples) == 1 and left(before) == {}


def test_a_cluster_that_is_not_there_is_a_line(tmp_path, capfd):
    before = of_ray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        UserError, match=f"--ray-address '127.0.0.1:{port}' cannot be reached .*refused"
    ):
        open_pool(
            Engine("ray", f"127.0.0.1:{port}"),
            2,
            Recipe("test", 64, "mediapipe", False, 3.0, False),
        )
    assert capfd.readouterr() == ("", "") and left(before) == {}


def opened(pid: int) -> set[str]:
    """Files that a process has open."""
    try:
        return {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return set()
