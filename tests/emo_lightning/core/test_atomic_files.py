"""Output files replace neither inputs nor files of the user's, and leftovers are removed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from emo_lightning.core import atomic_files
from emo_lightning.core.atomic_files import (
    MARK,
    atomic_file,
    check_file,
    check_outputs,
    publish,
    staging,
    sweep,
)
from emo_lightning.core.errors import UserError


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A video, its npz and its sidecar, as this program leaves them."""
    video, npz, sidecar = (tmp_path / f"o.{kind}" for kind in ("mp4", "npz", "json"))
    video.write_bytes(b"video")
    npz.write_bytes(b"numbers")
    hashes = {path.name: sha256(path.read_bytes()).hexdigest() for path in (video, npz)}
    sidecar.write_text(json.dumps({"generator": MARK, "outputs": hashes}))
    return video, npz, sidecar


def test_our_own_files_are_replaced(outputs):
    check_outputs(outputs, "--out")


@pytest.mark.parametrize("changed", [0, 1])
def test_a_file_that_the_user_changed_is_not_replaced(outputs, changed):
    outputs[changed].write_bytes(b"edited")
    with pytest.raises(UserError, match="was not made by this program.*--overwrite"):
        check_outputs(outputs, "--out")
    check_outputs(outputs, "--out", overwrite=True)


@pytest.mark.parametrize("kind", ["mp4", "npz", "json"])
def test_a_users_file_of_the_same_name_is_not_replaced(tmp_path, kind):
    mine = tmp_path / f"hello.{kind}"
    mine.write_text('{"text": "a transcript of mine"}')
    names = [tmp_path / f"hello.{end}" for end in ("mp4", "npz", "json")]
    with pytest.raises(UserError, match=rf"hello\.{kind}' exists and was not made"):
        check_outputs(names, "--out")
    assert "mine" in mine.read_text()


def test_an_input_is_never_replaced_under_any_name(outputs, tmp_path):
    link, hard = tmp_path / "link.mp4", tmp_path / "hard.mp4"
    link.symlink_to(outputs[0])
    hard.hardlink_to(outputs[0])
    for source in (outputs[0], link, hard, os.path.relpath(outputs[0])):
        with pytest.raises(UserError, match="is an input"):
            check_outputs(outputs, "--out", [None, source], overwrite=True)


def test_write_protection_folders_and_links_to_nowhere_are_respected(outputs, tmp_path):
    outputs[0].chmod(0o444)
    with pytest.raises(UserError, match="write-protected"):
        check_outputs(outputs, "--out", overwrite=True)
    (tmp_path / "p.json").mkdir()
    (tmp_path / "p.npz").symlink_to(tmp_path / "nowhere")
    for end in ("json", "npz"):
        with pytest.raises(UserError, match="is a folder|is a link"):
            check_outputs([tmp_path / f"p.{end}"], "--out", overwrite=True)


def test_a_name_that_is_too_long_for_the_sidecar_is_refused_before_the_work(tmp_path):
    name = "a" * 251
    check_outputs([tmp_path / f"{name}.mp4"], "--out")
    with pytest.raises(UserError, match="a shorter file name"):
        check_outputs([tmp_path / f"{name}.mp4", tmp_path / f"{name}.json"], "--out")


def test_a_name_and_a_folder_are_checked(tmp_path):
    assert check_file(tmp_path / "A.MP4", (".mp4",), "--out") == tmp_path / "A.MP4"
    for path, words in (("a.avi", "does not end"), ("none/a.mp4", "does not exist")):
        with pytest.raises(UserError, match=words):
            check_file(tmp_path / path, (".mp4", ".webm"), "--out")


def test_a_set_of_the_longest_names_appears_as_a_whole(tmp_path):
    name = "\u3042" * 83 + ".mp4"
    with staging(tmp_path, "--out") as stage:
        (stage / "video.mp4").write_text("x")
        publish(stage, tmp_path, {"video.mp4": name})
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / ("a" * 250 + ".txt")
    path.write_text("old")
    with pytest.raises(ValueError), atomic_file(path) as part:
        part.write_text("half")
        raise ValueError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    with atomic_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_without_room_is_one_line(tmp_path, number):
    with pytest.raises(UserError, match="a folder on a disk with room"), staging(tmp_path, "--out"):
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir())


def test_leftovers_of_dead_processes_are_swept_after_a_day(tmp_path, monkeypatch):
    script = (
        "import sys, os, signal\nfrom pathlib import Path\n"
        "from emo_lightning.core.atomic_files import staging\n"
        "with staging(Path(sys.argv[1]), '--out') as stage:\n"
        "    (stage / 'half').write_text('x')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    (left,) = tmp_path.iterdir()
    (tmp_path / ".emo-settings").mkdir()
    sweep(tmp_path)
    assert left.exists(), "not a day old"
    monkeypatch.setattr(atomic_files, "LEFTOVER_SECONDS", -1)
    with staging(tmp_path, "--out") as running:
        sweep(tmp_path)
        assert running.exists(), "its process lives"
    assert [path.name for path in tmp_path.iterdir()] == [".emo-settings"]
